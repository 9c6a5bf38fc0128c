"""Uploads as tasks: their states, their queue, and the threads' and callbacks' way to them."""
