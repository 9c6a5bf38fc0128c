"""``cosxfer presign``: prints a URL for one request, which works without keys until it expires."""

from __future__ import annotations

from cosxfer.cli.connection import Connection
from cosxfer.cli.notices import show
from cosxfer.cli.output import printable, say, say_object
from cosxfer.cli.values import parse_duration
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten


def run(
    bucket: str,
    key: str,
    connection: Connection,
    *,
    method: str,
    expires: str,
    headers: list[str],
    params: list[str],
    as_json: bool,
) -> None:
    """Sign a URL and print it. Sends nothing."""
    with connection.client() as client:
        signed = client.presign_url(
            bucket,
            key,
            method=method.upper(),
            expires_seconds=parse_duration(expires, name="--expires"),
            params=_pairs(params, separator="=", name="--param", form="NAME=VALUE"),
            headers=_pairs(headers, separator=":", name="--header", form="NAME: VALUE"),
        )
    if as_json:
        say_object(
            {
                "url": signed.url,
                "method": signed.method,
                "headers": dict(signed.headers),
                "expires_at": signed.expires_at,
            }
        )
        return
    say(signed.url)
    for name, value in signed.headers.items():
        show(printable(f"the request must have the header {name}: {value}"))


def _pairs(texts: list[str], *, separator: str, name: str, form: str) -> dict[str, str]:
    """Parse ``NAME=VALUE`` or ``NAME: VALUE``. Each name may occur once."""
    pairs: dict[str, str] = {}
    for text in texts:
        left, found, right = text.partition(separator)
        left = left.strip()
        # A parameter without a value, such as acl, has no separator.
        if not left or (not found and separator == ":"):
            raise UsageError(f"{name} is {shorten(text)}; write {form}", name=name, value=text)
        if left.lower() in map(str.lower, pairs):
            raise UsageError(f"{name} gives {shorten(left)} twice; give it once", name=name, value=text)
        pairs[left] = right.strip() if separator == ":" else right
    return pairs
