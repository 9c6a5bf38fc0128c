"""A template gives an address, or an error that says what is wrong with it."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.config import DEFAULT_ENDPOINT
from cosxfer.cos.endpoint import Endpoint, check_confidential, resolve_endpoint
from cosxfer.errors import UsageError

BUCKET, REGION = "b-1250000000", "ap-guangzhou"


def resolve(template: str, region: str | None = REGION) -> Endpoint:
    return resolve_endpoint(template, bucket=BUCKET, region=region)


@pytest.mark.parametrize(
    ("template", "scheme", "authority", "port", "path"),
    [
        (DEFAULT_ENDPOINT, "https", f"{BUCKET}.cos.{REGION}.myqcloud.com", 443, "/k"),
        ("http://localhost:9000/{bucket}", "http", "localhost:9000", 9000, f"/{BUCKET}/k"),
        (f"https://cos.{REGION}.myqcloud.com/{{bucket}}", "https", f"cos.{REGION}.myqcloud.com", 443, f"/{BUCKET}/k"),
        ("http://localhost:9000/base/{bucket}/", "http", "localhost:9000", 9000, f"/base/{BUCKET}/k"),
        ("localhost:9000", "https", "localhost:9000", 9000, "/k"),
        ("http://cdn.example.com:80/", "http", "cdn.example.com", 80, "/k"),
        ("https://cdn.example.com:443", "https", "cdn.example.com", 443, "/k"),
        ("HTTPS://CDN.example.com", "https", "cdn.example.com", 443, "/k"),
        ("http://[::1]:9000", "http", "[::1]:9000", 9000, "/k"),
        (
            "  https://{bucket}.cos.accelerate.myqcloud.com ",
            "https",
            f"{BUCKET}.cos.accelerate.myqcloud.com",
            443,
            "/k",
        ),
    ],
)
def test_a_template_becomes_an_address(template: str, scheme: str, authority: str, port: int, path: str) -> None:
    endpoint = resolve(template)
    assert (endpoint.scheme, endpoint.authority, endpoint.port) == (scheme, authority, port)
    assert endpoint.path("k") == path
    assert endpoint.location("k") == authority + path


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("https://{Bucket}.example.com", "{Bucket} is not a placeholder"),
        ("https://{appid}.example.com", "{appid} is not a placeholder"),
        ("https://{}.example.com", "{} is not a placeholder"),
        ("https://{{bucket}}.example.com", "is not a host name"),
        ("https://{bucket.example.com", "is not a host name"),
        ("ftp://example.com", "http or https"),
        ("https://", "'' is not a host name"),
        ("", "'' is not a host name"),
        ("https://exa mple.com", "is not a host name"),
        ("https://example.com:0", "port 0"),
        ("https://example.com:99999", "Port out of range"),
        ("https://example.com:x", "Port"),
        ("https://me@example.com", "are allowed"),
        ("https://example.com?a=b", "are allowed"),
        ("https://example.com#a", "are allowed"),
        ("https:/cos.ap-guangzhou.myqcloud.com", "two slashes"),
        ("HTTP:example.com", "two slashes"),
        ("https://{bucket}.cos.ap-\tguangzhou.myqcloud.com", "a tab or a line break"),
        ("https://exam\nple.com", "a tab or a line break"),
        ("http://127.0.0.1:9000/a/../{bucket}", "a segment"),
        ("http://127.0.0.1:9000/./{bucket}", "a segment"),
        ("http://127.0.0.1:9000/a//{bucket}", "a segment"),
        ("https://{bucket}.cos.ap-guangzhou.myqcloud.com/prefix", "part of the key"),
        ("https://{bucket}.cos.{region}.myqcloud.com/{bucket}", "part of the key"),
        (f"https://{BUCKET}.cos.ap-guangzhou.myqcloud.com/{{bucket}}/", "part of the key"),
        ("https://{bucket}.cos.accelerate.tencentcos.cn/a/b", "part of the key"),
        ("https://cos.ap-guangzhou.myqcloud.com/{bucket}/prefix", "part of the key"),
        ("https://cos.ap-guangzhou.myqcloud.com/prefix/{bucket}", "part of the key"),
        ("https://example.com/a b", "the path may contain only"),
        ("https://[::1", "Invalid IPv6"),
        ("https://münchen.example", "is not a host name"),
    ],
)
def test_a_template_that_is_no_address_is_refused_with_an_example(template: str, told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)) as caught:
        resolve(template)
    assert caught.value.name == "endpoint"
    assert "https://{bucket}.cos.{region}.myqcloud.com" in str(caught.value)


def test_a_region_is_required_only_if_the_template_has_one() -> None:
    assert resolve("https://{bucket}.example.com", region=None).host == f"{BUCKET}.example.com"
    with pytest.raises(UsageError, match="COS_REGION") as caught:
        resolve(DEFAULT_ENDPOINT, region=None)
    assert caught.value.name == "region"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_is_an_address_or_a_usage_error(template: str) -> None:
    try:
        endpoint = resolve(template)
    except UsageError:
        return
    assert endpoint.scheme in ("http", "https")
    assert re.fullmatch(r"[A-Za-z\d._:-]+", endpoint.host)
    assert 0 < endpoint.port < 65_536
    assert re.fullmatch(r"[\x21-\x7e]+", endpoint.authority + endpoint.base_path)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_any_key_comes_back_from_its_location(key: str) -> None:
    location = resolve(DEFAULT_ENDPOINT).location(key)
    assert location.isascii()
    assert unquote(location.partition("/")[2]) == key


@pytest.mark.parametrize(
    "template",
    [
        "https://{bucket}.cos.{region}.myqcloud.com",
        "http://127.0.0.1:9000",
        "http://[::1]:9000",
        "http://{bucket}.localhost",
    ],
)
def test_a_secret_may_go_over_tls_and_within_the_machine(template: str) -> None:
    check_confidential(resolve(template))


@pytest.mark.parametrize(
    "template",
    ["http://{bucket}.cos.{region}.myqcloud.com", "http://10.0.0.1", "http://127.0.0.1.example.com", "http://[::2]"],
)
def test_a_secret_may_not_go_over_the_network_in_the_clear(template: str) -> None:
    with pytest.raises(UsageError, match="unencrypted"):
        check_confidential(resolve(template))
