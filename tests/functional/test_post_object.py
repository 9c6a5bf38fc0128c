"""POST Object: forms that cosxfer signs, another client sends, and the embedded server checks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import cosxfer
from cosxfer.server import RunningServer, running

TEMPORARY = cosxfer.Credentials(secret_id="AKIDtemporary", secret_key="short-lived", token="the token")
FILE = {"file": ("ä b+c.png", b"picture")}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running(more_credentials=[TEMPORARY]) as server:
        yield server


@pytest.fixture(scope="module", params=["permanent", "temporary"])
def client(server: RunningServer, request: pytest.FixtureRequest) -> Iterator[cosxfer.Client]:
    keys = server.credentials if request.param == "permanent" else TEMPORARY
    with cosxfer.Client(endpoint=server.endpoint, credentials=keys) as client:
        yield client


def send(form: cosxfer.PresignedPost, files: Any = FILE, **changed: str | None) -> httpx.Response:
    """Send the form with another HTTP client, with some fields changed or omitted."""
    fields = {**form.fields, **{name.replace("__", "-"): value for name, value in changed.items()}}
    return httpx.post(form.url, data={n: v for n, v in fields.items() if v is not None}, files=files)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.text.partition("<Code>")[2].partition("</Code>")[0]


def test_a_redirect_that_the_policy_does_not_pin_is_refused(server: RunningServer, client: cosxfer.Client) -> None:
    form = client.presign_post(server.bucket, "unpinned")
    response = send(form, success_action_redirect="https://elsewhere.example/")
    assert code(response) == (403, "AccessDenied")
    with pytest.raises(cosxfer.NotFoundError):
        client.head_object(server.bucket, "unpinned")


def test_a_requested_redirect_is_always_pinned(server: RunningServer, client: cosxfer.Client) -> None:
    page = "https://my.website/done"
    form = client.presign_post(server.bucket, "pinned", success_action_redirect=page)
    assert send(form).status_code == 303
    assert code(send(form, success_action_redirect="https://elsewhere.example/"))[0] == 403


@pytest.mark.parametrize("status", [None, 200, 201, 204])
def test_a_form_stores_the_file(client: cosxfer.Client, server: RunningServer, status: int | None) -> None:
    form = client.presign_post(
        server.bucket,
        "in/${filename}",
        success_action_status=status,
        content_type="image/png",
        cache_control="no-store",
        metadata={"who": "Zoë"},
        storage_class="STANDARD_IA",
        acl="private",
    )
    response = send(form)
    assert response.status_code == (status or 204), response.text
    got = client.get_object(server.bucket, "in/ä b+c.png")
    assert got.body == b"picture"
    assert (got.content_type, got.headers["cache-control"], got.metadata) == ("image/png", "no-store", {"who": "Zoë"})
    assert (got.storage_class, got.etag) == ("STANDARD_IA", response.headers["etag"])
    assert response.headers["location"].endswith("/in/%C3%A4%20b%2Bc.png")
    assert ("<Key>in/ä b+c.png</Key>" in response.text) == (status == 201)


@pytest.mark.parametrize("status", [None, 200, 201, 204])
def test_post_object_returns_its_result(client: cosxfer.Client, server: RunningServer, status: int | None) -> None:
    seen: list[cosxfer.Progress] = []
    result = client.post_object(
        server.bucket, "${filename}", b"abc", filename='q"uote', success_action_status=status, on_progress=seen.append
    )
    assert (result.status_code, result.key, result.bucket) == (status or 204, 'q"uote', server.bucket)
    got = client.get_object(server.bucket, 'q"uote')
    assert (got.body, got.etag, got.crc64) == (b"abc", result.etag, result.crc64)
    assert (seen[0].loaded, seen[-1].loaded, seen[-1].total) == (0, 3, 3)


def test_the_file_name_is_taken_from_the_body(client: cosxfer.Client, server: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"picture")
    with path.open("rb") as file:
        for body in (path, file):
            assert client.post_object(server.bucket, "of/${filename}", body).key == "of/photo.jpg"
    with path.open("rb") as file:
        assert client.post_object(server.bucket, "of/${filename}", file, filename="a.jpg").key == "of/a.jpg"
    descriptor = os.open(path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as by_number:
        for nameless in (b"picture", by_number):
            with pytest.raises(cosxfer.UsageError, match=r"needs the name of the file.*pass filename=") as caught:
                client.post_object(server.bucket, "of/${filename}", nameless)
            assert caught.value.name == "filename"


def test_browsers_follow_a_redirect_and_we_return_it(client: cosxfer.Client, server: RunningServer) -> None:
    result = client.post_object(server.bucket, "a&b", b"", success_action_redirect="https://my.website/done?x=1")
    assert result.status_code == 303
    assert result.location == (
        f"https://my.website/done?x=1&bucket={server.bucket}&key=a%26b&etag=%22d41d8cd98f00b204e9800998ecf8427e%22"
    )


@pytest.mark.parametrize("redirect", ["javascript:alert(1)", "file:///etc/passwd", "//x"])
def test_a_redirect_that_is_not_a_web_page_is_refused(
    client: cosxfer.Client, server: RunningServer, redirect: str
) -> None:
    with pytest.raises(cosxfer.ServerError, match="InvalidArgument"):
        client.post_object(server.bucket, "k", b"", success_action_redirect=redirect)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"key": "elsewhere/a"}, (403, "AccessDenied")),
        ({"Content__Type": "text/html"}, (403, "AccessDenied")),
        ({"Content__Type": None}, (403, "AccessDenied")),
        ({"x-cos-meta-a": "2"}, (403, "AccessDenied")),
        ({"q__signature": "0" * 40}, (403, "SignatureDoesNotMatch")),
        ({"policy": "e30="}, (400, "InvalidPolicyDocument")),
        ({"policy": "!"}, (400, "InvalidPolicyDocument")),
        ({"q__ak": "AKIDnobody"}, (403, "InvalidAccessKeyId")),
        ({"q__key__time": "1;2"}, (403, "SignatureDoesNotMatch")),
        ({"q__signature": None}, (403, "AccessDenied")),
        ({"policy": None, "q__signature": None, "q__ak": None, "q__key__time": None}, (403, "AccessDenied")),
        ({"x__cos__security__token": "another"}, (403, "AccessDenied")),
        ({"Content__MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, (400, "BadDigest")),
        ({"success_action_status": "500"}, (400, "InvalidArgument")),
        ({"x__cos__storage__class": "GOLD"}, (400, "NotSupportedStorageClass")),
        ({"key": "in/" + "x" * 850}, (400, "KeyTooLong")),
    ],
)
def test_a_form_that_was_changed_is_refused(
    client: cosxfer.Client, server: RunningServer, changed: dict[str, str | None], expected: tuple[int, str]
) -> None:
    form = client.presign_post(server.bucket, "in/${filename}", content_type="image/png", metadata={"a": "1"})
    response = send(form, **changed)
    if changed.get("q__key__time"):
        # A changed date is two errors: the policy contains the date too.
        assert response.status_code == 403
    else:
        assert code(response) == expected
    with pytest.raises(cosxfer.NotFoundError):
        client.head_object(server.bucket, "elsewhere/a")


def test_a_form_for_any_file_pins_the_content_type_that_was_given_and_guesses_none(client: cosxfer.Client) -> None:
    def pinned(**given: Any) -> str | None:
        return client.presign_post("examplebucket-1250000000", "in/${filename}", **given).fields.get("Content-Type")

    assert pinned(content_type="image/png") == "image/png"
    assert pinned(headers={"Content-Type": "image/png"}) == "image/png"
    assert pinned() is None
    assert pinned(content_type=None) is None


def test_conditions_loosen_what_is_pinned(client: cosxfer.Client, server: RunningServer) -> None:
    form = client.presign_post(
        server.bucket,
        "in/${filename}",
        content_type="image/png",
        conditions=[["starts-with", "$Content-Type", "image/"], ["content-length-range", 1, 7]],
    )
    assert send(form, Content__Type="image/gif").status_code == 204
    assert code(send(form, Content__Type="text/html")) == (403, "AccessDenied")
    assert code(send(form, {"file": ("a", b"12345678")})) == (400, "EntityTooLarge")
    assert code(send(form, {"file": ("a", b"")})) == (400, "EntityTooSmall")


def test_a_form_expires(server: RunningServer) -> None:
    with (
        running(clock_offset_seconds=120) as later,
        cosxfer.Client(endpoint=later.endpoint, credentials=later.credentials) as client,
    ):
        assert code(send(client.presign_post(later.bucket, "k", expires_seconds=60))) == (403, "AccessDenied")
        assert send(client.presign_post(later.bucket, "k", expires_seconds=600)).status_code == 204


def test_a_form_does_not_outlive_its_temporary_key() -> None:
    ends = time.time() + 100
    keys = cosxfer.Credentials(secret_id="a", secret_key="b", token="c", expires_at=ends)
    with cosxfer.Client(region="ap-guangzhou", endpoint=None, credentials=keys) as client:
        form = client.presign_post("examplebucket-1250000000", "k", expires_seconds=3600)
    assert form.expires_at == int(ends)
    assert form.url == "https://examplebucket-1250000000.cos.ap-guangzhou.myqcloud.com/"
    assert form.fields["x-cos-security-token"] == "c"
    assert "c" not in repr(form).replace("examplebucket", "").replace("cos.ap", "").partition("url=")[0]
    assert form.fields["q-signature"] not in repr(form)


def test_invalid_arguments_are_refused_before_anything_is_sent(client: cosxfer.Client, server: RunningServer) -> None:
    for wrong in (
        {"expires_seconds": 0},
        {"success_action_status": 202},
        {"conditions": [["content-length-range", 2, 1]]},
        {"success_action_redirect": "https://a\r\nb"},
        {"traffic_limit": 1},
    ):
        with pytest.raises(cosxfer.UsageError):
            client.presign_post(server.bucket, "k", **wrong)  # type: ignore[arg-type]


def test_without_keys_no_form_is_signed_but_an_open_bucket_accepts_one() -> None:
    with (
        running(allow_anonymous=True) as server,
        cosxfer.Client(endpoint=server.endpoint, anonymous=True) as client,
    ):
        with pytest.raises(cosxfer.CredentialsError):
            client.presign_post(server.bucket, "k")
        client.post_object(server.bucket, "k", b"open")
        assert client.get_object(server.bucket, "k").body == b"open"
        # An open bucket must not let any web page write, so every origin is refused.
        response = httpx.get(f"{server.url}/{server.bucket}/k", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in response.headers


def test_a_page_of_another_origin_may_send_a_preflight_request(client: cosxfer.Client, server: RunningServer) -> None:
    asked = {
        "origin": "null",
        "access-control-request-method": "PUT",
        "access-control-request-headers": "authorization,x-cos-meta-a",
        "access-control-request-private-network": "true",
    }
    response = httpx.options(f"{server.url}/{server.bucket}/k", headers=asked)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["access-control-allow-headers"] == "authorization,x-cos-meta-a"
    assert response.headers["access-control-allow-private-network"] == "true"
    refused = httpx.put(f"{server.url}/{server.bucket}/k", headers={"origin": "null"}, content=b"")
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (403, "*")
    assert "access-control-allow-origin" not in httpx.put(f"{server.url}/{server.bucket}/k").headers


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("multipart/form-data", b"x", "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=b", b"--b\r\n", "MalformedPOSTRequest"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx',
            "InvalidArgument",
        ),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n" * 2 + b"--b",
            "InvalidArgument",
        ),
    ],
)
def test_invalid_arguments_of_form_are_reported(
    server: RunningServer, content_type: str, body: bytes, expected: str
) -> None:
    response = httpx.post(f"{server.url}/{server.bucket}/", content=body, headers={"content-type": content_type})
    assert code(response) == (400, expected)


def test_a_field_after_the_file_does_not_count(client: cosxfer.Client, server: RunningServer) -> None:
    form = client.presign_post(server.bucket, "late", conditions=[{"x-cos-meta-a": "1"}])
    response = httpx.post(
        form.url,
        files=[*((name, (None, value)) for name, value in form.fields.items()), ("file", b"x"), ("x-cos-meta-a", b"1")],
    )
    assert code(response)[0] == 403
