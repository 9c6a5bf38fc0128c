"""Text of a server with terminal controls, line ends, bidi controls and zero-width characters is escaped.

The tests check ``str`` and ``repr`` of the error, its notes and full traceback, and each log record.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from h2.events import RequestReceived

import cosxfer
from cosxfer.errors import CosxferError, ProtocolError, SourceError, TransportError, UsageError
from cosxfer.foreign import LONGEST_MESSAGE, clean_causes, foreign, printable
from tests.functional.peer_raw import Http2Peer, Peer, in_loop, serving

FORGED = "2026-01-01 cosxfer: all is well"
CONTROLS = ["\x1b[2J", "\x07", "\x9b31m", "\x7f", "\u202e", "\u2066", "\u200b", "\ufeff", "\u2028", "\u2029", "\x85"]
HOSTILE = "x" + "".join(CONTROLS) + f"\r\n{FORGED}"
ON_ONE_LINE = HOSTILE.replace("\r\n", "")
BUCKET = "examplebucket-1250000000"


def in_xml(name: str) -> bytes:
    legal = "".join(c for c in HOSTILE if c >= " " or c in "\r\n")  # the other bodies are not XML
    other = "".join(f"<{tag}>{legal if tag == name else 'Plain'}</{tag}>" for tag in ("Code", "Message", "RequestId"))
    return f"<?xml version='1.0'?><Error>{other}<Resource>{legal}</Resource></Error>".encode()


def check_clean(error: BaseException | None, records: list[logging.LogRecord]) -> None:
    assert isinstance(error, CosxferError)
    shown = traceback.format_exception(error)
    for line in "".join(shown).split("\n"):
        assert printable(line) == line, ascii(line)
        assert not line.startswith(FORGED)
    for text in (
        str(error),
        repr(error),
        *getattr(error, "__notes__", []),
        *(r.getMessage() for r in records if r.name.startswith("cosxfer")),
    ):
        assert text.isprintable(), ascii(text)
        assert len(text) <= 2 * LONGEST_MESSAGE


async def failing(port: int, kind: Any, version: Any, call: str) -> BaseException | None:
    async with cosxfer.AsyncClient(
        endpoint=f"http://127.0.0.1:{port}",
        transport=kind,
        http_version=version,
        secret_id="id",
        secret_key="key",
        max_attempts=2,
        stall_timeout_seconds=2.0,
    ) as client:
        try:
            if call == "put":
                await client.put_object(BUCKET, "k", b"body")
            elif call == "init":
                await client.multipart_init(BUCKET, "k")
            else:
                await client.multipart_list(BUCKET)
        except CosxferError as error:
            return error
    return None


def head(status: str, body: bytes, *more: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + status.encode(), b"content-length: %d" % len(body), b"connection: close", *more]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


RAW = ON_ONE_LINE.encode()
RESPONSES = {
    "code": head("400 Bad", in_xml("Code")),
    "message": head("403 Forbidden", in_xml("Message")),
    "request id in XML": head("404 Gone", in_xml("RequestId")),
    "header": head("400 Bad", b"", b"x-cos-request-id: " + RAW),
    "location": head("302 Found", b"", b"location: http://elsewhere/" + RAW),
    "reason phrase": head("500 " + ON_ONE_LINE, b""),
    "no XML": head("500 Bad", HOSTILE.encode()),
    "root": head("200 OK", "<A\u200cB\u200d/>".encode()),
    "not well-formed": head("200 OK", "<A>&A\u200c;</A>".encode()),
    "number": head("200 OK", "<ListMultipartUploadsResult><MaxUploads>\u202e\x1b</MaxUploads></…>".encode()),
    "checksum": head("200 OK", b"", b'etag: "x"', b"x-cos-hash-crc64ecma: " + RAW),
    "etag": head("200 OK", b"", b"etag: " + RAW),
    "length": b"HTTP/1.1 200 OK\r\ncontent-length: " + RAW + b"\r\n\r\n",
    "chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + RAW,
    "version": RAW + b" 200 OK\r\n\r\n",
    "header name": b"HTTP/1.1 200 OK\r\n" + RAW + b": 1\r\n\r\n",
}


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
@pytest.mark.parametrize("call", ["put", "init", "list"])
@pytest.mark.parametrize("kind", ["native", "httpx"])
def test_text_of_a_server_is_escaped_over_http1(
    kind: str, call: str, response: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "cosxfer")

    @in_loop
    async def main() -> None:
        async def serve(peer: Peer) -> None:
            await peer.head()
            await peer.say(response)

        async with serving(serve) as server:
            error = await failing(server.port, kind, "1.1", call)
        if error is not None:
            check_clean(error, caplog.records)
        assert all(record.getMessage().isprintable() for record in caplog.records)

    main()


@pytest.mark.parametrize("how", ["goaway", "request id", "location", "message", "header name"])
@pytest.mark.parametrize("kind", ["native", "httpx"])
def test_text_of_a_server_is_escaped_over_http2(kind: str, how: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "cosxfer")

    @in_loop
    async def main() -> None:
        async def serve(peer: Peer) -> None:
            http2 = Http2Peer(peer)
            http2.http2.config.validate_outbound_headers = False
            http2.http2.config.normalize_outbound_headers = False
            async for event in http2.events():
                if not isinstance(event, RequestReceived):
                    continue
                if how == "goaway":
                    http2.http2.close_connection(2, HOSTILE.encode(), last_stream_id=event.stream_id)
                    await http2.flush()
                    return
                name, value = {
                    "request id": ("x-cos-request-id", ON_ONE_LINE),
                    "location": ("location", f"http://x/{ON_ONE_LINE}"),
                    "message": ("x-other", "y"),
                    "header name": (ON_ONE_LINE.lower(), "y"),
                }[how]
                body = in_xml("Message") if how == "message" else b""
                http2.http2.send_headers(event.stream_id, [(":status", "302"), (name, value)])
                http2.http2.send_data(event.stream_id, body, end_stream=True)

        async with serving(serve) as server:
            check_clean(await failing(server.port, kind, "2", "put"), caplog.records)

    main()


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_escapes_text_of_a_server_with_debug(tmp_path: Path, as_json: bool) -> None:
    (tmp_path / "f").write_bytes(b"x")

    @in_loop
    async def main() -> None:
        async def serve(peer: Peer) -> None:
            await peer.head()
            await peer.say(RESPONSES["message"])

        async with serving(serve) as server:
            command = [sys.executable, "-m", "cosxfer", "cp", str(tmp_path / "f"), f"cos://{BUCKET}/k", "--debug"]
            command += ["--endpoint", f"http://127.0.0.1:{server.port}", *(["--json"] if as_json else [])]
            keys = {"COS_SECRET_ID": "id", "COS_SECRET_KEY": "key"}
            ended = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, check=False, env={**os.environ, **keys}
            )
        assert ended.returncode == 1
        assert b"Traceback" in ended.stderr
        for line in (ended.stdout + ended.stderr).decode().split("\n"):
            assert printable(line) == line, ascii(line)
            assert not line.startswith(FORGED)

    main()


@pytest.mark.parametrize("kind", [CosxferError, TransportError, ProtocolError, UsageError])
def test_every_error_and_note_is_one_line_of_bounded_length(kind: type[CosxferError]) -> None:
    error = kind(HOSTILE * 1000)
    error.add_note(HOSTILE)
    assert str(error).isprintable()
    assert len(str(error)) == LONGEST_MESSAGE
    assert all(note.isprintable() for note in error.__notes__)
    assert foreign(HOSTILE) == foreign(foreign(HOSTILE))


def test_exceptions_of_the_callers_program_are_not_changed() -> None:
    own = ValueError(HOSTILE)
    try:
        raise SourceError("x", path="p") from own
    except SourceError as error:
        clean_causes(error)
    assert own.args == (HOSTILE,)


def test_a_log_record_with_foreign_text_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("cosxfer", "cosxfer.retry"):
        logging.getLogger(name).warning("of %s", HOSTILE)
    assert len(caplog.records) == 2
    assert all(record.getMessage().isprintable() for record in caplog.records)
