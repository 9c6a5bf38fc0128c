"""How a command ends: a message on standard error and an exit code. Tracebacks are shown only with ``--debug``."""

from __future__ import annotations

import gc
import re
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import typer

from cosxfer.cli.interrupts import TerminatedError, error_of, interruptible, what_became
from cosxfer.cli.notices import noticed
from cosxfer.cli.output import (
    OutputError,
    expect_object,
    object_is_due,
    printable,
    put,
    say_object,
    tell,
    unwritten,
)
from cosxfer.errors import CosxferError, CredentialsError, UploadError, UsageError

FAILED, USAGE, UNREPORTED = 1, 2, 3
"""Exit codes, besides 0 and those of signals. ``UNREPORTED``: done and verified, but standard output failed."""

READER_LEFT = 128 + signal.SIGPIPE
"""As if the signal SIGPIPE had ended the command, which is what other commands do."""

_OPTIONS = {
    "acl": "--acl",
    "backup_prefix": "--backup-prefix",
    "cache_control": "--cache-control",
    "content_disposition": "--content-disposition",
    "content_encoding": "--content-encoding",
    "content_type": "--content-type",
    "server_side_encryption": "--sse",
    "sse_context": "--sse-context",
    "sse_kms_key_id": "--sse-kms-key-id",
    "storage_class": "--storage-class",
    "traffic_limit": "--traffic-limit",
    "concurrency": "--concurrency",
    "connect_timeout_seconds": "--connect-timeout",
    "file_parallel_limit": "--files",
    "folder": "--folder",
    "files_from": "--files-from",
    "host": "--host",
    "http_version": "--http-version",
    "max_attempts": "--max-attempts",
    "max_delete": "--max-delete",
    "retry_for_seconds": "--retry-for",
    "part_size": "--part-size",
    "port": "--port",
    "stall_timeout_seconds": "--timeout",
}
"""The command's options for parameters of the client."""

_PHRASES = (
    (re.compile("the same call goes on with them"), "the same command goes on with them"),
    (
        re.compile(r"Give another path \(journal=…\), or None for no journal"),
        "Give another path with --journal, or none",
    ),
    (re.compile(r"pass region= \("), "give --region ("),
    (re.compile(r"pass CopySource\(…, region=…\), or region= to the client"), "give --region"),
    (re.compile(r"put_object\(bucket, key, open\((.+), 'rb'\)\)"), r"cosxfer cp - cos://BUCKET/KEY < \1"),
    (
        re.compile("give both secret_id and secret_key"),
        "give both --secret-id and --secret-key (or COS_SECRET_ID and COS_SECRET_KEY)",
    ),
)
"""Phrases of the library's messages, and the command's words for them."""


@contextmanager
def reported(*, debug: bool, as_json: bool = False, pipes: bool = False) -> Iterator[None]:
    """Run a command. Turn its errors into messages and exit codes; with ``as_json``, also print a JSON object.

    ``pipes`` is for commands whose whole work is their output: they end silently if its reader leaves (``| head``).
    """
    expect_object(as_json)
    # What is imported stays. Looking at it again and again would take a tenth of the time of many small files.
    gc.freeze()
    gc.set_threshold(20_000)  # what a command makes is rarely part of a circle
    try:
        with interruptible(), noticed(debug=debug):
            yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        _ended(signal.SIGINT, f"interrupted; {what_became()}")
    except TerminatedError as error:
        _ended(error.number, f"terminated by {error.name}; {what_became()}")
    except OutputError as error:
        if pipes and error.reader_left:
            raise typer.Exit(READER_LEFT) from None
        fail(f"standard output cannot be written: {error}", FAILED)
    except CosxferError as error:
        if debug:
            _show_traceback()
        raise typer.Exit(told(error)) from None
    except Exception as error:
        if debug:
            _show_traceback()
        hint = "" if debug else ". Run with --debug for details"
        message = f"bug in cosxfer: {type(error).__name__}: {error}{hint}"
        _object({"error": {"type": type(error).__name__, "message": message}})
        fail(message, FAILED)


def start(app: Callable[..., object], arguments: list[str]) -> object:
    """Run the command line and return its exit code.

    Commands report their own errors. This function reports errors from before a command runs: in its arguments and in
    the modules that it imports.
    """
    try:
        if not arguments:
            app(args=["--help"], standalone_mode=False)
            return USAGE
        return app(args=arguments, standalone_mode=False)
    except CosxferError as error:
        return told(error)
    except OutputError as error:
        tell(f"cosxfer: standard output cannot be written: {error}")
        return FAILED
    except OSError as error:
        if arguments and not {"-h", "--help"}.intersection(arguments):
            raise
        tell(f"cosxfer: standard output cannot be written: {unwritten(error)}")
        return FAILED
    except Exception as error:
        # An error of Typer, whose class is not public.
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        path = "cosxfer" if context is None else context.command_path
        return told(UsageError(f"{error.format_message().rstrip('.')}; see {path} --help"))


def told(error: CosxferError) -> int:
    """Print the error and return its exit code."""
    # If standard output fails, the message is still on standard error.
    _object({"error": error_object(error)})
    tell(f"cosxfer: {message_of(error)}", *_commands(error))
    begun = isinstance(error, UploadError) and error.upload_id
    return USAGE if isinstance(error, UsageError | CredentialsError) and not begun else FAILED


def _show_traceback() -> None:
    # Line by line, so that foreign text in an exception's message cannot move the cursor.
    put(*map(printable, traceback.format_exc().rstrip("\n").split("\n")))


def _ended(number: int, message: str) -> NoReturn:
    _object(error_of(number, message))
    fail(message, 128 + number)


def _object(value: dict[str, object]) -> None:
    if object_is_due():
        with suppress(OutputError):
            say_object(value)


def fail(message: str, code: int) -> NoReturn:
    """Print ``message`` on standard error and end with ``code``."""
    tell(f"cosxfer: {message}")
    raise typer.Exit(code)


def error_object(error: Exception) -> dict[str, object]:
    """Return what ``--json`` prints for an error: its class, its message and its attributes."""
    known: dict[str, object] = {"type": type(error).__name__, "message": message_of(error)}
    names = ["status", "code", "request_id", "upload_id", "part_number", "aborted"]
    if isinstance(error, UploadError) and not error.upload_id:
        names.remove("aborted")  # there were no parts to abort
    for name in names:
        value = getattr(error, name, None)
        if value is not None and value != "" and (name, value) != ("status", 0):
            known[name] = value
    return known


def message_of(error: Exception) -> str:
    """Return an error's message and notes, with the command's option names."""
    notes = [note for note in getattr(error, "__notes__", []) if not note.startswith(" ")]
    text = str(error)
    for note in notes:
        # A sentence, or a remark such as "sent 5 times".
        text = f"{text.rstrip('.')}. {note}" if note[:1].isupper() else f"{text} ({note})"
    for phrase, ours in _PHRASES:
        text = phrase.sub(ours, text)
    if isinstance(error, UsageError) and error.name in _OPTIONS and text.startswith(f"{error.name} "):
        return f"{_OPTIONS[error.name]}{text.removeprefix(error.name)}"
    return text


def _commands(error: Exception) -> list[str]:
    """Return the notes that are commands to copy."""
    return [note for note in getattr(error, "__notes__", []) if note.startswith(" ")]
