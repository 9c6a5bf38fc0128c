"""multipart/form-data for POST Object (sources: RFC 7578; the HTML standard for names; page 436/14690)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cosxfer.cos.requests import Buffer, RepeatablePieces, check_unchanged


def content_type(boundary: str) -> str:
    """Return the Content-Type of a form with this boundary."""
    return f"multipart/form-data; boundary={boundary}"


def head(fields: Mapping[str, str], *, filename: str, boundary: str) -> bytes:
    """Return the form up to the file's content. The file is the last field."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_name(name)}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_name(filename)}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return "".join(parts).encode()


def tail(boundary: str) -> bytes:
    """Return the form after the file's content."""
    return f"\r\n--{boundary}--\r\n".encode()


def _name(text: str) -> str:
    # As in browsers: these three would end the quoted string or the line.
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


class FormBody:
    """A form around a file's content. Like the content, it can be iterated again."""

    def __init__(self, before: bytes, content: Buffer | RepeatablePieces, after: bytes) -> None:
        self._before = before
        self._content = content
        self._after = after

    async def check(self) -> None:
        """Raise if the file of the content has changed."""
        await check_unchanged(self._content)

    def __iter__(self) -> Iterator[Buffer]:
        yield self._before
        if isinstance(self._content, bytes | bytearray | memoryview):
            yield self._content
        else:
            yield from self._content
        yield self._after
