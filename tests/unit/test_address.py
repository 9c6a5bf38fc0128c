"""`ObjectAddress`: one name for an object inside the package."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from cosxfer.address import ObjectAddress, shown_key
from cosxfer.cos.identifiers import object_address
from cosxfer.errors import UsageError

BUCKET = "examplebucket-1250000000"


def test_an_address_drops_one_leading_slash_and_shows_the_key_as_calls_take_it() -> None:
    assert object_address(BUCKET, "/a", None) == ObjectAddress(BUCKET, "a")
    twice = object_address(BUCKET, "//a", "ap-guangzhou")
    assert (twice.key, twice.shown_key, twice.region) == ("/a", "//a", "ap-guangzhou")
    assert str(twice) == f"{BUCKET}///a"
    assert object_address(BUCKET, shown_key(twice.key), "ap-guangzhou") == twice


@pytest.mark.parametrize(("bucket", "key"), [("no-appid", "k"), (BUCKET, ""), (BUCKET, "/"), (BUCKET, "a/..")])
def test_a_bad_bucket_or_key_is_refused(bucket: str, key: str) -> None:
    with pytest.raises(UsageError):
        object_address(bucket, key, None)


def test_an_address_is_frozen_and_hashable() -> None:
    address = ObjectAddress(BUCKET, "k")
    with pytest.raises(FrozenInstanceError):
        address.key = "other"  # type: ignore[misc]
    assert len({address, ObjectAddress(BUCKET, "k")}) == 1
