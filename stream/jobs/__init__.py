"""Jobs: a command in a folder whose own runner writes what became of it, on this machine or through a cluster's queue.

The folder alone says the state. The client, its terminal and the head node may die; a queue is asked only whether it
still knows a job that has not begun or gives no sign of life.
"""
