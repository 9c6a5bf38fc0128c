"""Every operation and every parameter of the SDKs' page: what the server received, and what the call returned.

The list of parameters is `parameters.json`, made from the page by ``python -m tests.functional.page``. A parameter
without a row in `table_rows.py` fails here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import cosxfer
from cosxfer.cos.sign import folded, is_signed_header, parse_authorization
from cosxfer.server import RunningServer, running
from tests.functional.page import PAGE, checked_in, parse
from tests.functional.recorder import Recorded, Recorder
from tests.functional.table import VERSION, Exchange, World
from tests.functional.table_calls import CALLS
from tests.functional.table_rows import ROWS

PARAMETERS = [(operation, parameter) for operation, rows in checked_in().items() for parameter in rows]
MISSING_BUCKET = "nosuch-1250000000"


def bucket_of(operation: str) -> str:
    """Each operation has its own bucket."""
    return f"{operation.lower()}-1250000000"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running(buckets=[bucket_of(operation) for operation in CALLS]) as server:
        yield server


@pytest.fixture(scope="module")
def exchanges(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exchange]:
    """Runs each operation once, at its first use."""
    return Exchanges(server, tmp_path_factory.mktemp("table"))


class Exchanges(dict[str, Exchange]):
    def __init__(self, server: RunningServer, folder: Path) -> None:
        self._server = server
        self._folder = folder

    def __missing__(self, operation: str) -> Exchange:
        call = CALLS[operation]
        server = self._server
        with Recorder(server.port, add_header=f"x-cos-version-id: {VERSION}") as recorder:
            address = f"http://127.0.0.1:{recorder.port}"
            with (
                cosxfer.Client(endpoint=f"{address}/{{bucket}}", credentials=server.credentials) as client,
                cosxfer.Client(
                    endpoint=f"{address}/{{region}}/{{bucket}}", region="ap-guangzhou", credentials=server.credentials
                ) as elsewhere,
            ):
                world = World(client=client, recorder=recorder, bucket=bucket_of(operation), folder=self._folder)
                call.prepare(world)
                recorder.clear()
                world.told.clear()
                result = call.run(world, world.bucket)
                told, world.told = world.told, {}
                seen, extra = recorder.requests(), world.extra
                error: BaseException | None = None
                try:
                    call.run(world, MISSING_BUCKET)
                except cosxfer.CosxferError as raised:
                    error = raised
                recorder.clear()
                world.client = elsewhere
                with suppress(cosxfer.CosxferError):
                    call.run(world, world.bucket, region="ap-beijing")
                other = recorder.requests()
        exchange = self[operation] = Exchange(
            bucket=world.bucket,
            seen=next(request for request in seen if call.is_it(request)),
            all_seen=seen,
            result=result,
            error=error,
            other_region=next((request.path for request in other if call.is_it(request)), ""),
            told=told,
            extra=extra,
        )
        return exchange


@pytest.mark.parametrize(("operation", "parameter"), PARAMETERS, ids=lambda value: value)
def test_a_parameter_does_what_the_page_says(exchanges: dict[str, Exchange], operation: str, parameter: str) -> None:
    row = ROWS.get(operation, {}).get(parameter)
    assert row is not None, f"{operation} has the parameter {parameter} on the page, and no row in table_rows.py"
    observed, expected = row(exchanges[operation])
    assert observed == expected


def test_every_row_is_on_the_page() -> None:
    tables = checked_in()
    left_over = [(operation, row) for operation, rows in ROWS.items() for row in rows if row not in tables[operation]]
    # The page omits two rows of `OUTCOME` for this operation; they hold nevertheless.
    extra = {"err/statusCode", "err/headers", "data/statusCode", "data/headers"}
    assert [row for row in left_over if row[0] != "multipartInit" or row[1] not in extra] == []


@pytest.mark.skipif(not PAGE.exists(), reason="the page is not here")
def test_the_list_of_parameters_matches_the_page() -> None:
    assert checked_in() == parse(PAGE.read_text(encoding="utf-8"))


def check_signed(request: Recorded) -> None:
    """Host, all parameters, and all headers that COS signs."""
    fields = parse_authorization(request.headers["authorization"])
    assert fields is not None
    assert set(fields.param_list) == {folded(name) for name in request.query}
    assert set(fields.header_list) == {name for name in request.headers if is_signed_header(name)}
    assert "host" in fields.header_list


@pytest.mark.parametrize("operation", CALLS)
def test_every_request_signs_its_host_and_all_its_parameters(exchanges: dict[str, Exchange], operation: str) -> None:
    """COS accepts unsigned headers and parameters, so the client signs all of them."""
    assert exchanges[operation].all_seen
    for request in exchanges[operation].all_seen:
        check_signed(request)


def test_requests_that_read_sign_their_host_and_all_their_parameters(server: RunningServer) -> None:
    bucket = bucket_of("putObject")
    with Recorder(server.port) as recorder:
        endpoint = f"http://127.0.0.1:{recorder.port}/{{bucket}}"
        with cosxfer.Client(endpoint=endpoint, credentials=server.credentials) as client:
            client.put_object(bucket, "read", b"x")
            client.get_object(bucket, "read")
            client.head_object(bucket, "read")
        requests = recorder.requests()
    assert [request.method for request in requests] == ["PUT", "GET", "HEAD"]
    for request in requests:
        check_signed(request)
