"""``cosxfer cat``: writes the bytes of objects to standard output."""

from __future__ import annotations

from cosxfer.cli.connection import Connection
from cosxfer.cli.hints import with_hint
from cosxfer.cli.notices import show
from cosxfer.cli.receive import write_object
from cosxfer.errors import CosxferError


def run(
    objects: list[tuple[str, str]],
    connection: Connection,
    *,
    version_id: str | None,
    wanted: tuple[int | None, int | None] | None,
) -> None:
    """Write the objects one after another. The first error ends the command."""
    with connection.client() as client:
        for bucket, key in objects:
            with with_hint(client, bucket):
                try:
                    received = write_object(client, bucket, key, version_id=version_id, wanted=wanted)
                except CosxferError as error:
                    if getattr(error, "status", 0) == 412:
                        error.add_note("the object was replaced while it was read; do not use the output")
                    raise
            if wanted is None and not received.verified:
                show(f"cos://{bucket}/{key} is not verified: the server has no CRC64 of it")
