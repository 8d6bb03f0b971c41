"""What the processor `roi` is made of: kinds of regions, their pixels, the kernels that go over them."""
