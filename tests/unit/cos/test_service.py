"""The address of the service, and the header that names the source of a copy."""

from __future__ import annotations

import pytest

from cosxfer.address import ObjectAddress
from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.cos.service import copy_source, service_endpoint
from cosxfer.errors import UsageError

BUCKET = "examplebucket-1250000000"


@pytest.mark.parametrize(
    ("template", "authority", "path"),
    [
        ("https://{bucket}.cos.{region}.myqcloud.com", "service.cos.myqcloud.com", "/"),
        ("https://cos.ap-beijing.myqcloud.com", "service.cos.myqcloud.com", "/"),
        ("http://{bucket}.cos-internal.{region}.tencentcos.cn:8080", "service.cos.tencentcos.cn:8080", "/"),
        ("http://127.0.0.1:9000/{bucket}", "127.0.0.1:9000", "/"),
        ("http://[::1]:9000/base/{bucket}", "[::1]:9000", "/base/"),
        ("https://{bucket}.s3.example.com", "s3.example.com", "/"),
    ],
)
def test_the_service_is_the_endpoint_without_the_bucket(template: str, authority: str, path: str) -> None:
    endpoint = service_endpoint(template, region=None)
    assert (endpoint.authority, endpoint.path("")) == (authority, path)


@pytest.mark.parametrize("template", [f"https://{BUCKET}.cos.ap-beijing.myqcloud.com", "https://files.example.com"])
def test_the_address_of_one_bucket_has_no_service(template: str) -> None:
    with pytest.raises(UsageError, match="reaches one bucket"):
        service_endpoint(template, region=None)


def source(
    key: str,
    *,
    template: str = "https://{bucket}.cos.{region}.myqcloud.com",
    region: str | None = "ap-beijing",
    version_id: str | None = None,
    own: str | None = None,
) -> str:
    address = ObjectAddress(BUCKET, key, own)
    endpoint = resolve_endpoint(template, bucket=BUCKET, region=own or region)
    return copy_source(address, version_id=version_id, endpoint=endpoint, region=region)


@pytest.mark.parametrize(
    ("key", "encoded"),
    [
        ("a/b", "a/b"),
        ("a+b c%20?d#é", "a%2Bb%20c%2520%3Fd%23%C3%A9"),
        ("k?versionId=x", "k%3FversionId%3Dx"),
        ("/lead//x", "/lead//x"),
        ("\x01\r\n", "%01%0D%0A"),
    ],
)
def test_the_key_of_a_source_is_encoded_exactly_once(key: str, encoded: str) -> None:
    assert source(key) == f"{BUCKET}.cos.ap-beijing.myqcloud.com/{encoded}"


def test_the_version_of_a_source_is_apart_from_its_key() -> None:
    assert source("k?", version_id="MTg0/+").endswith("/k%3F?versionId=MTg0%2F%2B")


@pytest.mark.parametrize(
    ("template", "region", "own", "host"),
    [
        ("https://{bucket}.cos.{region}.myqcloud.com", "ap-beijing", "ap-shanghai", "cos.ap-shanghai.myqcloud.com"),
        ("https://{bucket}.cos-internal.{region}.tencentcos.cn", "ap-x", None, "cos.ap-x.tencentcos.cn"),
        ("https://{bucket}.cos.accelerate.myqcloud.com", "ap-beijing", None, "cos.ap-beijing.myqcloud.com"),
        ("http://127.0.0.1:9000/{bucket}", "ap-beijing", None, "cos.ap-beijing.myqcloud.com"),
    ],
)
def test_a_source_has_the_host_of_its_region(template: str, region: str, own: str | None, host: str) -> None:
    assert source("k", template=template, region=region, own=own) == f"{BUCKET}.{host}/k"


@pytest.mark.parametrize("template", ["http://127.0.0.1:9000/{bucket}", "https://{bucket}.cos.accelerate.myqcloud.com"])
def test_a_source_of_an_unknown_region_is_refused(template: str) -> None:
    with pytest.raises(UsageError, match="the region of the copy source is not known"):
        source("k", template=template, region=None)
