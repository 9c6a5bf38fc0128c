"""A picklable description of a client, from which another process builds an equal client."""

from __future__ import annotations

import ssl
from dataclasses import fields
from typing import Any, Literal, TypeAlias, cast

from cosxfer.arguments import check_flag, wrong_type
from cosxfer.config import ClientConfig
from cosxfer.credentials import Credentials, CredentialsProvider
from cosxfer.errors import UsageError
from cosxfer.records import dataclass
from cosxfer.threads import import_lock

CredentialsSource: TypeAlias = Literal["environment", "anonymous"] | Credentials | CredentialsProvider
"""The source of a client's keys: the environment of its process, none, the caller, or a function."""

TransportName: TypeAlias = Literal["auto", "native", "httpx"]


@dataclass(frozen=True, kw_only=True)
class ClientSpec:
    """The settings, the source of the keys and the transport of a client. `Client.spec` returns one.

    `Client.from_spec` and `AsyncClient.from_spec` build an equal client, in this process or another one: a spec can be
    pickled and compared. It contains secrets only if the caller asked for them (``include_secrets=True``). With
    ``credentials="environment"`` the keys are read from the environment of the process that builds the client.
    """

    config: ClientConfig
    credentials: CredentialsSource = "environment"
    transport: TransportName = "auto"


def arguments_of(spec: ClientSpec) -> dict[str, Any]:
    """Return the keyword arguments of `Client` and `AsyncClient` for the client of ``spec``."""
    if not isinstance(spec, ClientSpec):
        raise wrong_type("spec", spec, "a cosxfer.ClientSpec, which client.spec() returns")
    settings = {field.name: getattr(spec.config, field.name) for field in fields(spec.config)}
    given = None if isinstance(spec.credentials, str) else spec.credentials
    anonymous = spec.credentials == "anonymous"
    return {**settings, "credentials": given, "anonymous": anonymous, "transport": spec.transport}


def spec_of(
    config: ClientConfig, credentials: CredentialsSource, transport: str | type, *, include_secrets: bool
) -> ClientSpec:
    """Return the spec of a client. Raises `UsageError` if another process cannot rebuild the client."""
    check_flag(include_secrets, "include_secrets")
    if isinstance(credentials, Credentials) and not include_secrets:
        raise UsageError(
            "the client was given its keys, but a spec contains no secrets by default; create the client with a "
            "credentials function or with COS_SECRET_ID and COS_SECRET_KEY, or call spec(include_secrets=True)",
            name="include_secrets",
            value=False,
        )
    if not isinstance(credentials, str | Credentials):
        _check_picklable("credentials", credentials, "give a function of a module, not a lambda or a closure")
    if not isinstance(transport, str):
        raise UsageError(
            f"transport is a {transport.__name__}, which another process cannot rebuild; "
            'create the client with "auto", "native" or "httpx"',
            name="transport",
        )
    if isinstance(config.verify, ssl.SSLContext):
        raise UsageError(
            "verify is an ssl.SSLContext, which another process cannot rebuild; give the path of a PEM file",
            name="verify",
        )
    return ClientSpec(config=config, credentials=credentials, transport=cast(TransportName, transport))


def _check_picklable(name: str, value: object, advice: str) -> None:
    with import_lock:
        import pickle

    try:
        pickle.dumps(value)
    except Exception as error:
        raise UsageError(f"{name} cannot be pickled ({error}); {advice}", name=name) from error
