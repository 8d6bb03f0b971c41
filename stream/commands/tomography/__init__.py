"""`inbeam tomo-reconstruct`: radiographs from files and folders, their angles and axis, and what is written of them."""
