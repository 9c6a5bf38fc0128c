"""An address that belongs to one bucket or region accepts no other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import cosxfer
from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from tests.unit.files import write

A, B = "a-1250000000", "b-1250000000"
COS = "myqcloud.com"


class Recorder:
    """Accepts any upload and records its address."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.sent.append(request.endpoint.authority + request.target)
        return HttpResponse(status=200, headers={"etag": '"e"', "content-length": "0"})

    async def aclose(self) -> None: ...


def client(endpoint: str, recorder: Recorder, **settings: object) -> cosxfer.AsyncClient:
    return cosxfer.AsyncClient(endpoint=endpoint, transport=recorder, secret_id="i", secret_key="k", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "host"),
    [
        (f"https://cos.ap-guangzhou.{COS}", f"{A}.cos.ap-guangzhou.{COS}"),
        (f"cos.ap-guangzhou.{COS}", f"{A}.cos.ap-guangzhou.{COS}"),
        (f"https://cos.ap-guangzhou.{COS}/", f"{A}.cos.ap-guangzhou.{COS}"),
        ("HTTPS://COS.AP-Guangzhou.MyQCloud.com:443/", f"{A}.cos.ap-guangzhou.{COS}"),
        (f"https://cos.{{region}}.{COS}", f"{A}.cos.ap-guangzhou.{COS}"),
        ("https://cos.ap-guangzhou.tencentcos.cn", f"{A}.cos.ap-guangzhou.tencentcos.cn"),
        ("https://cos-internal.ap-guangzhou.tencentcos.cn", f"{A}.cos-internal.ap-guangzhou.tencentcos.cn"),
        (f"https://cos.accelerate.{COS}", f"{A}.cos.accelerate.{COS}"),
        ("https://cos-internal.accelerate.tencentcos.cn", f"{A}.cos-internal.accelerate.tencentcos.cn"),
    ],
)
def test_an_address_of_a_region_gets_the_bucket_in_front(template: str, host: str) -> None:
    assert resolve_endpoint(template, bucket=A, region="ap-guangzhou").host == host


@pytest.mark.parametrize(
    "template",
    [
        f"https://cos.{COS}",
        f"https://service.cos.{COS}",
        f"https://cos-website.ap-guangzhou.{COS}",
        f"https://cos.ap-guangzhou.{COS}/folder",
        f"https://{COS.upper()}.{COS}",
        "https://service.cos.tencentcos.cn",
    ],
)
def test_an_address_of_cos_that_can_name_no_bucket_is_refused_with_the_right_form(template: str) -> None:
    with pytest.raises(cosxfer.UsageError, match=r"names no bucket.*https://\{bucket\}\.cos\.\{region\}") as caught:
        client(template, Recorder())
    assert caught.value.name == "endpoint"


@pytest.mark.parametrize(
    "template",
    [
        f"https://{A}.cos.ap-guangzhou.{COS}",
        f"https://{A.upper()}.COS.ap-guangzhou.{COS}:8443/",
        f"https://{A}.cos-internal.ap-guangzhou.tencentcos.cn",
        f"https://{A}.cos.accelerate.{COS}",
        f"https://{A}.cos.{{region}}.{COS}",
        f"https://{A}.cos-website.ap-guangzhou.{COS}",
        f"https://{A}.cosgz.{COS}",
        f"https://{A}.example.com",
        f"http://{A}.localhost:9000",
        f"http://127.0.0.1:9000/{A}",
        f"https://files.example.com/behind/{A}/",
    ],
)
def test_an_address_of_one_bucket_is_bound_to_it_by_name(template: str) -> None:
    recorder = Recorder()

    async def main() -> None:
        async with client(template, recorder, region="ap-guangzhou") as cos:
            with pytest.raises(cosxfer.UsageError, match=f"the address of the bucket {A}") as caught:
                await cos.put_object(B, "k", b"x")
            assert caught.value.name == "bucket"
            assert not recorder.sent
            await cos.put_object(A, "k", b"x")

    asyncio.run(main())
    assert len(recorder.sent) == 1


ANY = ["https://files.example.com", "http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost:9000/base"]


@pytest.mark.parametrize("template", ANY)
def test_an_address_without_a_bucket_is_bound_to_the_first_one(template: str, tmp_path: Path) -> None:
    recorder, path = Recorder(), write(tmp_path / "f", 10)

    async def main() -> None:
        async with client(template, recorder, region="ap-guangzhou") as cos:
            await cos.put_object(A, "k", b"x")
            sent = len(recorder.sent)
            for call in (
                lambda: cos.put_object(B, "k", b"x"),
                lambda: cos.head_object(B, "k"),
                lambda: cos.get_object(B, "k"),
                lambda: cos.append_object(B, "k", b"x", position=0),
                lambda: cos.post_object(B, "k", b"x", filename="f"),
                lambda: cos.presign_post(B, "k"),
                lambda: cos.multipart_init(B, "k"),
                lambda: cos.multipart_abort(B, "k", upload_id="u"),
                lambda: cos.multipart_list(B),
                lambda: cos.upload_file(B, "k", path),
                lambda: cos.slice_upload_file(B, "k", path),
            ):
                with pytest.raises(cosxfer.UsageError, match=rf"has no \{{bucket\}}.*for {A}, not {B}"):
                    await call()  # type: ignore[no-untyped-call]
            [result] = await cos.upload_files([{"bucket": B, "key": "k", "path": path}])
            assert isinstance(result.error, cosxfer.UsageError)
            assert len(recorder.sent) == sent

    asyncio.run(main())


@pytest.mark.parametrize("template", ANY)
def test_a_call_that_sends_nothing_binds_nothing(template: str, tmp_path: Path) -> None:
    recorder, missing = Recorder(), tmp_path / "missing"

    async def main() -> None:
        async with client(template, recorder, region="ap-guangzhou") as cos:
            for call in (
                lambda: cos.put_object(B, "k", 5),  # type: ignore[arg-type]
                lambda: cos.put_object(B, "k", missing, region="ap-beijing"),
                lambda: cos.post_object(B, "k", 5),  # type: ignore[arg-type]
                lambda: cos.append_object(B, "k", 5, position=0),  # type: ignore[arg-type]
                lambda: cos.multipart_upload(B, "k", 5, upload_id="u", part_number=1),  # type: ignore[arg-type]
                lambda: cos.presign_post(B, "k", expires_seconds=0),
                lambda: cos.upload_file(B, "k", missing),
                lambda: cos.slice_upload_file(B, "k", missing),
            ):
                with pytest.raises(cosxfer.CosxferError):
                    await call()  # type: ignore[no-untyped-call]
            [result] = await cos.upload_files([{"bucket": B, "key": "k", "path": missing}])
            assert isinstance(result.error, cosxfer.SourceError)
            assert not recorder.sent
            await cos.put_object(A, "k", b"x")

    asyncio.run(main())
    assert len(recorder.sent) == 1


def test_a_refused_secret_and_a_form_bind_as_they_are_used() -> None:
    recorder = Recorder()

    async def main() -> None:
        async with client("http://files.example.com", recorder) as cos:
            with pytest.raises(cosxfer.UsageError, match="unencrypted"):
                await cos.put_object(B, "k", b"x", sse_customer_algorithm="AES256", sse_customer_key="0" * 32)
            await cos.presign_post(A, "k")
            with pytest.raises(cosxfer.UsageError, match="another client"):
                await cos.put_object(B, "k", b"x")

    asyncio.run(main())
    assert not recorder.sent


def test_a_blocking_client_is_bound_too() -> None:
    recorder = Recorder()
    with cosxfer.Client(endpoint=ANY[0], transport=recorder, secret_id="i", secret_key="k") as cos:
        cos.put_object(A, "k", b"x")
        with pytest.raises(cosxfer.UsageError, match="another client"):
            cos.put_object(B, "k", b"x")
        with pytest.raises(cosxfer.UsageError, match="another client"):
            cos.presign_post(B, "k")
    assert len(recorder.sent) == 1


def test_a_template_with_both_placeholders_accepts_any_bucket_and_region() -> None:
    recorder = Recorder()

    async def main() -> None:
        async with client(f"https://{{bucket}}.cos.{{region}}.{COS}", recorder, region="ap-guangzhou") as cos:
            for bucket in (A, B):
                for region in (None, "ap-shanghai"):
                    await cos.put_object(bucket, "k", b"x", region=region)

    asyncio.run(main())
    assert len(set(recorder.sent)) == 4


IN_GUANGZHOU = [
    f"https://cos.ap-guangzhou.{COS}",
    f"https://{A}.cos.ap-guangzhou.{COS}",
    f"https://{{bucket}}.cos.ap-guangzhou.{COS}",
    "https://{bucket}.cos-internal.ap-guangzhou.tencentcos.cn",
]


@pytest.mark.parametrize("template", IN_GUANGZHOU)
def test_a_region_other_than_that_of_the_address_is_refused(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(cosxfer.UsageError, match="in the region ap-guangzhou, but the region is ap-shanghai"):
        client(template, Recorder(), region="ap-shanghai")
    # COS_REGION is only for addresses that need a region.
    monkeypatch.setenv("COS_REGION", "ap-shanghai")
    recorder = Recorder()

    async def main() -> None:
        async with client(template, recorder) as cos:
            await cos.put_object(A, "k", b"x", region="ap-guangzhou")
            with pytest.raises(cosxfer.UsageError, match="the region is ap-beijing") as caught:
                await cos.put_object(A, "k", b"x", region="ap-beijing")
            assert caught.value.name == "region"

    asyncio.run(main())
    assert len(recorder.sent) == 1


def test_the_global_address_accepts_any_region() -> None:
    recorder = Recorder()

    async def main() -> None:
        async with client(f"https://{{bucket}}.cos.accelerate.{COS}", recorder, region="ap-shanghai") as cos:
            await cos.put_object(A, "k", b"x")
            await cos.put_object(B, "k", b"x", region="ap-guangzhou")

    asyncio.run(main())
    assert len(recorder.sent) == 2


def test_a_custom_domain_is_bound_to_its_first_region() -> None:
    recorder = Recorder()

    async def main() -> None:
        async with client("https://{bucket}.files.example.com", recorder, region="ap-guangzhou") as cos:
            await cos.put_object(A, "k", b"x")
            with pytest.raises(cosxfer.UsageError, match=r"has no \{region\}"):
                await cos.put_object(A, "k", b"x", region="ap-shanghai")
        async with client("http://127.0.0.1:9000/{bucket}", recorder, region="ap-guangzhou") as cos:
            await cos.put_object(A, "k", b"x")
            await cos.put_object(A, "k", b"x", region="ap-shanghai")

    asyncio.run(main())
    assert len(recorder.sent) == 3


def test_the_endpoint_of_the_environment_is_repaired_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COS_ENDPOINT", f"https://cos.ap-guangzhou.{COS}")
    recorder = Recorder()

    async def main() -> None:
        async with cosxfer.AsyncClient(transport=recorder, anonymous=True) as cos:
            await cos.put_object(A, "k", b"x")
            await cos.put_object(B, "k", b"x")
            assert cos.config.endpoint == f"https://{{bucket}}.cos.ap-guangzhou.{COS}"

    asyncio.run(main())
    assert recorder.sent == [f"{A}.cos.ap-guangzhou.{COS}/k", f"{B}.cos.ap-guangzhou.{COS}/k"]
