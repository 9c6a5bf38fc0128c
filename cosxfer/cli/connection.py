"""The connection options that all commands share, and the client that they create."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from cosxfer import __version__
from cosxfer._native import KERNEL
from cosxfer.arguments import AUTO, NumberOrAuto
from cosxfer.cli.interrupts import TerminatedError, leaves
from cosxfer.cli.keys import find_keys
from cosxfer.cli.notices import show
from cosxfer.cli.profiles import Profile
from cosxfer.cli.values import place_of
from cosxfer.client import Client
from cosxfer.config import DEFAULT_RETRY_FOR_SECONDS, HttpVersion
from cosxfer.errors import UploadError, UsageError
from cosxfer.foreign import clean_logger
from cosxfer.journal import journal_of
from cosxfer.records import dataclass

logger = clean_logger("cosxfer")


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How to reach the server. None selects the client's default."""

    endpoint: str | None = None
    region: str | None = None
    http_version: HttpVersion = "auto"
    ca_file: Path | None = None
    anonymous: bool = False
    secret_key_file: str | None = None
    concurrency: NumberOrAuto = AUTO
    files: NumberOrAuto = AUTO
    timeout: float = 60.0
    connect_timeout: float = 10.0
    max_attempts: int = 5
    retry_for: float = DEFAULT_RETRY_FOR_SECONDS
    trace: Path | None = None
    journal: str | None = AUTO
    """The setting of the client."""
    profile: Profile | None = None
    profile_named: bool = False
    """Whether an option names the profile. Then it is above the environment."""

    def client(self) -> Client:
        """Return a client with these settings. Raises `CredentialsError` and `UsageError`."""
        if self.anonymous and self.secret_key_file is not None:
            raise UsageError("--anonymous sends no keys; leave out --secret-key-file", name="--secret-key-file")
        otherwise = ", or send unsigned requests with --anonymous"
        client = Client(
            credentials=None
            if self.anonymous
            else find_keys(self.secret_key_file, otherwise=otherwise, profile=self.profile, named=self.profile_named),
            endpoint=self.endpoint,
            region=self.region,
            concurrency=self.concurrency,
            file_parallel_limit=self.files,
            http_version=self.http_version,
            verify=self.ca_file or True,
            anonymous=self.anonymous,
            stall_timeout_seconds=self.timeout,
            connect_timeout_seconds=self.connect_timeout,
            max_attempts=self.max_attempts,
            retry_for_seconds=self.retry_for,
            trace=self.trace,
            journal=self.journal,
            # The command never restarts a task, so a failed task deletes its parts at once.
            max_finished_tasks=0,
        )
        logger.debug("cosxfer %s, Python %s, kernel %s, %r", __version__, platform.python_version(), KERNEL, client)
        return client

    def source_region(self, address: str) -> str | None:
        """Return the region that the profile has of the bucket in an address, for a copy from it; None if unknown."""
        bucket = place_of(address, address)
        return None if self.profile is None or not bucket else self.profile.buckets.get(bucket)

    def abort_command(self, bucket: str, key: str, upload_id: str) -> str:
        """Return the command line that deletes the parts of a multipart upload."""
        return self.command("abort", f"cos://{bucket}/{key}", upload_id)

    def command(self, *arguments: str) -> str:
        """Return a command line with this connection."""
        words = ["cosxfer", *arguments]
        options = (
            ("--profile", self.profile.name if self.profile is not None and self.profile_named else None),
            ("--endpoint", self.endpoint),
            ("--region", self.region),
            ("--ca-file", self.ca_file),
            ("--secret-key-file", self.secret_key_file),
        )
        for name, value in options:
            words += [] if value is None else [name, str(value)]
        return shlex.join([*words, "--anonymous"] if self.anonymous else words)

    def remedy(self, error: Exception, bucket: str, key: str) -> str:
        """Return the indented command that deletes the parts of a failed upload; empty if no parts are left."""
        if not isinstance(error, UploadError) or not error.upload_id or error.aborted:
            return ""
        return f"  {self.abort_command(bucket, key, error.upload_id)}"


def keeps_parts(client: Client, *, abort_on_interrupt: bool) -> bool:
    """Whether uploads of files that are interrupted or fail keep their parts on the server.

    Without a journal they do not, because no later command could go on with them.
    """
    return not abort_on_interrupt and journal_of(client.config) is not None


@contextmanager
def cleaned_up(client: Client, connection: Connection, *, keeps: bool) -> Iterator[None]:
    """Run uploads of ``client``. After an interrupt, print what is on the server.

    ``keeps`` says that an interrupt leaves the parts there.
    """
    leaves(partial(_left, client, connection, keeps=keeps), keeps=keeps)
    try:
        yield
    except (KeyboardInterrupt, TerminatedError):
        for line in _left(client, connection, keeps=keeps):
            show(line)
        raise


def _left(client: Client, connection: Connection, *, keeps: bool) -> Sequence[str]:
    """Return messages and commands about the parts that uploads of ``client`` leave on the server if they end now."""
    lines = []
    for task in client.get_task_list():
        if task.upload_id:
            what = f"parts of the multipart upload {task.upload_id}"
            left = (
                f"the {what} are kept on the server, where they cost money. Run the same command again to go on with "
                "them. To delete them:"
                if keeps
                else f"{what} may be left on the server, where they cost money. To delete them:"
            )
            lines += [left, f"  {connection.abort_command(task.bucket, task.key, task.upload_id)}"]
        elif task.state in ("checking", "uploading"):
            lines.append(
                f"the upload to cos://{task.bucket}/{task.key} was running; it may have an upload id that is not known"
            )
    return lines
