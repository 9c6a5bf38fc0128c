"""``cosxfer abort``: what a multipart upload has left on the server is removed."""

from __future__ import annotations

from cosxfer.cli.connection import Connection
from cosxfer.cli.output import printable, say
from cosxfer.errors import UsageError


def run(*, bucket: str, key: str, upload_id: str, connection: Connection) -> None:
    """Abort the multipart upload; one that is not there is an error of the server's."""
    if not upload_id:
        raise UsageError("the upload id is empty; it is the one that cp named", name="upload_id", value=upload_id)
    with connection.client() as client:
        client.multipart_abort(bucket, key, upload_id=upload_id)
    say(printable(f"the multipart upload {upload_id} of cos://{bucket}/{key} is removed from the server"))
