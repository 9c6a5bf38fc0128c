"""``cosxfer mb`` and ``rb``: create a bucket, and delete an empty one."""

from __future__ import annotations

import sys

import typer

from cosxfer.cli.connection import Connection
from cosxfer.cli.failures import FAILED
from cosxfer.cli.hints import with_hint
from cosxfer.cli.notices import show
from cosxfer.cli.output import printable, say, say_object
from cosxfer.errors import NotFoundError, ServerError, UsageError


def make(bucket: str, connection: Connection, *, acl: str | None, as_json: bool) -> None:
    """Create a bucket."""
    with connection.client() as client, with_hint(client, bucket):
        result = client.put_bucket(bucket, acl=acl)
    if as_json:
        say_object({"bucket": bucket, "created": True, "request_id": result.request_id})
    else:
        say(printable(f"created cos://{bucket}"))


def remove(bucket: str, connection: Connection, *, force: bool, as_json: bool) -> None:
    """Delete a bucket. Asks unless ``force``, which also accepts that there is none."""
    if not force:
        _ask(bucket)
    deleted = True
    with connection.client() as client, with_hint(client, bucket):
        try:
            client.delete_bucket(bucket)
        except NotFoundError:
            if not force:
                raise
            deleted = False
        except ServerError as error:
            if error.code == "BucketNotEmpty":
                error.add_note(
                    f"cosxfer rm -r --versions cos://{bucket} and cosxfer uploads abort --all cos://{bucket} empty it"
                )
            raise
    if as_json:
        say_object({"bucket": bucket, "deleted": deleted})
    else:
        say(printable(f"deleted cos://{bucket}" if deleted else f"there is no cos://{bucket}"))


def _ask(bucket: str) -> None:
    """Raise `UsageError` if nobody can be asked, and exit if the user says no."""
    if sys.stdin is None or not sys.stdin.isatty() or not sys.stderr.isatty():
        raise UsageError(
            f"rb asks before it deletes cos://{bucket}, but there is no terminal; add --force", name="--force"
        )
    sys.stderr.write(printable(f"Delete the bucket cos://{bucket}? [y/N] "))
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        show("nothing was deleted")
        raise typer.Exit(FAILED)
