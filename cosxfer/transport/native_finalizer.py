"""The end of a native transport that was garbage-collected without `aclose`."""

from __future__ import annotations

import os

from cosxfer._native import wire


def stop_threads(io_threads: list[wire.IoThread], process: int) -> None:
    """Stop the threads that the process with this id has started, and close their file descriptors."""
    if os.getpid() != process:
        return  # the threads and their events belong to the parent process
    for io_thread in io_threads:
        io_thread.stop()
        # The last events release the connections, so that the file descriptors can be closed.
        io_thread.drain(_Nobody())
        io_thread.release()


class _Nobody:
    """Ignores the events of I/O threads whose transport was garbage-collected."""

    def _ignore(self, *_: object) -> None:
        pass

    on_done = on_sent = on_received = on_wanted = on_body = on_settings = on_leaving = on_stalled = _ignore

    def on_closed(self, connection: wire.Connection) -> None:
        connection.owner = None
