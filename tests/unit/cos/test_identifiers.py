"""Bucket names, regions and keys that COS accepts; errors that name the value and the limit."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.cos.identifiers import check_bucket, check_key, check_region
from cosxfer.errors import UsageError
from cosxfer.limits import MAX_KEY_BYTES


@pytest.mark.parametrize("bucket", ["a-1", "examplebucket-1250000000", "my-own-bucket-1250000000"])
def test_a_bucket_has_a_name_and_an_appid(bucket: str) -> None:
    assert check_bucket(bucket) == bucket


@pytest.mark.parametrize(
    "bucket", ["", "a", "-1 ", "A-1", "a_b-1", "a-1\n", "a-\u0661", "a.b-1", "a-1/x", "a-1x", "1250000000"]
)
def test_a_bucket_of_another_form_is_refused_with_the_form(bucket: str) -> None:
    with pytest.raises(UsageError, match="BucketName-APPID"):
        check_bucket(bucket)


def test_a_region_with_cos_in_front_is_refused_with_the_right_one() -> None:
    with pytest.raises(UsageError, match=r'omit "cos\.": \'ap-beijing\''):
        check_region("cos.ap-beijing")


@given(st.text(max_size=20))
def test_a_key_is_kept_but_for_one_slash_or_refused(key: str) -> None:
    try:
        kept = check_key(key)
    except UsageError:
        return
    assert kept == key.removeprefix("/")
    assert kept
    # It stays a name, no matter how many slashes a proxy or server collapses.
    assert posixpath.normpath("/" + kept).strip("/")


@pytest.mark.parametrize(("key", "length"), [("k" * 850, 850), ("/" + "k" * 850, 850), ("汉" * 283 + "k", 850)])
def test_a_key_of_850_bytes_is_allowed(key: str, length: int) -> None:
    assert len(check_key(key).encode()) == length == MAX_KEY_BYTES


@pytest.mark.parametrize("key", ["k" * 851, "汉" * 284])
def test_a_longer_key_is_refused_with_its_length_and_the_limit(key: str) -> None:
    with pytest.raises(UsageError, match=rf"is {len(key.encode())} bytes long in UTF-8; COS allows 850"):
        check_key(key)


@pytest.mark.parametrize("key", ["/", "//", "///", ".", "./", "/.", "a/..", "a/../", "//..", "../..", "/a/../../"])
def test_a_key_that_simplifies_to_the_bucket_is_refused(key: str) -> None:
    with pytest.raises(UsageError):
        check_key(key)
