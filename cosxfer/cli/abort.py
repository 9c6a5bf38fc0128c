"""``cosxfer abort``: what a multipart upload has left on the server is removed."""

from __future__ import annotations

from cosxfer.cli.output import printable, say
from cosxfer.cli.target import Connection


def run(*, bucket: str, key: str, upload_id: str, connection: Connection) -> None:
    """Abort the multipart upload; one that is not there is an error of the server's."""
    with connection.client() as client:
        client.multipart_abort(bucket, key, upload_id=upload_id)
    say(printable(f"the multipart upload {upload_id} of cos://{bucket}/{key} is removed from the server"))
