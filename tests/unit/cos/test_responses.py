"""A response becomes a record or an error, by its status, then its code, then its body."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cosxfer
from cosxfer.cos import codes, responses
from cosxfer.cos.responses import HttpResponse, error_of
from tests.unit.fake_cos import error


def reply(**headers: str) -> HttpResponse:
    return HttpResponse(status=200, headers={n.replace("_", "-"): v for n, v in headers.items()})


@pytest.mark.parametrize("code", sorted(codes.CODES))
def test_every_known_code_is_an_error_of_the_right_kind(code: str) -> None:
    usual = codes.CODES[code]
    made = error_of(error(usual.status, code), operation="a test")
    assert made is not None
    assert made.code == code
    assert made.status == usual.status
    assert made.retryable is usual.retryable
    assert isinstance(made, cosxfer.AccessDeniedError) is (usual.status == 403)
    assert isinstance(made, cosxfer.NotFoundError) is (usual.status == 404)
    assert isinstance(made, cosxfer.ThrottledError) is (usual.status == 503)


@pytest.mark.parametrize("code", sorted(codes.CODES))
def test_inside_a_200_the_code_decides(code: str) -> None:
    inside = error_of(error(200, code), operation="a test")
    usual = error_of(error(codes.CODES[code].status, code), operation="a test")
    assert inside is not None
    assert type(inside) is type(usual)
    assert inside.retryable is codes.CODES[code].retryable
    assert inside.status == 200


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        (301, False),
        (400, False),
        (404, False),
        (408, True),
        (429, True),
        (500, True),
        (501, False),
        (502, True),
        (503, True),
    ],
)
def test_an_unknown_error_is_judged_by_its_status(status: int, retryable: bool) -> None:
    made = error_of(HttpResponse(status=status, headers={"x-cos-request-id": "id"}), operation="a test")
    assert made is not None
    assert made.retryable is retryable
    assert str(status) in str(made)


@pytest.mark.parametrize(
    ("response", "retryable"),
    [
        (HttpResponse(status=400, headers={}), True),
        (HttpResponse(status=400, headers={"x-cos-request-id": "id"}), False),  # HEAD, for example
        (HttpResponse(status=400, headers={}, body=b"<html>plain HTTP was sent to an HTTPS port</html>"), False),
        (HttpResponse(status=403, headers={}), False),
    ],
    ids=["empty 400", "400 with an id", "400 with a page", "403"],
)
def test_a_400_from_below_cos_means_that_the_request_was_damaged(response: HttpResponse, retryable: bool) -> None:
    made = error_of(response, operation="a test")
    assert made is not None
    assert made.retryable is retryable


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirect_error_shows_the_target_without_its_query(status: int) -> None:
    headers = {"location": "https://other.cos.ap-beijing.myqcloud.com/k?q-signature=abc"}
    made = error_of(HttpResponse(status=status, headers=headers), operation="a test")
    assert made is not None
    assert "(a redirect to 'https://other.cos.ap-beijing.myqcloud.com/k'; check the endpoint and the region)" in str(
        made
    )
    assert "q-signature" not in str(made)


def test_a_redirect_without_a_target_is_reported_without_one() -> None:
    for response in (
        HttpResponse(status=301, headers={}),
        HttpResponse(status=400, headers={"location": "https://example.com"}),
    ):
        assert "a redirect to" not in str(error_of(response, operation="a test"))


def test_a_success_is_no_error() -> None:
    assert error_of(reply(), operation="a test") is None
    assert error_of(HttpResponse(status=204, headers={}, body=b""), operation="a test") is None
    body = b"<ListPartsResult><Part><ETag>&lt;Error&gt;</ETag></Part></ListPartsResult>"
    assert error_of(HttpResponse(status=200, headers={}, body=body), operation="a test") is None


@given(st.integers(200, 599), st.binary(max_size=100))
def test_no_body_breaks_the_reading_of_an_error(status: int, body: bytes) -> None:
    made = error_of(HttpResponse(status=status, headers={}, body=body), operation="a test")
    if made is not None:
        assert "a test" in str(made)
        assert str(made).isprintable()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("7", 7.0), ("", None), ("-1", None), ("1.5", None), ("soon", None), ("9" * 9, None)],
)
def test_retry_after_is_read_in_seconds(value: str, seconds: float | None) -> None:
    made = error_of(error(503, "SlowDown", headers={"retry-after": value}), operation="a test")
    assert isinstance(made, cosxfer.ThrottledError)
    assert made.retry_after_seconds == seconds


@pytest.mark.parametrize("value", ["0", "18446744073709551615"])
def test_a_crc64_is_an_unsigned_64_bit_number(value: str) -> None:
    assert responses.crc64(reply(x_cos_hash_crc64ecma=value), operation="a test") == int(value)


@pytest.mark.parametrize("value", ["-1", "18446744073709551616", "x", "1e3", "0x1", "\u0663", "1" * 200])
def test_another_crc64_is_a_protocol_error(value: str) -> None:
    with pytest.raises(cosxfer.ProtocolError, match="x-cos-hash-crc64ecma"):
        responses.crc64(reply(x_cos_hash_crc64ecma=value), operation="a test")


@given(st.text(max_size=30))
def test_any_date_is_a_time_or_none(date: str) -> None:
    seconds = responses.server_time(reply(date=date))
    assert seconds is None or isinstance(seconds, float)


def test_the_servers_time_is_read_as_unix_seconds() -> None:
    assert responses.server_time(reply(date="Tue, 14 Nov 2023 22:13:20 GMT")) == 1_700_000_000
    assert responses.server_time(reply()) is None


@pytest.mark.parametrize("text", ["", "9" * 20, "9" * 5000, "٣", "²", "-1", "+1", "1_0", "1 ", "0x10"])
def test_a_malformed_content_length_is_a_protocol_error(text: str) -> None:
    with pytest.raises(cosxfer.ProtocolError):
        responses.size(reply(content_length=text), operation="a test")


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 01 Jan 99999999999 00:00:00 GMT",
        f"Mon, {'9' * 30} Jan 2020 00:00:00 GMT",
        f"Mon, 01 Jan 2020 00:00:00 +{'9' * 30}",
        f"Mon, 01 Jan 2020 {'9' * 5000}:00:00 GMT",
    ],
)
def test_a_date_out_of_range_is_no_date(date: str) -> None:
    assert responses.server_time(reply(date=date)) is None


@pytest.mark.parametrize(
    "date",
    [
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Mon, 01 Jan 1900 00:00:00 +2359",
        "Mon, 01 Jan 1900 00:00:00 -0000",
        "Thu, 01 Jan 1970 00:00:00 GMT",
    ],
)
def test_a_time_that_no_clock_shows_is_none(date: str) -> None:
    assert responses.server_time(reply(date=date)) is None
