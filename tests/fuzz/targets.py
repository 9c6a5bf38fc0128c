"""Parsers of what comes from outside. Each target takes any bytes, and fails if its parser raises what it must not.

`tests/unit/test_parsers.py` runs them with the corpus and with hypothesis, `tests/fuzz/run.py` for a long time by hand.
The parser of HTTP heads is native; `tests/native/wire_parser_fuzz.c` fuzzes it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cosxfer import journal_rows as rows
from cosxfer.address import ObjectAddress
from cosxfer.config import ClientConfig
from cosxfer.cos import policy, responses, xml
from cosxfer.cos.requests import CosRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import CosxferError
from cosxfer.limits import MAX_OBJECT_BYTES, MIB
from cosxfer.ops.head_object import head_object
from cosxfer.ops.multipart_complete import multipart_complete
from cosxfer.ops.multipart_init import multipart_init
from cosxfer.ops.multipart_list import multipart_list
from cosxfer.ops.multipart_list_part import multipart_list_part
from cosxfer.ops.put_object import put_object
from cosxfer.planning import Plan
from cosxfer.server.form import FormParser, boundary_of
from cosxfer.server.http import CosError
from cosxfer.sources import SourceIdentity

LONGEST_MESSAGE = 5_000
CORPUS = Path(__file__).with_name("corpus")
ADDRESS = ObjectAddress("b-1250000000", "k")
UPLOAD = rows.JournaledUpload(
    place=rows.Place(endpoint="http://localhost/{bucket}", region="", bucket=ADDRESS.bucket, key="k", path="/f"),
    headers=b"h" * 16,
    parameters={},
    complete=True,
    add_md5=False,
    source=SourceIdentity(device=1, inode=2, size=5 * MIB + 1, mtime_ns=3, ctime_ns=4),
    plan=Plan(size=5 * MIB + 1, part_size_bytes=MIB),
    upload_id="an id",
    created=1e9,
)


def journal_upload(data: bytes) -> None:
    """The row of an upload, with a right guard: it must be dropped, or be a legal one."""
    assert rows.decode_upload(data) is None  # its guard is wrong
    found = rows.decode_upload(data + rows.guard_of(data))
    if found is not None:
        assert rows.decode_upload(rows.encode_upload(found)) == found
        assert found.upload_id
        assert len(found.headers) == len(UPLOAD.headers)
        assert found.plan.size == found.source.size
        assert math.isfinite(found.created)
        found.place.fingerprint()
        rows.difference(found, headers=b"", source=UPLOAD.source, part_size="auto")


def journal_part(data: bytes) -> None:
    """The row of a part, with a right guard."""
    number = data[0] % 8 if data else 0
    row = data[1:] + rows.guard_of(data[1:], f"{UPLOAD.upload_id} {number}")
    found = rows.decode_part(UPLOAD, number, row)
    if found is not None:
        planned = UPLOAD.plan.part(number)
        assert (found.number, found.offset, found.length) == (number, planned.offset, planned.length)
        assert rows.decode_part(UPLOAD, number, rows.encode_part(UPLOAD.upload_id, found)) == found


def journal_object(data: bytes) -> None:
    """The row of a finished object, with a right guard."""
    target, row = b"t" * rows.TARGET_BYTES, data[: rows._OBJECT.size]
    found = rows.decode_object(target, row + rows._SHORT_GUARD.pack(rows.xxhash.xxh32_intdigest(target + row)))
    if found is not None:
        assert found.size <= MAX_OBJECT_BYTES
        assert rows.decode_object(target, rows.encode_object(target, found)) == found


def journal_batch(data: bytes) -> None:
    """The row of a batch, with a right guard."""
    name = b"n" * 16
    touched = rows.decode_batch(name, data + rows.guard_of(data, name.hex()))
    assert touched is None or math.isfinite(touched)


def document(data: bytes) -> None:
    """An XML document."""
    with suppress(xml.XmlError):
        root = xml.parse(data)
        for element in root.iter():
            xml.text_of(element, element.tag)
            with suppress(xml.XmlError):
                xml.int_of(element, element.tag)


def _response(data: bytes) -> HttpResponse:
    """Two bytes of status, lines of headers, an empty line, and the body."""
    head, _, body = data[2:].partition(b"\n\n")
    headers = {}
    for line in head.split(b"\n"):
        name, _, value = line.partition(b":")
        headers[name.decode("latin-1").strip().lower()] = value.decode("latin-1").strip()
    return HttpResponse(status=100 + int.from_bytes(data[:2], "big") % 500, headers=headers, body=body)


def _session(response: HttpResponse) -> Any:
    """Return a session that gets this response to each request."""

    async def call(request: CosRequest, **_: Any) -> HttpResponse:
        if error := responses.error_of(response, operation=request.operation):
            raise error
        if request.check is not None:
            request.check(response)
        return response

    endpoint = SimpleNamespace(location=lambda key: f"localhost/{key}")
    return SimpleNamespace(call=call, config=ClientConfig(), endpoint=lambda _: endpoint)


def _run(work: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine that never waits."""
    with suppress(StopIteration):
        work.send(None)
        raise AssertionError("it waits")


def response(data: bytes) -> None:
    """The status, the headers and the body of a response, as each operation reads it."""
    found = _response(data)
    responses.retry_after(found.headers)
    responses.server_time(found)
    session = _session(found)
    body: Any = SimpleNamespace(content_length=1)
    requests: tuple[Callable[[], Coroutine[Any, Any, object]], ...] = (
        lambda: head_object(session, ADDRESS),
        lambda: multipart_init(session, ADDRESS, headers={}),
        lambda: multipart_list_part(session, ADDRESS, upload_id="u"),
        lambda: multipart_list(session, ADDRESS),
        lambda: multipart_complete(session, ADDRESS, upload_id="u", parts=[(1, "e")]),
        lambda: put_object(session, ADDRESS, body, content_length=1, md5=bytes(16), crc64=1, headers={}),
    )
    for work in requests:
        try:
            _run(work())
        except CosxferError as error:
            _check(error)


def _check(error: CosxferError) -> None:
    """A message is for people: nothing of the server's may make it long or unreadable."""
    assert all(line.isprintable() for line in str(error).split("\n"))
    assert len(str(error)) < LONGEST_MESSAGE


def form_policy(data: bytes) -> None:
    """The policy of a form: the bytes are its JSON, and the field itself."""
    for encoded in (data.decode("latin-1"), base64.b64encode(data).decode()):
        with suppress(policy.PolicyError):
            _, found = policy.parse_policy(encoded)
            low, high = found.size_range
            assert low >= 0
            assert isinstance(high, int)
            assert math.isfinite(found.expires_at)


def form(data: bytes) -> None:
    """The Content-Type of a form, an empty line, and its body, in pieces."""
    kind, _, body = data.partition(b"\n\n")
    with suppress(CosError):
        parser = FormParser(boundary_of(kind.decode("latin-1")))
        for first in range(0, len(body), 7):
            parser.feed(body[first : first + 7])


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        journal_upload,
        journal_part,
        journal_object,
        journal_batch,
        document,
        response,
        form_policy,
        form,
    )
}


def seeds(name: str) -> list[bytes]:
    """Return the corpus of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
