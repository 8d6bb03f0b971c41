"""Integration on an OpenCL device. Nothing here is imported unless a configuration asks for a device."""
