"""What `correct` is made of: its options, the images that they name, the pixels that are ruled out."""
