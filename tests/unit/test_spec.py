"""A client's spec: pickled, compared, and rebuilt in another process."""

from __future__ import annotations

import pickle
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

import cosxfer
from cosxfer.transport.memory import MemoryTransport
from tests.unit.fake_cos import FakeCos

SETTINGS = {"region": "ap-guangzhou", "max_attempts": 7, "concurrency": 9, "part_size": "auto", "transport": "native"}
KEYS = {"secret_id": "AKIDexample", "secret_key": "secret-of-the-test"}
KINDS = [cosxfer.Client, cosxfer.AsyncClient]


def keys_of_this_module() -> cosxfer.Credentials:
    return cosxfer.Credentials(**KEYS)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COS_SECRET_ID", "id-of-the-environment")
    monkeypatch.setenv("COS_SECRET_KEY", "key-of-the-environment")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("keys", "source"),
    [
        ({}, "environment"),
        ({"anonymous": True}, "anonymous"),
        ({"credentials": keys_of_this_module}, keys_of_this_module),
    ],
)
def test_a_spec_survives_pickling_and_builds_an_equal_client(
    kind: type, keys: dict[str, object], source: object
) -> None:
    spec = kind(**SETTINGS, **keys).spec()
    assert spec.credentials == source
    assert spec.transport == "native"
    back = pickle.loads(pickle.dumps(spec))
    assert back == spec
    rebuilt = kind.from_spec(back)
    assert type(rebuilt) is kind
    assert rebuilt.config == spec.config
    assert rebuilt.config.max_attempts == 7
    assert rebuilt.spec() == spec


def test_a_spec_of_one_kind_of_client_builds_the_other() -> None:
    spec = cosxfer.AsyncClient(**SETTINGS).spec()
    assert cosxfer.Client.from_spec(spec).spec() == spec


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keys", [KEYS, {"credentials": cosxfer.Credentials(**KEYS, token="token-of-the-test")}])
def test_a_spec_contains_keys_only_on_request(kind: type, keys: dict[str, object]) -> None:
    client = kind(**SETTINGS, **keys)
    with pytest.raises(cosxfer.UsageError, match=r"contains no secrets by default; .*include_secrets=True") as caught:
        client.spec()
    assert caught.value.name == "include_secrets"
    spec = client.spec(include_secrets=True)
    assert "secret-of-the-test" not in repr(spec)
    assert "token-of-the-test" not in repr(spec)
    assert kind.from_spec(pickle.loads(pickle.dumps(spec))).spec(include_secrets=True) == spec
    with pytest.raises(cosxfer.UsageError, match="include_secrets"):
        client.spec(include_secrets=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_spec_never_contains_keys_of_the_environment(kind: type) -> None:
    spec = kind(**SETTINGS).spec(include_secrets=True)
    assert b"key-of-the-environment" not in pickle.dumps(spec)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"credentials": lambda: keys_of_this_module()}, "credentials"),
        ({"transport": MemoryTransport(lambda request: None)}, "transport"),
        ({"verify": ssl.create_default_context()}, "verify"),
    ],
)
def test_a_setting_that_another_process_cannot_rebuild_is_refused_by_name(
    kind: type, settings: dict[str, object], name: str
) -> None:
    client = kind(**{**SETTINGS, **settings})
    with pytest.raises(cosxfer.UsageError, match=name) as caught:
        client.spec()
    assert caught.value.name == name


def test_another_process_uploads_with_the_spec_of_this_one(cos: FakeCos, tmp_path: Path) -> None:
    """The spec is sent through a pipe to a process with its own environment."""
    spec = cosxfer.Client(region="ap-guangzhou", endpoint="http://127.0.0.1:9/{bucket}", max_attempts=1).spec()
    code = (
        "import pickle, sys, cosxfer\n"
        "client = cosxfer.Client.from_spec(pickle.load(sys.stdin.buffer))\n"
        "try:\n"
        "    client.put_object('examplebucket-1250000000', 'k', b'x')\n"
        "except cosxfer.ConnectError as error:\n"
        "    print(client.config.max_attempts, '127.0.0.1:9' in str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(spec), capture_output=True, check=True)
    assert done.stdout == b"1 True\n"


def test_without_keys_in_its_environment_a_process_cannot_rebuild(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = cosxfer.Client(**SETTINGS).spec()
    monkeypatch.delenv("COS_SECRET_ID")
    monkeypatch.delenv("COS_SECRET_KEY")
    with pytest.raises(cosxfer.CredentialsError, match="COS_SECRET_ID"):
        cosxfer.Client.from_spec(spec)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spec", [None, "spec", {"config": None}, cosxfer.ClientSpec])
def test_a_value_that_is_not_a_spec_is_refused(kind: type, spec: object) -> None:
    with pytest.raises(cosxfer.UsageError, match=r"it must be a cosxfer\.ClientSpec") as caught:
        kind.from_spec(spec)
    assert caught.value.name == "spec"
