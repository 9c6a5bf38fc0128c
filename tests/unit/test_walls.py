"""The settings of parts, tasks and memory: a number is a wall, and "auto" is none."""

from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cosxfer
from cosxfer.config import MAX_CONCURRENCY, ClientConfig
from cosxfer.limits import MAX_OBJECT_BYTES, MIB
from cosxfer.walls import Walls, parts_in_flight, walls
from tests.unit.fake_cos import BUCKET, FakeCos

COUNTS = st.one_of(st.just("auto"), st.integers(1, MAX_CONCURRENCY))
KINDS = [cosxfer.Client, cosxfer.AsyncClient]
SIZE = 9 * MIB


def part_sizes(cos: FakeCos) -> list[int]:
    """The sizes of the parts that were sent, in the order of their numbers."""
    sent = {call.part: len(call.body) for call in cos.calls if call.part is not None}
    return [sent[number] for number in sorted(sent)]


def test_the_defaults_are_automatic_and_cost_256_mib() -> None:
    config = ClientConfig()
    assert (config.concurrency, config.file_parallel_limit, config.part_size) == ("auto", "auto", "auto")
    assert config.memory_budget_bytes == 256 * MIB
    assert walls(config) == Walls(tasks=None, per_transfer=None, least_slots=1, most_slots=256)


def test_two_numbers_fix_the_parts_in_flight_to_their_product() -> None:
    assert walls(ClientConfig(concurrency=4, file_parallel_limit=3)) == Walls(
        tasks=3, per_transfer=4, least_slots=12, most_slots=12
    )


def test_a_number_of_parts_alone_fixes_each_upload_and_leaves_open_how_many_run() -> None:
    assert walls(ClientConfig(concurrency=6)) == Walls(tasks=None, per_transfer=6, least_slots=6, most_slots=252)


def test_a_number_of_tasks_alone_leaves_the_parts_open() -> None:
    assert walls(ClientConfig(file_parallel_limit=3)) == Walls(
        tasks=3, per_transfer=None, least_slots=1, most_slots=256
    )


@given(COUNTS, COUNTS)
def test_walls_never_contradict_each_other(concurrency: Any, files: Any) -> None:
    found = walls(ClientConfig(concurrency=concurrency, file_parallel_limit=files))
    assert 1 <= found.least_slots <= found.most_slots
    assert found.tasks == (None if files == "auto" else files)
    if found.per_transfer is not None:
        assert found.per_transfer == concurrency
        assert found.most_slots % concurrency == 0
    assert found.are_fixed == (concurrency != "auto" and (files != "auto" or concurrency > MAX_CONCURRENCY // 2))


@pytest.mark.parametrize(
    ("concurrency", "async_limit", "expected"),
    [("auto", None, 256), ("auto", "auto", 256), ("auto", 9, 9), (7, None, 7), (7, 9, 9), (7, "auto", 256)],
)
def test_the_limit_of_a_call_comes_before_the_clients(concurrency: Any, async_limit: Any, expected: int) -> None:
    assert parts_in_flight(ClientConfig(concurrency=concurrency), async_limit) == expected


# -- refused values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("concurrency", 0, 'concurrency is 0; it must be a whole number from 1 to 256, or "auto"'),
        ("concurrency", "Auto", "concurrency is 'Auto'; it must be a whole number from 1 to 256, or \"auto\""),
        ("concurrency", None, 'concurrency is None; it must be a whole number from 1 to 256, or "auto"'),
        ("file_parallel_limit", 257, 'file_parallel_limit is 257; it must be a whole number from 1 to 256, or "auto"'),
        ("part_size", None, 'part_size is None; it must be a whole number of bytes, or "auto"'),
        (
            "part_size",
            MIB - 1,
            "part_size is 1048575 bytes; COS allows parts from 1048576 (1 MiB) to 5368709120 (5 GiB). "
            'Give a size between them, or "auto"',
        ),
        (
            "memory_budget_bytes",
            16 * MIB - 1,
            "memory_budget_bytes is 16777215; it must be a whole number of bytes from 16777216",
        ),
        (
            "memory_budget_bytes",
            "auto",
            "memory_budget_bytes is 'auto'; it must be a whole number of bytes from 16777216",
        ),
    ],
)
def test_a_setting_is_refused_with_its_value_and_its_limits(kind: Any, setting: str, value: Any, message: str) -> None:
    with pytest.raises(cosxfer.UsageError) as caught:
        kind(secret_id="a", secret_key="b", **{setting: value})
    assert str(caught.value) == message
    assert caught.value.name == setting


VAST = 10**5000
"""Python refuses to write it."""


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(VAST, id="vast"),
        pytest.param(-VAST, id="vast below 0"),
        MAX_OBJECT_BYTES + 1,
        "1e9",
        "autos",
        2.0,
        True,
    ],
)
@pytest.mark.parametrize("name", ["part_size", "async_limit", "content_length"])
def test_no_value_of_a_call_ends_in_another_error(cos: FakeCos, tmp_path: Path, name: str, value: Any) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(2 * MIB))
    with cos.blocking_client() as client:
        calls = [
            lambda: client.upload_file(BUCKET, "k", path, **{name: value}),
            lambda: client.upload_stream(BUCKET, "k", [b"x"], **{name: value}),
            lambda: client.submit_upload_stream(BUCKET, "k", [b"x"], **{name: value}),
        ]
        if name == "content_length":
            calls.append(lambda: client.put_object(BUCKET, "k", b"x", **{name: value}))
        else:
            calls.append(lambda: client.upload_directory(BUCKET, "k", tmp_path, **{name: value}))
        for call in calls:
            with pytest.raises(cosxfer.UsageError) as caught:
                call()
            assert caught.value.name == name
        given = {"slice_size" if name == "part_size" else name: value}
        with pytest.raises(cosxfer.UsageError) as caught:
            client.slice_upload_file(BUCKET, "k", path, **given)
        assert caught.value.name in given
    assert not cos.calls


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [pytest.param(-VAST, id="vast below 0"), pytest.param([VAST], id="vast in a list")])
@pytest.mark.parametrize("setting", [field.name for field in fields(ClientConfig)])
def test_no_value_of_a_setting_ends_in_another_error(kind: Any, setting: str, value: Any) -> None:
    with pytest.raises(cosxfer.UsageError) as caught:
        kind(secret_id="a", secret_key="b", **{setting: value})
    assert caught.value.name == setting


def test_a_rate_that_no_number_of_the_machine_holds_is_refused() -> None:
    with pytest.raises(cosxfer.UsageError, match="max_bytes_per_second is a number of more than 75 digits"):
        ClientConfig(max_bytes_per_second=VAST)


def test_the_length_of_a_single_put_is_never_automatic(cos: FakeCos) -> None:
    with cos.blocking_client() as client, pytest.raises(cosxfer.UsageError, match="slice_size is 'auto'"):
        client.upload_file(BUCKET, "k", __file__, slice_size="auto")


# -- where the settings arrive ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "call", "expected"),
    [
        ({}, {}, None),
        pytest.param({}, {"part_size": "auto"}, None, marks=pytest.mark.deep),
        ({"part_size": 5 * MIB}, {}, [5 * MIB, 4 * MIB]),
        pytest.param({"part_size": 5 * MIB}, {"part_size": None}, [5 * MIB, 4 * MIB], marks=pytest.mark.deep),
        ({"part_size": 5 * MIB}, {"part_size": "auto"}, None),
        ({"part_size": 5 * MIB}, {"part_size": 6 * MIB}, [6 * MIB, 3 * MIB]),
        pytest.param({"part_size": 5 * MIB}, {"part_size": str(6 * MIB)}, [6 * MIB, 3 * MIB], marks=pytest.mark.deep),
    ],
)
def test_a_part_size_of_the_call_comes_before_the_clients(
    cos: FakeCos, tmp_path: Path, config: dict[str, Any], call: dict[str, Any], expected: list[int] | None
) -> None:
    """None: an automatic size, which depends on what is known of the link. A fast link may take the file in one PUT."""
    path = tmp_path / "f"
    path.write_bytes(bytes(SIZE))
    in_slices = {"slice_size": call["part_size"]} if call else {}
    with cos.blocking_client(concurrency=1, **config) as client:
        uploads = (
            lambda: client.upload_file(BUCKET, "k", path, **call),
            lambda: client.upload_files([{"bucket": BUCKET, "key": "k", "path": path, **call}]),  # type: ignore[typeddict-item]
            lambda: client.upload_directory(BUCKET, "k", tmp_path, **call),
            lambda: client.slice_upload_file(BUCKET, "k", path, **in_slices),
            lambda: client.upload_stream(BUCKET, "k", iter([bytes(SIZE)]), **call),
            lambda: client.upload_stream(BUCKET, "k", iter([bytes(SIZE)]), content_length=SIZE, **call),
        )
        for upload in uploads:
            cos.calls.clear()
            upload()
            if expected is None:
                assert 5 * MIB not in part_sizes(cos)
                assert sum(part_sizes(cos)) == SIZE or cos.count("put_object") == 1
            else:
                assert part_sizes(cos) == expected


def test_the_clients_part_size_is_that_of_a_body_that_goes_in_parts(cos: FakeCos) -> None:
    with cos.blocking_client(part_size=5 * MIB) as client:
        client.put_object(BUCKET, "k", iter([bytes(SIZE)]))
    assert part_sizes(cos) == [5 * MIB, 4 * MIB]


def test_the_clients_part_size_is_refused_by_its_own_name_if_the_file_needs_too_many_parts(
    cos: FakeCos, tmp_path: Path
) -> None:
    path = tmp_path / "f"
    with path.open("wb") as file:
        file.truncate(10_000 * MIB + 1)
    with cos.blocking_client(part_size=MIB) as client:
        for call in (client.upload_file, client.slice_upload_file):
            with pytest.raises(cosxfer.UsageError, match='Give at least 2 MiB, or "auto"') as caught:
                call(BUCKET, "k", path)
            assert (caught.value.name, caught.value.value) == ("part_size", MIB)
    assert not cos.calls


@pytest.mark.parametrize("kind", KINDS)
def test_automatic_settings_survive_a_spec(kind: Any) -> None:
    given = {
        "concurrency": "auto",
        "file_parallel_limit": 2,
        "part_size": 2 * MIB,
        "memory_budget_bytes": 64 * MIB,
        "endpoint_memory": False,
    }
    spec = kind(anonymous=True, region="ap-guangzhou", **given).spec()
    back = kind.from_spec(pickle.loads(pickle.dumps(spec))).config
    assert {name: getattr(back, name) for name in given} == given
    assert kind(anonymous=True, region="ap-guangzhou").spec().config.part_size == "auto"
