"""The clients that `bench/peers.py` compares: how each is called, what it checks, and settings to search.

`bench/clients/install.sh` installs each into an environment of its own. Libraries are called by `bench/clients/send.py`
in that environment, commands as their users call them. The server's address is the only thing that is not a default.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
INSTALLED = ROOT / "build" / "clients"
SENDERS = ROOT / "bench" / "clients"
BUCKET = "examplebucket-1250000000"
REGION = "ap-guangzhou"
MIB = 1 << 20

Settings = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Sink:
    """Where a run sends to."""

    url: str
    ca_file: str | None
    http_version: str
    """"1.1" or "2"."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One run of a client."""

    words: list[str]
    environment: dict[str, str]
    before: list[str] | None = None
    """A command that prepares the run, such as one that writes a configuration; it is not measured."""


@dataclass(frozen=True, kw_only=True)
class Client:
    name: str
    verifies: str
    """What it checks of the bytes, by default, over plain HTTP."""
    make: Callable[[Sink, Path | None, Settings, Path], Command]
    """From sink, file or folder (None: start only), settings and home."""
    needs: tuple[Path, ...]
    tls: bool = True
    http2: bool = False
    large: tuple[Settings, ...] = ()
    """Settings to search for a large file; the defaults are always tried."""
    tree: tuple[Settings, ...] = ()
    """The same for a folder."""
    base: Settings = None  # type: ignore[assignment]
    """Settings that belong to the name of this entry."""

    @property
    def missing(self) -> str:
        """What is not installed; empty if nothing is missing."""
        for path in self.needs:
            if not path.exists():
                return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
        return ""


def _environment(home: Path, sink: Sink, **more: str) -> dict[str, str]:
    found = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "COS_SECRET_ID": "id",
        "COS_SECRET_KEY": "key",
        "COS_REGION": REGION,
        "COS_ENDPOINT": f"{sink.url}/{{bucket}}",
        **more,
    }
    if sink.ca_file:
        found |= dict.fromkeys(
            ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"), sink.ca_file
        )
    return found


def _order(sink: Sink, path: Path | None, settings: Settings) -> str:
    return json.dumps(
        {
            "url": sink.url,
            "bucket": BUCKET,
            "path": None if path is None else str(path),
            "ca_file": sink.ca_file,
            "http_version": sink.http_version,
            "settings": settings,
        }
    )


def _python(name: str) -> Path:
    return Path(sys.executable) if name == "cosxfer" else INSTALLED / name / "bin" / "python"


def _library(name: str) -> Callable[[Sink, Path | None, Settings, Path], Command]:
    def make(sink: Sink, path: Path | None, settings: Settings, home: Path) -> Command:
        words = [str(_python(name)), str(SENDERS / "send.py"), name, _order(sink, path, settings)]
        return Command(words=words, environment=_environment(home, sink))

    return make


def _node(sink: Sink, path: Path | None, settings: Settings, home: Path) -> Command:
    sdk = str(INSTALLED / "cos-nodejs-sdk-v5" / "node_modules" / "cos-nodejs-sdk-v5")
    words = [shutil.which("node") or "node", str(SENDERS / "send.js"), _order(sink, path, settings)]
    return Command(words=words, environment=_environment(home, sink, COS_SDK=sdk))


def _cosxfer_cp(sink: Sink, path: Path | None, settings: Settings, home: Path) -> Command:
    program = str(Path(sys.executable).with_name("cosxfer"))
    words = [program, "--version"]
    if path is not None:
        recursive = ["-r"] if path.is_dir() else []
        words = [program, "cp", *recursive, *_flags(settings), "--http-version", sink.http_version]
        words += [str(path), f"cos://{BUCKET}/{'tree' if path.is_dir() else 'key'}"]
        if sink.ca_file:
            words[2:2] = ["--ca-file", sink.ca_file]
    return Command(words=words, environment=_environment(home, sink))


def _flags(settings: Settings) -> list[str]:
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def _s5cmd(sink: Sink, path: Path | None, settings: Settings, home: Path) -> Command:
    program = str(INSTALLED / "s5cmd" / "bin" / "s5cmd")
    if path is None:
        return Command(words=[program, "version"], environment=_environment(home, sink))
    workers = ["--numworkers", str(settings["numworkers"])] if "numworkers" in settings else []
    copy = [word for name in ("-c", "-p") if name in settings for word in (name, str(settings[name]))]
    source, key = (f"{path}/", "tree/") if path.is_dir() else (str(path), "key")
    words = [program, "--endpoint-url", sink.url, "--log", "error", *workers]
    return Command(words=[*words, "cp", *copy, source, f"s3://{BUCKET}/{key}"], environment=_environment(home, sink))


def _rclone(sink: Sink, path: Path | None, settings: Settings, home: Path) -> Command:
    program = str(INSTALLED / "rclone" / "bin" / "rclone")
    remote = {
        "TYPE": "s3",
        "PROVIDER": "TencentCOS",
        "ACCESS_KEY_ID": "id",
        "SECRET_ACCESS_KEY": "key",
        "ENDPOINT": sink.url,
        "FORCE_PATH_STYLE": "true",
        "REGION": REGION,
    }
    environment = _environment(home, sink, **{f"RCLONE_CONFIG_COS_{name}": value for name, value in remote.items()})
    if path is None:
        return Command(words=[program, "version"], environment=environment)
    authority = ["--ca-cert", sink.ca_file] if sink.ca_file else []
    verb, target = ("copy", "cos:" + BUCKET + "/tree") if path.is_dir() else ("copyto", f"cos:{BUCKET}/key")
    return Command(words=[program, verb, *authority, *_flags(settings), str(path), target], environment=environment)


def _coscmd(sink: Sink, path: Path | None, settings: Settings, home: Path) -> Command:
    # It reaches the sink by the name of the bucket, which has to be resolved to this machine.
    environment = _environment(home, sink, PYTHONPATH=str(SENDERS / "localhost"))
    address = f"localhost:{sink.url.rpartition(':')[2]}"
    config = home / "cos.conf"
    program = [str(_python("coscmd")), "-m", "coscmd.cos_cmd", "-c", str(config), "-l", str(home / "cos.log")]
    threads, part = str(settings.get("max_thread", 5)), str(settings.get("part_size", 1))
    keys = ["-a", "id", "-s", "key", "-b", BUCKET, "-e", address]
    before = [*program, "config", *keys, "-m", threads, "-p", part, "--do-not-use-ssl"]
    if path is None:
        return Command(words=[*program, "--version"], environment=environment)
    verb = ["upload", "-r"] if path.is_dir() else ["upload"]
    return Command(
        words=[*program, *verb, str(path), "tree/" if path.is_dir() else "key"], environment=environment, before=before
    )


def _coscli(sink: Sink, path: Path | None, settings: Settings, home: Path) -> Command:
    program = str(INSTALLED / "coscli" / "bin" / "coscli")
    address = sink.url.partition("://")[2]
    scheme = sink.url.partition("://")[0]
    keys = ["-i", "id", "-k", "key", "-e", address, "-p", scheme, "--init-skip=true"]
    words = [program, "--version"]
    if path is not None:
        recursive = ["-r"] if path.is_dir() else []
        words = [program, "cp", str(path), f"cos://{BUCKET}/key", *recursive, *_flags(settings), *keys]
    return Command(words=words, environment=_environment(home, sink))


_OURS = "MD5 of each part (Content-MD5, ETag), CRC64 of each part and of the object"
_8_BY_4: Settings = {"part_size": 8 * MIB, "concurrency": 4}

CLIENTS = (
    Client(
        name="cosxfer",
        verifies=_OURS,
        make=_library("cosxfer"),
        needs=(),
        http2=True,
        large=(_8_BY_4, {"part_size": 16 * MIB, "concurrency": 4}, {"part_size": 8 * MIB, "concurrency": 2}),
        tree=({"file_parallel_limit": 32}, {"file_parallel_limit": 64}),
    ),
    Client(
        name="cosxfer cp",
        verifies=_OURS,
        make=_cosxfer_cp,
        needs=(),
        http2=True,
        large=({"part_size": "8MiB", "concurrency": 4},),
        tree=({"files": 64},),
    ),
    Client(
        name="cos-python-sdk-v5, EnableMD5",
        verifies="Content-MD5 of each part",
        make=_library("cos-python-sdk-v5"),
        needs=(_python("cos-python-sdk-v5"),),
        base={"EnableMD5": True},
        large=({"PartSize": 8, "MAXThread": 4}, {"PartSize": 16, "MAXThread": 4}, {"PartSize": 8, "MAXThread": 2}),
        tree=({"files": 2}, {"files": 16}),
    ),
    Client(
        name="cos-python-sdk-v5",
        verifies="nothing",
        make=_library("cos-python-sdk-v5"),
        needs=(_python("cos-python-sdk-v5"),),
        base={"EnableMD5": False},
        large=({"PartSize": 8, "MAXThread": 4}, {"PartSize": 16, "MAXThread": 4}, {"PartSize": 8, "MAXThread": 2}),
        tree=({"files": 2}, {"files": 16}),
    ),
    Client(
        name="cos-nodejs-sdk-v5",
        verifies="nothing (UploadCheckContentMd5 is off)",
        make=_node,
        needs=(INSTALLED / "cos-nodejs-sdk-v5" / "node_modules",),
        large=({"ChunkSize": 8 * MIB, "ChunkParallelLimit": 4}, {"ChunkSize": 16 * MIB, "ChunkParallelLimit": 2}),
        tree=({"files": 16}, {"files": 64}),
    ),
    Client(
        name="coscmd",
        verifies="MD5 of the file as metadata",
        make=_coscmd,
        needs=(_python("coscmd"),),
        tls=False,
        large=({"part_size": 8, "max_thread": 4}, {"part_size": 16, "max_thread": 2}),
        tree=({"max_thread": 16},),
    ),
    Client(
        name="boto3",
        verifies="CRC32 of each part",
        make=_library("boto3"),
        needs=(_python("boto3"),),
        large=(
            {"checksum": "when_required"},
            {"multipart_chunksize": 16 * MIB, "max_concurrency": 4},
            {"multipart_chunksize": 16 * MIB, "max_concurrency": 4, "checksum": "when_required"},
        ),
        tree=({"files": 4}, {"files": 4, "checksum": "when_required"}),
    ),
    Client(
        name="boto3, CRT",
        verifies="CRC32 of each part",
        make=_library("boto3-crt"),
        needs=(_python("boto3-crt"),),
        large=({"part_size": 16 * MIB},),
    ),
    Client(
        name="obstore",
        verifies="SHA-256 of each part in the signature",
        make=_library("obstore"),
        needs=(_python("obstore"),),
        http2=True,
        large=(
            {"chunk_size": 8 * MIB, "max_concurrency": 4},
            {"chunk_size": 16 * MIB, "max_concurrency": 4},
            {"chunk_size": 8 * MIB, "max_concurrency": 2},
        ),
        tree=({"files": 8}, {"files": 64}),
    ),
    Client(
        name="s5cmd",
        verifies="SHA-256 of each part in the signature",
        make=_s5cmd,
        needs=(INSTALLED / "s5cmd" / "bin" / "s5cmd",),
        large=({"-c": 4, "-p": 8}, {"-c": 4, "-p": 16}),
        tree=({"numworkers": 16}, {"numworkers": 64}),
    ),
    Client(
        name="rclone",
        verifies="MD5 of each part, MD5 of the file as metadata",
        make=_rclone,
        needs=(INSTALLED / "rclone" / "bin" / "rclone",),
        large=(
            {"s3_chunk_size": "8M", "s3_upload_concurrency": 4},
            {"s3_chunk_size": "16M", "s3_upload_concurrency": 4},
        ),
        tree=({"transfers": 16}, {"transfers": 64}),
    ),
    Client(
        name="coscli",
        verifies="CRC64 of the object",
        make=_coscli,
        needs=(INSTALLED / "coscli" / "bin" / "coscli",),
        large=({"part_size": 8, "thread_num": 4},),
    ),
)
