"""Where the commands upload to, and how: the options that they have in common, and the client that these make."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cosxfer import __version__
from cosxfer._native import KERNEL
from cosxfer.cli.interrupts import TerminatedError, leaves
from cosxfer.cli.keys import find_keys
from cosxfer.cli.notices import show
from cosxfer.client import Client
from cosxfer.config import HttpVersion
from cosxfer.errors import UploadError, UsageError
from cosxfer.foreign import clean_logger

logger = clean_logger("cosxfer")


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How the server is reached; None leaves a choice to the client."""

    endpoint: str | None = None
    region: str | None = None
    http_version: HttpVersion = "auto"
    ca_file: Path | None = None
    anonymous: bool = False
    secret_key_file: str | None = None
    concurrency: int = 4
    timeout: float = 60.0
    connect_timeout: float = 10.0
    max_attempts: int = 5

    def client(self) -> Client:
        """A client with these settings. Raises `CredentialsError` and `UsageError`."""
        if self.anonymous and self.secret_key_file is not None:
            raise UsageError("--anonymous sends no keys; leave out --secret-key-file", name="--secret-key-file")
        otherwise = ", or send unsigned requests with --anonymous"
        client = Client(
            credentials=None if self.anonymous else find_keys(self.secret_key_file, otherwise=otherwise),
            endpoint=self.endpoint,
            region=self.region,
            concurrency=self.concurrency,
            http_version=self.http_version,
            verify=self.ca_file or True,
            anonymous=self.anonymous,
            stall_timeout_seconds=self.timeout,
            connect_timeout_seconds=self.connect_timeout,
            max_attempts=self.max_attempts,
            # Nobody restarts a task of a command: one that fails deletes its parts at once.
            max_finished_tasks=0,
        )
        logger.debug("cosxfer %s, Python %s, kernel %s, %r", __version__, platform.python_version(), KERNEL, client)
        return client

    def abort_command(self, bucket: str, key: str, upload_id: str) -> str:
        """What removes the parts of a multipart upload, as it is typed."""
        words = ["cosxfer", "abort", f"cos://{bucket}/{key}", upload_id]
        options = (
            ("--endpoint", self.endpoint),
            ("--region", self.region),
            ("--ca-file", self.ca_file),
            ("--secret-key-file", self.secret_key_file),
        )
        for name, value in options:
            words += [] if value is None else [name, str(value)]
        return shlex.join([*words, "--anonymous"] if self.anonymous else words)

    def remedy(self, error: Exception, bucket: str, key: str) -> str:
        """The command that removes what a failed upload has left on the server, indented; nothing where all is gone."""
        if not isinstance(error, UploadError) or not error.upload_id or error.aborted:
            return ""
        return f"  {self.abort_command(bucket, key, error.upload_id)}"


@contextmanager
def cleaned_up(client: Client, connection: Connection) -> Iterator[None]:
    """Uploads of ``client``: where they are interrupted, it is said what could not be removed from the server."""
    leaves(partial(_left, client, connection))
    try:
        yield
    except (KeyboardInterrupt, TerminatedError):
        for line in _left(client, connection):
            show(line)
        raise


def _left(client: Client, connection: Connection) -> Sequence[str]:
    """What the uploads of ``client`` leave on the server if they end now: sentences and commands."""
    said = []
    for task in client.get_task_list():
        if task.upload_id:
            said.append(
                f"parts of the multipart upload {task.upload_id} may be left on the server, where they are paid for; "
                "this removes them:"
            )
            said.append(f"  {connection.abort_command(task.bucket, task.key, task.upload_id)}")
        elif task.state in ("checking", "uploading"):
            said.append(
                f"the upload to cos://{task.bucket}/{task.key} was under way; whether it has an upload id is not known"
            )
    return said
