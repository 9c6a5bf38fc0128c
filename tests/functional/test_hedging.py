"""A part straggles at a real server: it is sent again on another connection, over both transports and protocols."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.config import HttpVersion
from cosxfer.cos.requests import CosRequest, HttpRequest
from cosxfer.limits import MIB
from cosxfer.ops.session import Session
from cosxfer.server import RunningServer
from cosxfer.transport.choose import TransportChoice

PARTS = 60
SIZE = PARTS * MIB - 5
STRAGGLER = 58
"""One of the last: slots idle soon after it began."""
LONG_SECONDS = 20.0
"""The straggler takes so long if it is not hedged."""

PROTOCOLS: list[tuple[TransportChoice, HttpVersion]] = [
    ("native", "1.1"),
    ("native", "2"),
    ("httpx", "1.1"),
    ("httpx", "2"),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hedging") / "f"
    path.write_bytes(random.Random(13).randbytes(SIZE))
    return path


@pytest.fixture
def sends(monkeypatch: pytest.MonkeyPatch, no_faults: None) -> Counter[int]:
    """How often each part was begun to be sent. The server lists a request when it has ended, which may be later."""
    counts = Counter[int]()
    outgoing = Session._outgoing

    def counted(self: Session, request: CosRequest, *arguments: Any, other: bool) -> HttpRequest:
        if "partNumber" in request.params:
            counts[int(request.params["partNumber"])] += 1
        return outgoing(self, request, *arguments, other=other)

    monkeypatch.setattr(Session, "_outgoing", counted)
    return counts


def client_of(server: RunningServer, **settings: Any) -> cosxfer.Client:
    return cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials, concurrency=8, **settings)


def upload(
    server: RunningServer, path: Path, *, part_size: int = MIB, storage_class: str | None = None, **settings: Any
) -> cosxfer.UploadResult:
    with client_of(server, **settings) as client:
        return client.upload_file(server.bucket, "k", path, part_size=part_size, storage_class=storage_class)


def check_object(server: RunningServer, path: Path) -> None:
    with client_of(server) as client:
        assert client.get_object(server.bucket, "k").body == path.read_bytes()
        assert not client.multipart_list(server.bucket).uploads


def delay(part: int | list[int], seconds: float, *, attempt: int = 1, at: str | int = "head") -> dict[str, object]:
    return {
        "operation": "multipart_upload",
        "part": part,
        "attempt": attempt,
        "do": "delay",
        "seconds": seconds,
        "at": at,
    }


@pytest.mark.parametrize(("transport", "version"), PROTOCOLS)
def test_a_straggler_is_hedged_once_and_the_object_is_right(
    server: RunningServer, path: Path, sends: Counter[int], transport: TransportChoice, version: HttpVersion
) -> None:
    server.set_faults([delay(STRAGGLER, LONG_SECONDS, at="answer")])
    result = upload(server, path, transport=transport, http_version=version)
    assert (result.verified_by, result.parts, result.retries, result.hedges) == ("crc64", PARTS, 0, 1)
    assert sends[STRAGGLER] == 2
    assert sends.total() <= PARTS * 1.05
    check_object(server, path)


def test_a_hedge_that_loses_changes_nothing(server: RunningServer, path: Path, sends: Counter[int]) -> None:
    server.set_faults([delay(STRAGGLER, 6.0), delay(STRAGGLER, LONG_SECONDS, attempt=2)])
    result = upload(server, path)
    assert (result.verified_by, result.retries) == ("crc64", 0)
    assert sends[STRAGGLER] == 2
    check_object(server, path)


def test_never_more_than_a_twentieth_is_sent_twice(server: RunningServer, path: Path, sends: Counter[int]) -> None:
    server.set_faults([delay(list(range(PARTS - 4, PARTS + 1)), 6.0)])
    result = upload(server, path)
    assert result.verified
    assert result.hedges == sends.total() - PARTS
    assert PARTS < sends.total() <= PARTS * 1.05
    assert max(sends.values()) == 2
    check_object(server, path)


# tests/unit/engine/multipart/test_hedge.py goes through all classes.
@pytest.mark.parametrize("storage_class", ["STANDARD_IA", "INTELLIGENT_TIERING"])
def test_nothing_is_sent_twice_into_classes_that_bill_replaced_data(
    server: RunningServer, path: Path, sends: Counter[int], storage_class: str
) -> None:
    server.set_faults([delay(STRAGGLER, 3.0)])
    result = upload(server, path, storage_class=storage_class)
    assert result.verified
    assert sends.total() == PARTS


def test_hedging_can_be_turned_off(server: RunningServer, path: Path, sends: Counter[int]) -> None:
    server.set_faults([delay(STRAGGLER, 3.0)])
    result = upload(server, path, hedge=False)
    assert (result.verified, result.hedges) == (True, 0)
    assert sends.total() == PARTS


def test_a_transfer_of_few_parts_is_not_hedged(server: RunningServer, path: Path, sends: Counter[int]) -> None:
    server.set_faults([delay(15, 3.0)])
    assert upload(server, path, part_size=4 * MIB).parts == 15
    assert sends.total() == 15


def test_if_both_fail_the_upload_fails_and_its_parts_are_deleted(
    server: RunningServer, path: Path, sends: Counter[int]
) -> None:
    broken = {"operation": "multipart_upload", "part": STRAGGLER, "do": "error", "status": 500, "at": "answer"}
    cut = {"operation": "multipart_upload", "part": STRAGGLER, "attempt": 1, "do": "stall", "seconds": 6.0}
    server.set_faults([cut, {**broken, "attempt": 2}])
    with pytest.raises(cosxfer.UploadError, match=f"at part {STRAGGLER} of {PARTS}") as caught:
        upload(server, path, max_attempts=1, retry_for_seconds=0, max_finished_tasks=0)
    assert caught.value.aborted
    assert sends[STRAGGLER] == 2
    with client_of(server) as client:
        assert not client.multipart_list(server.bucket).uploads


def test_a_pause_during_a_hedge_leaves_nothing_running_and_the_rest_is_sent_later(
    server: RunningServer, path: Path, sends: Counter[int]
) -> None:
    server.set_faults([delay(STRAGGLER, LONG_SECONDS), delay(STRAGGLER, LONG_SECONDS, attempt=2)])

    with client_of(server) as client:
        task = client.submit_upload_file(server.bucket, "k", path, part_size=MIB)
        while sends[STRAGGLER] < 2:
            time.sleep(0.01)
        assert task.pause()
        assert client._client._transfers.limiter.in_flight == 0
        assert sends[STRAGGLER] == 2
        assert task.restart()
        assert task.result(60).verified
        assert sends[STRAGGLER] == 3
        assert sum(sends.values()) <= PARTS * 1.05 + 1
    check_object(server, path)


@pytest.mark.deep
@pytest.mark.parametrize(("transport", "version"), PROTOCOLS)
def test_three_uploads_of_which_parts_are_given_up_again_and_again_are_right(
    server: RunningServer, path: Path, sends: Counter[int], transport: TransportChoice, version: HttpVersion
) -> None:
    server.set_faults([{"operation": "multipart_upload", "do": "delay", "seconds": 0.1, "at": MIB // 2}])

    content = path.read_bytes()

    async def main() -> tuple[int, int]:
        given_up = retries = 0
        async with cosxfer.AsyncClient(
            endpoint=server.endpoint,
            credentials=server.credentials,
            transport=transport,
            http_version=version,
            concurrency=4,
            file_parallel_limit=3,
            hedge=False,
        ) as client:
            limiter = client._transfers.limiter
            uploads = [
                asyncio.ensure_future(client.upload_file(server.bucket, f"k{index}", path, part_size=2 * MIB))
                for index in range(3)
            ]
            for slots in itertools.cycle((3, 12, 6, 9)):
                limiter.resize(slots=slots)
                given_up += limiter.abandon()
                await asyncio.sleep(0.15)
                if all(task.done() for task in uploads):
                    break
            for index, task in enumerate(uploads):
                result = await task
                assert (result.verified_by, result.parts) == ("crc64", PARTS // 2)
                # httpx cannot always end one stream of an HTTP/2 connection without the others.
                retries += result.retries
                assert result.retries == 0 or (transport, version) == ("httpx", "2")
                assert (await client.get_object(server.bucket, f"k{index}")).body == content
            assert limiter.in_flight == limiter.bytes_in_flight == 0
        return given_up, retries

    given_up, retries = asyncio.run(main())
    assert given_up > 0
    assert 3 * PARTS // 2 < sends.total() <= 3 * PARTS // 2 + given_up + retries
