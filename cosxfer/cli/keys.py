"""Where the command finds its keys: in the environment, and in a file for the secret key.

There is no option for the secret key of an upload, because every user of the machine can read the list of processes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from cosxfer.cli.profile_files import other_files
from cosxfer.cli.profiles import Profile
from cosxfer.cli.secret_files import read_secret_key
from cosxfer.credentials import Credentials, from_environment
from cosxfer.errors import CredentialsError
from cosxfer.foreign import shown_path


def find_keys(
    secret_key_file: str | None, *, otherwise: str = "", profile: Profile | None = None, named: bool = False
) -> Credentials:
    """Return the keys. They come all from the environment or all from the profile, and are never a mixture.

    A profile that is ``named`` by an option is above the environment, any other below it. With ``secret_key_file``,
    the secret key comes from that file. Raises `CredentialsError` if there are none. ``otherwise`` is an alternative
    that its message offers.
    """
    first = profile is not None and (named or not (os.environ.get("COS_SECRET_ID") or os.environ.get("COS_SECRET_KEY")))
    if secret_key_file is not None:
        of_profile = profile if first and profile is not None and profile.secret_id is not None else None
        secret_id = os.environ.get("COS_SECRET_ID") if of_profile is None else of_profile.secret_id
        token = os.environ.get("COS_TOKEN") if of_profile is None else of_profile.token
        if not secret_id:
            raise CredentialsError("COS_SECRET_ID is not set; --secret-key-file needs it")
        return Credentials(secret_id=secret_id, secret_key=read_secret_key(secret_key_file), token=token or None)
    found = profile.keys() if first and profile is not None else None
    found = found or from_environment(os.environ)
    if found is None:
        raise CredentialsError(
            f"no keys found: set COS_SECRET_ID and COS_SECRET_KEY{otherwise}{_files_of_others(os.environ)}"
        )
    return found


def _files_of_others(environment: Mapping[str, str]) -> str:
    """Offer the files of other tools that exist. They are read only if they are asked for."""
    offers = [
        f". --profile {name} reads the keys of {shown_path(str(path))}"
        for name, path in other_files(environment).items()
        if path.exists()
    ]
    return "".join(offers)
