"""Profiles: named keys and addresses of the user."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field

from cosxfer.cli.secret_files import read_secret_key
from cosxfer.credentials import Credentials
from cosxfer.errors import CredentialsError
from cosxfer.foreign import shown_path
from cosxfer.records import dataclass

COSCLI, COSCMD = "coscli", "coscmd"
"""Names of profiles that are the files of these tools, unless the own file has such a profile."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a profile says. None: nothing."""

    name: str
    path: str
    """Its file, for messages."""
    secret_id: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    secret_key_file: str | None = None
    token: str | None = field(default=None, repr=False)
    region: str | None = None
    endpoint: str | None = None
    ca_file: str | None = None
    anonymous: bool = False
    buckets: Mapping[str, str] = field(default_factory=dict)
    """The regions of buckets."""

    def keys(self) -> Credentials | None:
        """Return the keys; None if it has none. Raises `CredentialsError` if it has one of the two."""
        if self.secret_id is None and self.secret_key is None and self.secret_key_file is None:
            return None
        where = f"the profile {self.name!r} in {shown_path(self.path)}"
        if self.secret_id is None:
            raise CredentialsError(f"{where} has no secret_id")
        if (self.secret_key is None) == (self.secret_key_file is None):
            raise CredentialsError(f"{where} needs secret_key or secret_key_file, and one of them only")
        secret = self.secret_key
        if self.secret_key_file is not None:
            secret = read_secret_key(os.path.expanduser(self.secret_key_file))  # noqa: PTH111 (- is standard input)
        try:
            return Credentials(secret_id=self.secret_id, secret_key=secret or "", token=self.token or None)
        except CredentialsError as error:
            raise CredentialsError(f"{where}: {error}") from error

    def region_of(self, bucket: str) -> str | None:
        """Return the region of a bucket, if the profile knows it, else its only region."""
        return self.buckets.get(bucket, self.region)
