"""The files of profiles: that of cosxfer, and those of coscli and coscmd, if they are asked for.

The files are never written. A line that is not understood is an error with its place, and no value is guessed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosxfer.cli.profiles import COSCLI, COSCMD, Profile
from cosxfer.cli.secret_files import warn_of_access
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten, shown_path

NAME_VARIABLE = "COSXFER_PROFILE"
DEFAULT = "default"

MAX_FILE_BYTES = 256 * 1024

_TEXTS = ("secret_id", "secret_key", "secret_key_file", "token", "region", "endpoint", "ca_file")


def config_file(environment: Mapping[str, str]) -> Path | None:
    """Return the path of the file of profiles; None if the user has no home directory."""
    base = environment.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # noqa: PTH117 (the specification of XDG ignores relative paths)
        home = _home(environment)
        return None if home is None else home / ".config/cosxfer/config.toml"
    return Path(base) / "cosxfer/config.toml"


def _home(environment: Mapping[str, str]) -> Path | None:
    text = environment.get("HOME") or environment.get("USERPROFILE")
    return Path(text) if text else None


def load(name: str | None, environment: Mapping[str, str]) -> Profile | None:
    """Return the profile ``name``, else that of the environment, else the default one; None if there is no default.

    Raises `UsageError` if a profile is named that no file has, or if its file is not understood.
    """
    if name == "":
        raise UsageError("--profile is empty; name a profile or omit the option", name="--profile", value=name)
    wanted = name or environment.get(NAME_VARIABLE) or None
    path = config_file(environment)
    content = None if path is None else _read(path)
    document: dict[str, Any] = {}
    if content is not None and path is not None:
        document = _parsed(path, content)
    profiles: dict[str, Any] = document.get("profiles", {})
    if wanted is None:
        wanted = document.get("default", DEFAULT)
        if wanted not in profiles and "default" not in document:
            return None
    if wanted in profiles:
        return _profile(wanted, profiles[wanted], path)
    if wanted in (COSCLI, COSCMD):
        return _of_other_tool(wanted, environment)
    raise UsageError(f"there is no profile {shorten(wanted)}{_instead(path, content, profiles)}", name="--profile")


def _instead(path: Path | None, content: bytes | None, profiles: Mapping[str, Any]) -> str:
    if path is None:
        return ": there is no home directory, so no file of profiles"
    if content is None:
        return f": there is no file {shown_path(str(path))}"
    return f" in {shown_path(str(path))}; it has {', '.join(map(repr, profiles)) or 'none'}"


def names(environment: Mapping[str, str]) -> list[str]:
    """Return the names of all profiles. Never raises: it is for the completion of a shell."""
    try:
        path = config_file(environment)
        content = None if path is None else _read(path, warn=False)
        found = [] if content is None or path is None else list(_parsed(path, content).get("profiles", {}))
        for name, other in other_files(environment).items():
            if name not in found and other.exists():
                found.append(name)
    except (UsageError, OSError):
        return []
    return found


def other_files(environment: Mapping[str, str]) -> dict[str, Path]:
    """Return the files of coscli and coscmd, which may not exist, by the names of their profiles."""
    home = _home(environment)
    return {} if home is None else {COSCLI: home / ".cos.yaml", COSCMD: home / ".cos.conf"}


def _of_other_tool(name: str, environment: Mapping[str, str]) -> Profile:
    from cosxfer.cli import profiles_of_others

    path = other_files(environment).get(name)
    content = None if path is None else _read(path)
    if content is None or path is None:
        what = "there is no home directory" if path is None else f"there is no {shown_path(str(path))}"
        raise UsageError(f"the profile {name!r} is the file of {name}, but {what}", name="--profile", value=name)
    parse = profiles_of_others.of_coscli if name == COSCLI else profiles_of_others.of_coscmd
    try:
        return parse(_text(path, content), str(path))
    except ValueError as error:
        raise UsageError(f"{shown_path(str(path))}: {error}", name="--profile", value=name) from None


def _read(path: Path, *, warn: bool = True) -> bytes | None:
    """Return the content of a file; None if there is none. Warns if other users can read it."""
    try:
        with path.open("rb") as file:
            if warn:
                warn_of_access(str(path), os.fstat(file.fileno()))
            content = file.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        raise UsageError(f"cannot read {shown_path(str(path))}: {why}", name="--profile") from error
    if len(content) > MAX_FILE_BYTES:
        raise UsageError(f"{shown_path(str(path))} has more than {MAX_FILE_BYTES} bytes", name="--profile")
    return content


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{shown_path(str(path))} is not UTF-8 at byte {error.start}", name="--profile") from None


def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    """Parse the file of profiles and check its outline. No message repeats a value: it may be a secret."""
    import tomllib

    where = shown_path(str(path))
    text = _text(path, content)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Its message has a position, and at most one character of the text.
        raise UsageError(f"{where} is no TOML: {error}", name="--profile") from None
    if unknown := document.keys() - {"default", "profiles"}:
        raise UsageError(
            f"{where} has {shorten(min(unknown))}, which is unknown; it can have default and [profiles.NAME]",
            name="--profile",
        )
    profiles = document.get("profiles", {})
    if not isinstance(profiles, dict) or not all(isinstance(value, dict) for value in profiles.values()):
        raise UsageError(f"{where}: profiles must be tables: [profiles.NAME]", name="--profile")
    if not isinstance(document.get("default", ""), str):
        raise UsageError(f"{where}: default must be the name of a profile", name="--profile")
    return document


def _profile(name: str, table: Mapping[str, Any], path: Path | None) -> Profile:
    where = f"the profile {name!r} in {shown_path(str(path))}"
    known = {*_TEXTS, "anonymous", "buckets"}
    if unknown := table.keys() - known:
        raise UsageError(
            f"{where} has {shorten(min(unknown))}, which is unknown; it can have {', '.join(sorted(known))}",
            name="--profile",
        )
    for key in _TEXTS:
        if key in table and (not isinstance(table[key], str) or not table[key]):
            raise UsageError(f"{where}: {key} must be a text that is not empty", name="--profile")
    if not isinstance(table.get("anonymous", False), bool):
        raise UsageError(f"{where}: anonymous must be true or false", name="--profile")
    buckets = table.get("buckets", {})
    if not isinstance(buckets, dict) or not all(isinstance(value, str) and value for value in buckets.values()):
        raise UsageError(f'{where}: buckets must be a table of regions: "BUCKET" = "REGION"', name="--profile")
    return Profile(**{"name": name, "path": str(path), **table})
