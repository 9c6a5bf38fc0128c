"""The policy of a form: the published example, the pinned fields, and the forms that fail."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from cosxfer.cos.policy import PolicyError, build_policy, form_fields, parse_policy, sign_policy
from cosxfer.cos.sign import sign_key
from cosxfer.credentials import Credentials
from cosxfer.errors import UsageError

# Product page 436/14690, with its published example key.
EXAMPLE = """{
    "expiration": "2019-08-30T09:38:12.414Z",
    "conditions": [
        { "acl": "default" },
        { "bucket": "examplebucket-1250000000" },
        [ "starts-with", "$key", "folder/subfolder/" ],
        [ "starts-with", "$Content-Type", "image/" ],
        [ "starts-with", "$success_action_redirect", "https://my.website/" ],
        [ "eq", "$x-cos-server-side-encryption", "AES256" ],
        { "q-sign-algorithm": "sha1" },
        { "q-ak": "AKIDQjz3ltompVjBni5LitkWHFlFpwkn9U5q" },
        { "q-sign-time": "1567150692;1567157892" }
    ]
}"""
SECRET_KEY = "BQYIM75p8x0iWVFSIgqEKwFprpRSVHlz"
KEY_TIME = "1567150692;1567157892"
EXAMPLE_FORM = {
    "acl": "default",
    "bucket": "examplebucket-1250000000",
    "key": "folder/subfolder/a.png",
    "content-type": "image/png",
    "success_action_redirect": "https://my.website/done",
    "x-cos-server-side-encryption": "AES256",
    "q-sign-algorithm": "sha1",
    "q-ak": "AKIDQjz3ltompVjBni5LitkWHFlFpwkn9U5q",
    "q-sign-time": KEY_TIME,
}
CREDENTIALS = Credentials(secret_id="AKIDexample", secret_key="secret")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def with_conditions(*conditions: Any, expiration: object = "2030-01-01T00:00:00Z") -> str:
    own = [{"q-sign-algorithm": "sha1"}, {"q-ak": "a"}, {"q-sign-time": "1;2"}]
    return encoded(json.dumps({"expiration": expiration, "conditions": [*conditions, *own]}))


def test_the_published_example_has_the_published_signature() -> None:
    assert hashlib.sha1(EXAMPLE.encode()).hexdigest() == "d5d903b8360468bc81c1311f134989bc8c8b5b89"
    assert sign_key(SECRET_KEY, KEY_TIME) == "39acc8c9f34ba5b19bce4e965b370cd3f62d2fba"
    assert sign_policy(EXAMPLE, secret_key=SECRET_KEY, key_time=KEY_TIME) == "7758dc9a832e9d301dca704cacbf9d9f8172fdef"


def test_the_published_example_is_understood() -> None:
    text, policy = parse_policy(encoded(EXAMPLE))
    assert text == EXAMPLE
    policy.check_fields(EXAMPLE_FORM, now=1567150700)
    with pytest.raises(PolicyError, match="expired"):
        policy.check_fields(EXAMPLE_FORM, now=1567157893)


@pytest.mark.parametrize("name", sorted(EXAMPLE_FORM))
def test_a_field_that_is_missing_or_wrong_fails_its_condition(name: str) -> None:
    _, policy = parse_policy(encoded(EXAMPLE))
    for form in ({**EXAMPLE_FORM, name: "another"}, {n: v for n, v in EXAMPLE_FORM.items() if n != name}):
        with pytest.raises(PolicyError, match=r"Policy Condition failed"):
            policy.check_fields(form, now=1567150700)


def test_the_form_pins_what_is_given_and_conditions_loosen_it() -> None:
    fields = form_fields(
        CREDENTIALS,
        bucket="b-1",
        key="in/${filename}",
        fields={"Content-Type": "image/png", "x-cos-meta-a": "ü"},
        conditions=[["starts-with", "$Content-Type", "image/"], ["content-length-range", 1, 10]],
        key_time="100;200",
    )
    text, policy = parse_policy(fields["policy"])
    document = json.loads(text)
    assert document["expiration"] == "1970-01-01T00:03:20.000Z"
    assert document["conditions"] == [
        {"bucket": "b-1"},
        ["starts-with", "$key", "in/"],
        ["eq", "$x-cos-meta-a", "ü"],
        ["starts-with", "$Content-Type", "image/"],
        ["content-length-range", 1, 10],
        {"q-sign-algorithm": "sha1"},
        {"q-ak": "AKIDexample"},
        {"q-sign-time": "100;200"},
    ]
    assert policy.size_range == (1, 10)
    assert fields["q-signature"] == sign_policy(text, secret_key="secret", key_time="100;200")
    assert next(iter(fields)) == "key"
    assert "secret" not in json.dumps(fields)


def test_temporary_keys_bring_their_token() -> None:
    temporary = Credentials(secret_id="a", secret_key="b", token="the token")
    fields = form_fields(temporary, bucket="b-1", key="k", fields={}, conditions=[], key_time="1;2")
    assert fields["x-cos-security-token"] == "the token"


@pytest.mark.parametrize("size", [0, 11])
def test_a_size_outside_the_range_has_cos_s_code(size: int) -> None:
    _, policy = parse_policy(with_conditions(["content-length-range", 1, 10]))
    policy.check_size(1)
    policy.check_size(10)
    with pytest.raises(PolicyError) as caught:
        policy.check_size(size)
    assert caught.value.code == ("EntityTooSmall" if size == 0 else "EntityTooLarge")


@pytest.mark.parametrize(
    "condition",
    [
        {},
        {"acl": 1},
        "acl",
        [],
        ["eq", "acl", "private"],
        ["eq", "$acl"],
        ["matches", "$key", "a"],
        ["content-length-range", 2, 1],
        ["content-length-range", -1, 1],
        ["content-length-range", True, 5],
        ["content-length-range", "1", "2"],
        ["eq", "$acl", None],
    ],
)
def test_a_malformed_condition_is_refused_on_both_sides(condition: Any) -> None:
    with pytest.raises(UsageError, match="is not a condition"):
        build_policy(expires_at=1, conditions=[condition])
    with pytest.raises(PolicyError, match="is not a condition"):
        parse_policy(with_conditions(condition))


@pytest.mark.parametrize(
    "policy",
    [
        "not base64!",
        encoded("not json"),
        encoded("[]"),
        encoded('{"conditions": 3}'),
        encoded("[" * 100_000),
        with_conditions(expiration="tomorrow"),
        with_conditions(expiration=None),
        encoded('{"expiration": "2030-01-01T00:00:00Z", "conditions": []}'),
    ],
)
def test_a_malformed_policy_is_refused(policy: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(policy)
    assert caught.value.code == "InvalidPolicyDocument"
