"""Transfers as tasks: their states, their queue, and the thread that runs callbacks."""
