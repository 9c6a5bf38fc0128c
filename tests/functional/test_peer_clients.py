"""Other clients write, list, read, copy and delete on the embedded server, and each side reads what the other wrote.

`.ci/deep/client_peers.sh` installs them. They run as processes of their own, with their defaults.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer

pytestmark = [pytest.mark.deep, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "build" / "peers"
SECONDS = 120
REGION = "ap-guangzhou"
SIZES = {"small ü+%.txt": 5, "empty": 0, "folder/large.bin": 12 * MIB + 1}


@dataclass(frozen=True)
class Peer:
    """Another client and the server that it uses."""

    server: RunningServer
    home: Path
    """Holds its configuration and nothing else of the user's."""

    def run(self, *command: str | Path, secret_key: str = "", **more: str) -> str:
        """Run a command; returns its standard output. Raises CalledProcessError if it fails."""
        keys = self.server.credentials
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "AWS_ACCESS_KEY_ID": keys.secret_id,
            "AWS_SECRET_ACCESS_KEY": secret_key or keys.secret_key,
            "AWS_REGION": REGION,
            **more,
        }
        done = subprocess.run(
            [str(word) for word in command], env=env, cwd=self.home, capture_output=True, text=True, timeout=SECONDS
        )
        if done.returncode:
            raise PeerError(f"{command[:4]} ended with {done.returncode}: {done.stdout[-2000:]} {done.stderr[-2000:]}")
        return done.stdout

    def tool(self, name: str, *, environment: str = "tools") -> Path:
        return PEERS / environment / "bin" / name


class PeerError(Exception):
    """The other client has failed."""


Act = Callable[..., list[str]]
"""``act(action, *arguments)`` returns what was listed."""


def library(name: str, *, environment: str = "tools") -> Callable[[Peer], Act]:
    def made(peer: Peer) -> Act:
        def act(action: str, *arguments: object, secret_key: str = "") -> list[str]:
            script = Path(__file__).with_name("peer_library.py")
            words = [name, peer.server.url, peer.server.bucket, action, *map(str, arguments)]
            printed = peer.run(peer.tool("python", environment=environment), script, *words, secret_key=secret_key)
            return list(json.loads(printed)) if action == "list" else []

        return act

    return made


def s5cmd(peer: Peer) -> Act:
    def act(action: str, *arguments: object, secret_key: str = "") -> list[str]:
        def run(*words: str) -> str:
            command = (peer.tool("s5cmd"), "--endpoint-url", peer.server.url, "--retry-count", "0", "--json", *words)
            return peer.run(*command, secret_key=secret_key)

        at = f"s3://{peer.server.bucket}/"
        first, *more = map(str, arguments)
        if action == "list":
            return [json.loads(line)["key"].removeprefix(at) for line in run("ls", f"{at}{first}*").splitlines()]
        if action == "delete":
            run("rm", "--raw", at + first)
        elif action == "write":
            run("cp", first, at + more[0])
        elif action == "read":
            run("cp", "--raw", at + first, more[0])
        else:
            run("cp", "--raw", at + first, at + more[0])
        return []

    return act


def rclone(peer: Peer) -> Act:
    def act(action: str, *arguments: object, secret_key: str = "") -> list[str]:
        keys = peer.server.credentials
        settings = {
            "TYPE": "s3",
            "PROVIDER": "TencentCOS",
            "ACCESS_KEY_ID": keys.secret_id,
            "SECRET_ACCESS_KEY": secret_key or keys.secret_key,
            "ENDPOINT": peer.server.url,
            "FORCE_PATH_STYLE": "true",
            "REGION": REGION,
            "UPLOAD_CUTOFF": "5M",
            "CHUNK_SIZE": "5M",
        }
        env = {f"RCLONE_CONFIG_COS_{name}": value for name, value in settings.items()}

        def run(*words: str) -> str:
            return peer.run(peer.tool("rclone"), "--retries=1", "--low-level-retries=1", *words, **env)

        at = f"cos:{peer.server.bucket}/"
        first, *more = map(str, arguments)
        if action == "list":
            return [first + name for name in run("lsf", "-R", "--files-only", at + first).splitlines()]
        if action == "delete":
            run("deletefile", at + first)
        elif action == "write":
            run("copyto", first, at + more[0])
        elif action == "read":
            run("copyto", "--error-on-no-transfer", at + first, more[0])
        else:
            run("copyto", at + first, at + more[0])
        return []

    return act


def coscmd(peer: Peer) -> Act:
    def act(action: str, *arguments: object, secret_key: str = "") -> list[str]:
        keys, bucket = peer.server.credentials, peer.server.bucket
        python, config = peer.tool("python"), peer.home / "cos.conf"

        def run(*words: str) -> str:
            # Its address is always that of COS; the server takes the place of a proxy.
            program = (python, "-m", "coscmd.cos_cmd", "-c", config, "-l", peer.home / "cos.log")
            return peer.run(*program, *words, http_proxy=peer.server.url, no_proxy="")

        secret = secret_key or keys.secret_key
        run("config", "-a", keys.secret_id, "-s", secret, "-b", bucket, "-r", REGION, "-p", "1", "--do-not-use-ssl")
        first, *more = map(str, arguments)
        if action == "list":
            return re.findall(rf"^ +({first}.*?)  +\d", run("list", "-a", "-r", first), re.MULTILINE)
        if action == "write":
            run("upload", first, more[0])
        elif action == "read":
            run("download", "-f", first, more[0])
        elif action == "copy":
            run("copy", f"{bucket}.cos.{REGION}.myqcloud.com/{first}", more[0])
        else:
            run("delete", "-f", first)
        return []

    return act


CLIENTS: dict[str, Callable[[Peer], Act]] = {
    "boto3": library("boto3"),
    "obstore": library("obstore"),
    "s3fs": library("s3fs", environment="s3fs"),
    "cos-python-sdk-v5": library("sdk"),
    "s5cmd": s5cmd,
    "rclone": rclone,
    "coscmd": coscmd,
}


@pytest.fixture(params=CLIENTS)
def act(request: pytest.FixtureRequest, server: RunningServer, tmp_path: Path) -> Act:
    home = tmp_path / "home"
    home.mkdir()
    if not PEERS.is_dir():
        pytest.skip("the other clients are not installed: .ci/deep/client_peers.sh")
    return CLIENTS[request.param](Peer(server, home))


def content(folder: Path, name: str) -> Path:
    path = folder / f"content-{list(SIZES).index(name)}"
    path.write_bytes(os.urandom(SIZES[name]))
    return path


def test_each_side_reads_what_the_other_wrote(
    act: Act, client: cosxfer.Client, server: RunningServer, tmp_path: Path
) -> None:
    bucket = server.bucket
    files = {name: content(tmp_path, name) for name in SIZES}
    for name, path in files.items():
        act("write", path, f"theirs/{name}")
        stored = client.get_object(bucket, f"theirs/{name}")
        assert stored.body == path.read_bytes()
        assert stored.verified
        client.upload_file(bucket, f"ours/{name}", path, part_size=MIB)
    for folder in ("theirs/", "ours/"):
        assert sorted(act("list", folder)) == sorted(folder + name for name in SIZES)
        for name, path in files.items():
            act("read", folder + name, tmp_path / "back")
            assert (tmp_path / "back").read_bytes() == path.read_bytes()
            (tmp_path / "back").unlink()
    for name, path in files.items():
        act("copy", f"ours/{name}", f"copied/{name}")
        assert client.get_object(bucket, f"copied/{name}").body == path.read_bytes()
        for folder in ("theirs/", "ours/", "copied/"):
            act("delete", folder + name)
    for folder in ("theirs/", "ours/", "copied/"):
        assert list(client.iter_list_objects(bucket, prefix=folder)) == []
    assert list(client.iter_multipart_list(bucket)) == []


def test_what_is_refused_is_an_error_to_them_too(act: Act, server: RunningServer, tmp_path: Path) -> None:
    path = content(tmp_path, "small ü+%.txt")
    with pytest.raises(PeerError, match=r"(?i)SignatureDoesNotMatch|AccessDenied|Forbidden|403"):
        act("write", path, "key", secret_key="wrong")
    with pytest.raises(PeerError):
        act("read", "no such key", tmp_path / "back")
    assert not (tmp_path / "back").exists() or not (tmp_path / "back").read_bytes()
