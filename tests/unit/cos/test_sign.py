"""The COS signature: the published vectors, and that only our own signatures are accepted."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha1
from urllib.parse import parse_qsl, quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.cos import sign
from cosxfer.cos.requests import target
from cosxfer.credentials import Credentials
from cosxfer.errors import UsageError

# Keys of published examples; they are not live.
SDK_ID, SDK_KEY = "QmFzZTY0IGlzIGEgZ2VuZXJp", "AKIDZfbOA78asKUYBcXFrJD0a1ICvR98JM"
SDK_TIME = "1480932292;1481012292"
SDK_HEADERS = {
    "host": "testbucket-125000000.cos.ap-guangzhou.myqcloud.com",
    "x-cos-content-sha1": "db8ac1c259eb89d4a131b253bacfca5f319d54f2",
    "x-cos-stroage-class": "nearline",
}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_is_escaped_as_urllib_does(text: str) -> None:
    assert sign.escape(text) == quote(text, safe="-_.~")


def test_every_ascii_character_is_escaped_as_urllib_does() -> None:
    text = "".join(map(chr, range(128)))
    assert sign.escape(text) == quote(text, safe="-_.~")


def test_one_request_costs_two_digests_once_the_sign_key_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def authorization(path: str) -> str:
        return sign.authorization(
            Credentials(secret_id=SDK_ID, secret_key=SDK_KEY), method="PUT", path=path, params={},
            headers=SDK_HEADERS, key_time=SDK_TIME,
        )  # fmt: skip

    authorization("/warm")
    calls: list[str] = []
    keyed = sign._hmac
    monkeypatch.setattr(sign, "_hmac", lambda *given: calls.append("hmac") or keyed(*given))
    monkeypatch.setattr(sign, "sha1", lambda *given, **options: calls.append("sha1") or sha1(*given, **options))
    authorization("/object")
    assert calls == ["sha1", "hmac"]


@pytest.mark.parametrize("message", [b"", b"sha1\nmessage\n", bytes(1000)])
def test_the_keyed_states_make_an_hmac(message: bytes) -> None:
    key = sign.sign_key(SDK_KEY, SDK_TIME)
    for _ in range(2):
        assert sign._hmac(key, message) == hmac.new(key.encode(), message, "sha1").hexdigest()


def test_the_vector_of_the_go_sdk() -> None:
    assert sign.sign_key(SDK_KEY, SDK_TIME) == "95d110a8ead64cac52083100db75b7e3f369e72f"
    made = sign.authorization(
        Credentials(secret_id=SDK_ID, secret_key=SDK_KEY),
        method="PUT",
        path="/testfile2",
        params={},
        headers=SDK_HEADERS,
        key_time=SDK_TIME,
    )
    assert made == (
        f"q-sign-algorithm=sha1&q-ak={SDK_ID}&q-sign-time={SDK_TIME}&q-key-time={SDK_TIME}"
        "&q-header-list=host;x-cos-content-sha1;x-cos-stroage-class&q-url-param-list="
        "&q-signature=ce4ac0ecbcdb30538b3fee0a97cc6389694ce53a"
    )


def test_the_vector_of_the_post_policy_has_our_sign_key() -> None:
    # A POST policy is signed with the same sign key, over the policy's SHA-1 only.
    key = sign.sign_key("BQYIM75p8x0iWVFSIgqEKwFprpRSVHlz", "1567150692;1567157892")
    assert key == "39acc8c9f34ba5b19bce4e965b370cd3f62d2fba"
    to_sign = b"d5d903b8360468bc81c1311f134989bc8c8b5b89"
    assert hmac.new(key.encode(), to_sign, sha1).hexdigest() == "7758dc9a832e9d301dca704cacbf9d9f8172fdef"


def test_a_signature_over_parameters_is_as_the_document_says() -> None:
    # Built by hand: decoded path, sorted parameters, lower-case names after encoding, '/' and space encoded.
    made = sign.authorization(
        Credentials(secret_id="id", secret_key="key"),
        method="PUT",
        path="/a b/ü",
        params={"uploadId": "x/ y", "Acl": ""},
        headers={"host": "h", "Range": "bytes=0-1"},
        key_time="1;2",
    )
    http_string = "put\n/a b/ü\nacl=&uploadid=x%2F%20y\nhost=h\n"
    key = hmac.new(b"key", b"1;2", sha1).hexdigest()
    to_sign = f"sha1\n1;2\n{sha1(http_string.encode()).hexdigest()}\n"
    assert made.endswith(
        "&q-header-list=host&q-url-param-list=acl;uploadid&q-signature="
        + hmac.new(key.encode(), to_sign.encode(), sha1).hexdigest()
    )


KEYS = Credentials(secret_id="AKIDx", secret_key="secret")
TIME = "1700000000;1700000900"
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: sign.folded(name) not in sign.SIGNATURE_FIELDS
)
params_of = st.dictionaries(names, text, max_size=4).filter(
    lambda params: len({sign.escape(name).lower() for name in params}) == len(params)
)
headers_of = st.dictionaries(
    st.one_of(
        st.sampled_from(["content-type", "content-md5", "range", "expires"]),
        st.from_regex(r"x-cos-[a-z\d-]{1,8}", fullmatch=True),
    ),
    text,
    max_size=4,
).map(lambda headers: {**headers, "host": "b-1.cos.r.myqcloud.com"})
paths = text.map(lambda key: f"/{key}")
methods = st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"])


@given(method=methods, path=paths, params=params_of, headers=headers_of)
def test_what_is_signed_is_accepted_for_any_unicode(
    method: str, path: str, params: dict[str, str], headers: dict[str, str]
) -> None:
    value = sign.authorization(KEYS, method=method, path=path, params=params, headers=headers, key_time=TIME)
    parsed = sign.parse_authorization(value)
    assert parsed is not None
    assert parsed.secret_id == KEYS.secret_id
    assert parsed.window() == (1_700_000_000, 1_700_000_900)
    assert parsed.matches(secret_key="secret", method=method, path=path, params=params, headers=headers)
    # A proxy may add an unsigned header.
    also = {**headers, "user-agent": "x", "date": "now"}
    assert parsed.matches(secret_key="secret", method=method.lower(), path=path, params=params, headers=also)


@given(
    method=methods,
    path=paths,
    params=params_of,
    headers=headers_of,
    other=text,
    choice=st.integers(0, 7),
    data=st.data(),
)
def test_any_change_is_refused(
    method: str,
    path: str,
    params: dict[str, str],
    headers: dict[str, str],
    other: str,
    choice: int,
    data: st.DataObject,
) -> None:
    value = sign.authorization(KEYS, method=method, path=path, params=params, headers=headers, key_time=TIME)
    parsed = sign.parse_authorization(value)
    assert parsed is not None
    request = {"secret_key": "secret", "method": method, "path": path, "params": params, "headers": headers}
    if choice == 0:
        request["secret_key"] = "secreT"
    elif choice == 1:
        request["method"] = "PATCH"
    elif choice == 2:
        request["path"] = path + (other or "x")
    elif choice == 3 and params:
        name = data.draw(st.sampled_from(sorted(params)))
        request["params"] = {**params, name: params[name] + (other or "x")}
    elif choice == 4 and params:
        name = data.draw(st.sampled_from(sorted(params)))
        request["params"] = {n: v for n, v in params.items() if n != name}
    elif choice == 5:
        name = data.draw(st.sampled_from(sorted(headers)))
        request["headers"] = {**headers, name: headers[name] + (other or "x")}
    elif choice == 6:
        name = data.draw(st.sampled_from(sorted(headers)))
        request["headers"] = {n: v for n, v in headers.items() if n != name}
    else:
        parsed = replace(parsed, sign_time="1700000001;1700000900")
    assert not parsed.matches(**request)  # type: ignore[arg-type]


@given(path=paths, params=params_of, token=st.one_of(st.none(), st.just("tok;en&=")))
def test_a_presigned_url_is_accepted_after_its_way_through_a_query(
    path: str, params: dict[str, str], token: str | None
) -> None:
    keys = replace(KEYS, token=token)
    fields = sign.presigned_params(keys, method="GET", path=path, params=params, headers={"host": "h"}, key_time=TIME)
    query = target(path, fields).partition("?")[2]
    arrived = dict(parse_qsl(query, keep_blank_values=True))
    assert arrived == fields
    assert fields.get("x-cos-security-token") == token
    parsed = sign.parse_signature(arrived)
    assert parsed is not None
    assert parsed.matches(secret_key="secret", method="GET", path=path, params=arrived, headers={"host": "h"})
    assert not parsed.matches(secret_key="secret", method="PUT", path=path, params=arrived, headers={"host": "h"})


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer x",
        "AWS4-HMAC-SHA256 Credential=x",
        "q-sign-algorithm=md5&q-ak=a&q-sign-time=1;2&q-key-time=1;2&q-header-list=&q-url-param-list=&q-signature=x",
        "q-sign-algorithm=sha1&q-ak=a&q-sign-time=1;&q-key-time=1;2&q-header-list=&q-url-param-list=&q-signature=x",
        "q-sign-algorithm=sha1&q-ak=a&q-sign-time=-1;2&q-key-time=1;2&q-header-list=&q-url-param-list=&q-signature=x",
        "q-sign-algorithm=sha1&q-ak=a&q-sign-time=1;²&q-key-time=1;2&q-header-list=&q-url-param-list=&q-signature=x",
        "q-sign-algorithm=sha1&q-ak=a&q-sign-time=1;2&q-key-time=1;2&q-header-list=&q-url-param-list=",
    ],
)
def test_a_header_that_is_no_cos_signature_is_none(value: str) -> None:
    assert sign.parse_authorization(value) is None


@given(st.text(max_size=200))
def test_no_header_breaks_the_parser(value: str) -> None:
    parsed = sign.parse_authorization(value)
    assert parsed is None or not parsed.matches(secret_key="k", method="GET", path="/", params={}, headers={})


def test_the_window_is_the_overlap_of_both_times() -> None:
    value = (
        "q-sign-algorithm=sha1&q-ak=a&q-sign-time=5;20&q-key-time=1;10&q-header-list=&q-url-param-list=&q-signature=x"
    )
    parsed = sign.parse_authorization(value)
    assert parsed is not None
    assert parsed.window() == (5, 10)


@given(st.floats(min_value=1e6, max_value=4e9), st.integers(0, 100_000), st.integers(1, 3600))
def test_a_key_time_has_begun_and_lives_long_enough(now: float, life: int, hold: int) -> None:
    start, end = map(int, sign.key_time(now, life_seconds=life, hold_seconds=hold).split(";"))
    assert start <= now - 59
    assert end >= int(now) + life
    assert end <= now + life + hold


def test_a_key_time_stays_the_same_for_a_while() -> None:
    times = {sign.key_time(1_700_000_100.0 + second, life_seconds=900) for second in range(300)}
    assert len(times) == 1


@given(text)
def test_escaping_leaves_only_what_the_document_allows(value: str) -> None:
    escaped = sign.escape(value)
    assert set(escaped) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~%")
    assert dict(parse_qsl(f"x={escaped}", keep_blank_values=True)) == {"x": value}


@pytest.mark.parametrize(("name", "signed"), [("x-cos-meta-a", True), ("x-ci-b", True), ("user-agent", False)])
def test_which_headers_are_signed(name: str, signed: bool) -> None:
    assert sign.is_signed_header(name) is signed


def test_content_md5_is_encoded_and_decoded() -> None:
    from cosxfer.cos.requests import check_content_md5, content_md5

    digest = bytes(range(16))
    assert check_content_md5(content_md5(digest)) == digest
    assert b64decode(content_md5(digest)) == digest
    assert content_md5(digest) == b64encode(digest).decode()


@pytest.mark.parametrize("twin", [{"PARTNUMBER": "1", "UPLOADID": "A"}, {"PartNumber": "1"}])
def test_names_that_fold_to_one_never_match_and_are_never_signed(twin: dict[str, str]) -> None:
    params, headers = {"partNumber": "1", "uploadId": "A"}, {"host": "h"}
    value = sign.authorization(KEYS, method="PUT", path="/k", params=params, headers=headers, key_time=TIME)
    parsed = sign.parse_authorization(value)
    assert parsed is not None
    moved = {"partNumber": "7", "uploadId": "B", **twin}
    assert not parsed.matches(secret_key="secret", method="PUT", path="/k", params=moved, headers=headers)
    with pytest.raises(UsageError, match="the same name"):
        sign.authorization(KEYS, method="PUT", path="/k", params=moved, headers=headers, key_time=TIME)
    with pytest.raises(UsageError, match="the same name"):
        sign.presigned_params(KEYS, method="PUT", path="/k", params=moved, headers=headers, key_time=TIME)
