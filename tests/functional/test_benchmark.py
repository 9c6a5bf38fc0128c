"""`cosxfer.benchmark`: what it measures, that it touches nothing of others, and that it leaves nothing behind."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import cosxfer
from cosxfer.benchmark import Benchmark, BenchmarkCase
from cosxfer.benchmark.files import SPARE_BYTES, are_equal, needed_bytes
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.limits import GIB, KIB, MIB
from cosxfer.server import RunningServer, running
from cosxfer.transport.memory import MemoryTransport
from tests.functional.server_client import ServerClient

SMALL = BenchmarkCase(object_bytes=KIB, objects=3)
LARGE = BenchmarkCase(object_bytes=2 * MIB + 1, objects=1)
Connect = Callable[[], cosxfer.Client]


@pytest.fixture
def connect(server: RunningServer, no_faults: None) -> Iterator[Connect]:
    yield lambda: cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials, journal=None)
    server.set_faults([])
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
        client.delete_objects(server.bucket, list(client.iter_list_objects(server.bucket)))


def keys(server: RunningServer) -> list[str]:
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
        assert client.multipart_list(server.bucket).uploads == ()
        return [entry.key for entry in client.iter_list_objects(server.bucket)]


def denied(operation: str, **more: object) -> dict[str, object]:
    return {"operation": operation, "do": "error", "status": 403, "code": "AccessDenied", **more}


def test_both_directions_of_each_case_are_measured_and_nothing_is_left(
    server: RunningServer, connect: Connect, tmp_path: Path
) -> None:
    with connect() as other:
        other.put_object(server.bucket, "bench/other", b"x")
    seen = set()
    with Benchmark(
        connect, server.bucket, "bench", folder=tmp_path, part_size=MIB, on_progress=lambda what, _: seen.add(what)
    ) as benchmark:
        assert benchmark.prefix.startswith("bench/cosxfer-bench-")
        small, large = benchmark.run(SMALL), benchmark.run(LARGE)
    for result, case in ((small, SMALL), (large, LARGE)):
        assert result.good
        assert [phase.direction for phase in result.phases] == ["upload", "download"]
        for phase in result.phases:
            assert (phase.objects, phase.size, phase.failed, phase.error) == (case.objects, case.size, 0, None)
            assert phase.verified_by == {"crc64": case.objects}
            assert phase.seconds > 0
            assert phase.cpu_seconds > 0
            assert phase.bytes_per_second == pytest.approx(case.size / phase.seconds)
            assert phase.objects_per_second == pytest.approx(case.objects / phase.seconds)
            assert phase.cpu_seconds_per_gb == pytest.approx(phase.cpu_seconds / case.size * 1e9)
    assert benchmark.cleanup is not None
    assert benchmark.cleanup.complete
    assert benchmark.cleanup.deleted_objects == 4
    assert keys(server) == ["bench/other"]
    assert list(tmp_path.iterdir()) == []
    assert seen == {"making", "sending", "receiving"}


def test_one_direction_alone(server: RunningServer, connect: Connect) -> None:
    with Benchmark(connect, server.bucket) as benchmark:
        up = benchmark.run(SMALL, ["upload"])
        down = benchmark.run(SMALL, ["download"])
    assert [phase.direction for phase in up.phases] == ["upload"]
    assert [phase.direction for phase in down.phases] == ["download"]
    assert keys(server) == []


def test_what_is_sent_again_is_counted(server: RunningServer, connect: Connect) -> None:
    server.set_faults([{"operation": "put_object", "attempt": 1, "do": "error", "status": 503, "times": 1}])
    with Benchmark(connect, server.bucket) as benchmark:
        result = benchmark.run(SMALL, ["upload"])
    assert result.upload is not None
    assert (result.upload.retries, result.upload.failed) == (1, 0)


def test_an_object_that_somebody_else_has_written_is_neither_replaced_nor_deleted(
    server: RunningServer, connect: Connect
) -> None:
    with connect() as other:

        def write(what: str, _: cosxfer.Progress) -> None:
            if what == "making":
                other.put_object(server.bucket, f"{benchmark.prefix}1/1.bin", b"theirs")

        benchmark = Benchmark(connect, server.bucket, on_progress=write)
        with benchmark:
            result = benchmark.run(SMALL)
        key = f"{benchmark.prefix}1/1.bin"
        assert other.get_object(server.bucket, key).body == b"theirs"
    assert result.upload is not None
    assert (result.upload.objects, result.upload.failed) == (2, 1)
    assert isinstance(result.upload.error, cosxfer.ServerError)
    assert result.upload.error.code == "FileAlreadyExists"
    assert result.download is None
    assert benchmark.cleanup is not None
    assert benchmark.cleanup.left == (key,)
    assert keys(server) == [key]


def test_a_prefix_that_has_objects_is_refused_before_anything_is_sent(server: RunningServer, connect: Connect) -> None:
    benchmark = Benchmark(connect, server.bucket)
    with connect() as other:
        other.put_object(server.bucket, f"{benchmark.prefix}x", b"theirs")
    with pytest.raises(cosxfer.CosxferError, match="has objects already"), benchmark:
        benchmark.run(SMALL)
    assert keys(server) == [f"{benchmark.prefix}x"]


def test_versions_are_deleted_and_those_of_others_stay() -> None:
    with running() as server, closing(ServerClient(server)) as raw:
        document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        assert raw("PUT", params={"versioning": ""}, body=document).status == 200

        def connect() -> cosxfer.Client:
            return cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials, journal=None)

        with connect() as other:
            other.put_object(server.bucket, "cosxfer-bench", b"1")
            other.put_object(server.bucket, "cosxfer-bench", b"2")
        with Benchmark(connect, server.bucket) as benchmark:
            assert benchmark.run(SMALL).good
        for fault in (denied("list_object_versions"), denied("list_objects")):
            with Benchmark(connect, server.bucket) as benchmark:
                assert benchmark.run(SMALL, ["upload"]).good
                server.set_faults([fault])
            server.set_faults([])
        with connect() as other:
            left = [entry.key for entry in other.iter_list_object_versions(server.bucket)]
    assert left == ["cosxfer-bench", "cosxfer-bench"]


def test_keys_that_may_not_list_still_clean_up(server: RunningServer, connect: Connect) -> None:
    server.set_faults([denied("list_objects"), denied("list_object_versions")])
    with Benchmark(connect, server.bucket) as benchmark:
        assert benchmark.run(SMALL).good
    assert benchmark.cleanup is not None
    assert benchmark.cleanup.complete
    assert benchmark.cleanup.deleted_objects == 3
    server.set_faults([])
    assert keys(server) == []


def beginning_an_upload(server: RunningServer, connect: Connect) -> Benchmark:
    """A benchmark of which an upload is unfinished at its end, as after a crash of its client."""
    begun: list[cosxfer.Progress] = []

    def begin(what: str, progress: cosxfer.Progress) -> None:
        if what == "making" and not begun:
            begun.append(progress)
            with connect() as client:
                client.multipart_init(server.bucket, f"{benchmark.prefix}1/1.bin")
                client.multipart_init(server.bucket, f"{benchmark.prefix}theirs")

    benchmark = Benchmark(connect, server.bucket, on_progress=begin)
    return benchmark


def abort_all(server: RunningServer, connect: Connect) -> list[str]:
    with connect() as client:
        uploads = client.multipart_list(server.bucket).uploads
        for upload in uploads:
            client.multipart_abort(server.bucket, upload.key, upload_id=upload.upload_id)
    return [upload.key for upload in uploads]


def test_an_unfinished_upload_of_ours_is_deleted_and_no_other(server: RunningServer, connect: Connect) -> None:
    with beginning_an_upload(server, connect) as benchmark:
        assert benchmark.run(SMALL, ["upload"]).good
    assert benchmark.cleanup is not None
    assert benchmark.cleanup.complete
    assert benchmark.cleanup.aborted_uploads == 1
    assert abort_all(server, connect) == [f"{benchmark.prefix}theirs"]


def test_what_may_not_be_deleted_is_reported(server: RunningServer, connect: Connect) -> None:
    server.set_faults([denied("delete_objects"), denied("multipart_abort")])
    with beginning_an_upload(server, connect) as benchmark:
        assert benchmark.run(SMALL, ["upload"]).good
    found = benchmark.cleanup
    assert found is not None
    assert not found.complete
    assert sorted(found.left) == [f"{benchmark.prefix}1/{number}.bin" for number in range(3)]
    assert found.left_uploads == (f"{benchmark.prefix}1/1.bin",)
    assert len(found.reasons) == 2
    assert all("AccessDenied" in reason for reason in found.reasons)
    server.set_faults([])
    assert len(abort_all(server, connect)) == 2


def test_a_server_that_has_gone_is_no_error_of_the_cleanup(connect: Connect) -> None:
    with running() as server:
        gone = Benchmark(
            lambda: cosxfer.Client(
                endpoint=server.endpoint, credentials=server.credentials, journal=None, max_attempts=1
            ),
            server.bucket,
        )
        with gone:
            assert gone.run(SMALL, ["upload"]).good
            server.stop()
    assert gone.cleanup is not None
    assert len(gone.cleanup.left) == 3
    assert len(gone.cleanup.reasons) == 1


def test_a_key_that_is_not_deleted_is_reported(
    server: RunningServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cosxfer.Client.delete_objects

    def delete(self: cosxfer.Client, bucket: str, targets: Any, **more: Any) -> cosxfer.DeleteObjectsResult:
        result = real(self, bucket, targets[1:], **more)
        refused = cosxfer.DeleteFailure(key=targets[0][0], version_id=None, code="Refused", message="why")
        return cosxfer.DeleteObjectsResult(deleted=result.deleted, errors=(refused,))

    with Benchmark(connect, server.bucket) as benchmark:
        assert benchmark.run(SMALL, ["upload"]).good
        monkeypatch.setattr(cosxfer.Client, "delete_objects", delete)
    monkeypatch.undo()
    assert benchmark.cleanup is not None
    assert benchmark.cleanup.deleted_objects == 2
    assert benchmark.cleanup.left == (f"{benchmark.prefix}1/0.bin",)
    assert benchmark.cleanup.reasons == ("Refused: why",)


def test_a_received_file_that_differs_is_noticed(
    server: RunningServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cosxfer.Client.download_files

    def download(self: cosxfer.Client, files: Any, **more: Any) -> Any:
        outcomes = real(self, files, **more)
        path = Path(files[1]["path"])
        path.write_bytes(path.read_bytes()[:-1] + b"\0\0"[: 1 + (path.read_bytes()[-1] == 0)])
        return outcomes

    monkeypatch.setattr(cosxfer.Client, "download_files", download)
    with Benchmark(connect, server.bucket) as benchmark:
        result = benchmark.run(SMALL)
    assert result.download is not None
    assert (result.download.failed, result.download.differing) == (0, 1)
    assert not result.good


def test_objects_without_a_digest_are_not_verified() -> None:
    def respond(request: HttpRequest, body: bytes) -> HttpResponse:
        if request.method == "PUT":
            return HttpResponse(status=200, headers={"etag": '"x"', "x-cos-server-side-encryption": "cos/kms"})
        name = "ListMultipartUploadsResult" if "uploads" in request.target else "ListBucketResult"
        if request.method == "POST":
            name = "DeleteResult"
        elif "versions" in request.target:
            name = "ListVersionsResult"
        return HttpResponse(status=200, headers={}, body=f"<{name}></{name}>".encode())

    def connect() -> cosxfer.Client:
        return cosxfer.Client(
            region="ap-guangzhou",
            secret_id="id",
            secret_key="key",
            journal=None,
            transport=MemoryTransport(respond),
        )

    with Benchmark(connect, "examplebucket-1250000000") as benchmark:
        result = benchmark.run(SMALL, ["upload"])
    assert result.upload is not None
    assert (result.upload.objects, result.upload.unverified, result.upload.verified_by) == (3, 3, {})
    assert not result.good


# -- local files -------------------------------------------------------------------------------------------------------


class Space(NamedTuple):
    total: int
    used: int
    free: int


def test_a_disk_without_space_is_noticed_before_anything_is_written_or_sent(
    server: RunningServer, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = needed_bytes([SMALL, LARGE], ["upload", "download"])
    assert needed == 2 * (LARGE.size + 4096) + SPARE_BYTES
    assert needed_bytes([SMALL, LARGE], ["upload"]) == LARGE.size + 4096 + SPARE_BYTES
    benchmark = Benchmark(connect, server.bucket, folder=tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Space(GIB, GIB, needed - 1))
    server.requests(clear=True)
    with pytest.raises(cosxfer.CosxferError, match=r"needs 68\.0 MiB in .* but only 68\.0 MiB are free"), benchmark:
        benchmark.check([SMALL, LARGE])
    assert list(tmp_path.iterdir()) == []
    assert server.requests() == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Space(GIB, 0, needed))
    assert benchmark.check([SMALL, LARGE]) == needed


def test_a_disk_that_becomes_full_meanwhile_ends_the_run_with_its_reason(
    server: RunningServer, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(what: str, _: cosxfer.Progress) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    benchmark = Benchmark(connect, server.bucket, folder=tmp_path, on_progress=full)
    with pytest.raises(cosxfer.CosxferError, match=r"cannot be written .*no space left on device"), benchmark:
        benchmark.run(SMALL)
    assert list(tmp_path.iterdir()) == []
    assert keys(server) == []


@pytest.mark.parametrize(
    "case", [(0, 1), (1, 0), (1, 100_001), (50_000 * GIB + 1, 1)], ids=lambda case: "{}x{}".format(*case)
)
def test_cases_that_cannot_be_are_refused(server: RunningServer, connect: Connect, case: tuple[int, int]) -> None:
    with pytest.raises(cosxfer.UsageError, match="it can be from 1 to"):
        Benchmark(connect, server.bucket).check([BenchmarkCase(object_bytes=case[0], objects=case[1])])


@pytest.mark.parametrize("prefix", ["/x", "x" * 800])
def test_prefixes_that_cannot_be_are_refused(server: RunningServer, connect: Connect, prefix: str) -> None:
    with pytest.raises(cosxfer.UsageError, match="begins with / or has more than 786 bytes"):
        Benchmark(connect, server.bucket, prefix)


def test_files_are_compared_to_their_ends(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(bytes(5 * MIB))
    for content, equal in ((bytes(5 * MIB), True), (bytes(5 * MIB - 1), False), (bytes(5 * MIB - 1) + b"x", False)):
        other.write_bytes(content)
        assert are_equal(one, other) is are_equal(other, one) is equal
    assert not are_equal(one, tmp_path / "missing")


USAGE = """
from cosxfer.benchmark.usage import Meter

MIB = 1 << 20
hog = bytearray(b"x") * (96 * MIB)
del hog
meter = Meter()
first = meter.read()
assert first.seconds < 60
if first.peak_bytes is None:
    raise SystemExit(77)
held = bytearray(b"x") * (64 * MIB)
second = meter.read()
del held
assert second.peak_bytes >= first.peak_bytes + 48 * MIB, (first, second)
assert second.cpu_seconds >= first.cpu_seconds
assert Meter().read().peak_bytes < second.peak_bytes - 48 * MIB
"""


def test_usage_is_that_of_its_time_alone() -> None:
    # In a process of its own: the system takes memory back from this one, which is large, at any time.
    done = subprocess.run([sys.executable, "-c", USAGE], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("this system does not let the peak begin anew")
    assert done.returncode == 0, done.stderr
