"""``cosxfer abort``: deletes the parts of a multipart upload from the server."""

from __future__ import annotations

from cosxfer.cli.connection import Connection
from cosxfer.cli.output import printable, say
from cosxfer.errors import UsageError


def run(*, bucket: str, key: str, upload_id: str, connection: Connection) -> None:
    """Abort the multipart upload. If it does not exist, the server's error is raised."""
    if not upload_id:
        raise UsageError("the upload id is empty; cp prints it", name="upload_id", value=upload_id)
    with connection.client() as client:
        client.multipart_abort(bucket, key, upload_id=upload_id)
    say(printable(f"deleted the multipart upload {upload_id} of cos://{bucket}/{key}"))
