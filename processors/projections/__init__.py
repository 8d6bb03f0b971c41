"""What is done to one projection of a sample that is radiographed: image in, image out, each step by itself.

An image is (rows, columns). A pixel that cannot be known is NaN, and every step keeps it so or says what it does.
"""
