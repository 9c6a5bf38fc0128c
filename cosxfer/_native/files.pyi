"""Threads of native code that read, identify and write files, for an event loop. They never take the GIL.

There is no twin in Python: `cosxfer._native.FileService` is None if this module was not built (it needs Linux's
eventfd) or native code is off.
"""

from typing import Generic, TypeVar

from typing_extensions import Buffer

Identity = tuple[int, int, int, int, int]
"""Device, inode, size, mtime and ctime in nanoseconds."""

Read = tuple[bytes, Identity, str | None, tuple[bytes, int] | None]
"""Content, identity when the file was opened, the working directory if the path was relative, and MD5 and CRC64 of a
file of more than ``digest_above`` bytes."""

O = TypeVar("O")

class FileService(Generic[O]):
    """A queue of requests, and up to ``set_width`` threads that serve it. At first one.

    Each request has an ``owner``, which `collect` returns with the outcome. ``fileno()`` becomes readable when there
    are 16 outcomes, or when no request waits for a thread. Until then there may be fewer: see ``done``. A request of
    which an owner has lost interest is served all the same. For one thread of Python at a time. In a child after a fork
    the service of the parent does nothing.
    """

    quiet: bool
    """Whether threads that sleep are woken by `announce` alone, once for many requests. False at first."""

    def __init__(self, digest: object, digest_above: int) -> None:
        """``digest`` is `cosxfer._native.hashing.digest_function`. Raises ``OSError`` if there is no descriptor."""
    def read(self, path: bytes, max_bytes: int, since: float, owner: O) -> None:
        """Ask for the content of a file, by the rules of `cosxfer._native.slicing.read_small`.

        ``since`` is the time by the caller's clock. Raises ``ValueError`` for a null byte, and ``RuntimeError`` if
        there is no thread and none can be started.
        """
    def identify(self, path: bytes, since: float, owner: O) -> None:
        """Ask what a file is now. Raises what `read` raises."""
    def write(
        self,
        path: bytes,
        temporary: bytes,
        content: Buffer,
        root: int,
        modified: int | None,
        since: float,
        owner: O,
    ) -> None:
        """Write a new file, by the rules of `cosxfer._native.slicing.write_new`; the content is copied.

        The first ``root`` bytes of ``path`` name a folder. The folders below it have to exist, and none may be a link.
        0: the path may lead anywhere. Raises what `read` raises, and ``ValueError`` if the path is not below the
        folder.
        """
    def announce(self) -> None:
        """Wake the threads for all requests that wait. Does nothing if the service is closed."""
    def collect(self, most: int) -> list[tuple[O, Read | Identity | int | None]]:
        """Return up to ``most`` outcomes.

        Of `read`: a `Read`, or None for what the caller has to open in another way. Of `identify`: an `Identity`, or
        the errno. Of `write`: what `write_new` returns, or -1 if a folder is missing or a link.
        """
    @property
    def pending(self) -> int:
        """How many requests `collect` has not returned yet."""
    @property
    def done(self) -> int:
        """How many outcomes there are to collect."""
    @property
    def threads(self) -> int: ...
    @property
    def closed(self) -> bool: ...
    def fileno(self) -> int: ...
    def oldest(self) -> float | None:
        """The ``since`` of the oldest request that no thread has begun."""
    def set_width(self, width: int) -> None:
        """Allow so many threads, and start those for which requests wait. Surplus threads end when they are idle."""
    def close(self) -> None:
        """Drop all requests, end the threads and close the descriptor. A busy thread ends after its request."""
