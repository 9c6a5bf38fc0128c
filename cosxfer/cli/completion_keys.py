"""Completion of ``cos://BUCKET/KEY``: one request, which may take two seconds, and no message if it fails."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from dataclasses import replace

SECONDS = 2.0
"""A shell waits no longer. The request is left alone then, and the process ends without it."""
MOST = 200
"""The most candidates that are offered."""

SCHEME = "cos://"
_SAFE = re.compile(r"[\w./@%+,~-]*")
"""As `cosxfer.cli.completion.PLAIN`, without ``:`` and ``=``: bash splits words there."""

_OPTIONS = {
    "--profile": "profile",
    "--endpoint": "endpoint",
    "--region": "region",
    "--ca-file": "ca_file",
    "--secret-key-file": "secret_key_file",
}


def keys(place: str, words: Sequence[str]) -> list[str]:
    """Return buckets, folders and objects that begin with ``place``, which begins with `SCHEME`.

    ``words`` are those before it. Empty if there is no answer in time.
    """
    found: list[str] = []
    thread = threading.Thread(target=_look, args=(place, words, found), daemon=True)
    thread.start()
    thread.join(SECONDS)
    return [] if thread.is_alive() else found


def _look(place: str, words: Sequence[str], found: list[str]) -> None:
    try:
        found.extend(each for each in _asked(place, words) if _SAFE.fullmatch(each.removeprefix(SCHEME)))
    except Exception:
        found.clear()  # the user is typing: nothing is said


def _asked(place: str, words: Sequence[str]) -> list[str]:
    from cosxfer.cli.parameters import Access

    bucket, slash, prefix = place.removeprefix(SCHEME).partition("/")
    given: dict[str, object] = {"anonymous": "--anonymous" in words}
    for option, name in _OPTIONS.items():
        value = _value(option, words)
        if value is not None:
            given[name] = value
    if given.get("secret_key_file") == "-":
        return []  # standard input is the terminal
    connection = replace(
        Access(**given).connection(bucket=bucket if slash else ""),  # type: ignore[arg-type] # values of the command line
        journal=None,
        timeout=SECONDS,
        connect_timeout=SECONDS,
        max_attempts=1,
        retry_for=0.0,
    )
    client = connection.client()
    if not slash:
        names = [each.name for each in client.list_buckets().buckets]
        return [f"{SCHEME}{name}/" for name in names if name.startswith(bucket)][:MOST]
    # Calls take and return a key that begins with a slash with one more, and so does the command.
    page = client.list_objects(bucket, prefix=prefix or None, delimiter="/", max_keys=MOST)
    keys_found = [entry.key for entry in page.objects if entry.key != prefix]
    return [f"{SCHEME}{bucket}/{name}" for name in [*page.common_prefixes, *keys_found]]


def _value(option: str, words: Sequence[str]) -> str | None:
    """Return the value of an option: ``--option value``, ``--option=value``, or ``=`` as a word of its own (bash)."""
    for number, word in enumerate(words):
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
        if word == option:
            rest = [each for each in words[number + 1 : number + 3] if each != "="]
            return rest[0] if rest else None
    return None


def silence() -> None:
    """Say nothing in this process from now on, also of a profile that others can read."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def leave() -> None:
    """End the process at once: what still waits for a server must not hold the shell."""
    os._exit(0)
