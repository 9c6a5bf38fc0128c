"""The address of an object: bucket, key and region."""

from __future__ import annotations

from cosxfer.records import dataclass


@dataclass(frozen=True, slots=True)
class ObjectAddress:
    """Names one object, or a whole bucket if ``key`` is empty.

    `cosxfer.cos.identifiers.object_address` makes a checked one.
    """

    bucket: str
    """``BucketName-APPID``."""
    key: str = ""
    """The key as it is sent, without the one leading ``/`` that calls drop."""
    region: str | None = None
    """None means the region of the client."""

    @property
    def shown_key(self) -> str:
        """The key as calls take it and results show it."""
        return shown_key(self.key)

    def __str__(self) -> str:
        return f"{self.bucket}/{self.shown_key}"


def shown_key(key: str) -> str:
    """Return the sent ``key`` as calls take it: a key that starts with ``/`` gets one more, because calls drop one."""
    return f"/{key}" if key.startswith("/") else key
