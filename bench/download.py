"""Downloads: bytes and objects per CPU second of the client, beside bare loops and other clients.

Each run is a process of its own. nginx sends the objects from tmpfs by sendfile. Large files go to a disk, of which the
page cache takes them, and small ones to tmpfs, so neither a disk nor the network bounds a run. The figures of a large
file on tmpfs are shown too: a write costs more there, because tmpfs takes and clears one page at a time. cosxfer
compares the CRC64 of the whole object; the bare loops compare nothing. CPU is user and system time of the client's
process, from after its imports to its end. The bare loop of plain HTTP is one connection, `recv_into` 256 KiB and
`pwrite`. That of TLS is `SSLSocket.recv_into` alone and writes nothing; a second loop writes blocks of 256 KiB, to show
what the file costs. boto3, s5cmd and rclone are processes of their own, of which the start counts too (0.05 to 0.4 s);
``bench/clients/install.sh`` installs them. What is not installed is left out.

The memory is that of one download of 20 GiB of zeros to a disk: the most resident memory of the client's process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _report
from _source import Source, source

from cosxfer.benchmark.usage import Meter

MIB = 1 << 20
BUCKET = "examplebucket-1250000000"
LARGE_BYTES = 2048 * MIB
SMALL_BYTES = 16 << 10
SMALL_OBJECTS = 10_000
MEMORY_BYTES = 20 << 30
INSTALLED = Path(__file__).parents[1] / "build" / "clients"
THREADS = 16
"""Of the clients that need threads for many objects."""

Order = dict[str, Any]
Work = Callable[[], object]


def main() -> None:
    parser = _report.arguments((__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="large, tls, small or memory")
    parser.add_argument("--worker", help=_report.argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(json.loads(options.worker))
        return
    rounds = 3 if options.quick else 5
    size, count = (LARGE_BYTES // 8, SMALL_OBJECTS // 10) if options.quick else (LARGE_BYTES, SMALL_OBJECTS)
    figures: list[_report.Figure] = []
    if options.only in (None, "memory"):
        figures += memory(MEMORY_BYTES // 20 if options.quick else MEMORY_BYTES)
    if options.only != "memory":
        figures += compared(size, count, rounds, options.only)
    _report.publish(figures, as_json=options.json, note=__doc__ or "")


def compared(size: int, count: int, rounds: int, only: str | None) -> list[_report.Figure]:
    """Measure the downloads that are compared with those of others."""
    figures: list[_report.Figure] = []
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        crc64 = make_objects(folder / "objects" / BUCKET, size, count)
        with source(folder, folder / "objects", crc64) as at:
            runs = {"large": large, "tls": tls, "small": small}
            for which, measure in runs.items():
                if only in (None, which):
                    figures += measure(at, folder, size if which != "small" else count, rounds)
    return figures


def make_objects(folder: Path, size: int, count: int) -> dict[str, int]:
    """Write one large object, and many small ones with the same content; returns the CRC64 by path."""
    from cosxfer._native import hashing

    folder.mkdir(parents=True)
    block, crc64 = os.urandom(64 * MIB), 0
    with (folder / "large").open("wb") as file:
        for at in range(0, size, len(block)):
            piece = block[: size - at]
            file.write(piece)
            crc64 = hashing.crc64(piece, crc64)
    for number in range(count):
        (folder / f"small-{number}").write_bytes(block[:SMALL_BYTES])
    return {f"/{BUCKET}/large": crc64, f"~^/{BUCKET}/small-": hashing.crc64(block[:SMALL_BYTES])}


# -- what is measured --------------------------------------------------------------------------------------------------


def run(client: str, at: Source, folder: Path, **more: Any) -> dict[str, Any]:
    """Run one client in a process of its own."""
    order = {"client": client, "http1": at.http1, "tls": at.tls, "ca": str(at.ca_file), "folder": str(folder), **more}
    command = [sys.executable, __file__, "--worker", json.dumps(order)]
    state = folder / "state"  # a new journal: a run leaves nothing to the user's own one, and finds nothing in it
    target = folder / "target"
    target.mkdir()
    try:
        environment = {**os.environ, "COSXFER_STATE_DIR": str(state)}
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment)
        return dict(json.loads(done.stdout.splitlines()[-1]))
    finally:
        subprocess.run(["rm", "-rf", str(target), str(state)], check=True)


def measured(clients: list[str], at: Source, folder: Path, amount: int, rounds: int, **more: Any) -> _report.Rounds:
    def side(client: str) -> Callable[[], float]:
        return lambda: amount / run(client, at, folder, amount=amount, **more)["cpu_seconds"]

    present = [client for client in clients if installed(client)]
    return _report.interleave({client: side(client) for client in present}, rounds)


def large(at: Source, folder: Path, size: int, rounds: int) -> list[_report.Figure]:
    """One large object over plain HTTP/1.1."""
    clients = ["cosxfer", "bare loop", "cos-python-sdk-v5", "obstore", "boto3", "s5cmd", "rclone"]
    with tempfile.TemporaryDirectory() as disk:
        values = measured(clients, at, Path(disk), size, rounds)
    figures = [_report.ratio("file, HTTP/1.1 / recv_into + pwrite", *two(values, "bare loop"), must=0.6, aim=0.8)]
    peers = [client for client in values if client not in ("cosxfer", "bare loop")]
    if peers:
        best = [max(values[client][n] for client in peers) for n in range(rounds)]
        figures.append(_report.ratio("file, HTTP/1.1 / best peer", values["cosxfer"], best, must=1.3, aim=2.0))
    figures += [_report.ratio(f"file, HTTP/1.1 / {client}", *two(values, client)) for client in peers]
    figures += absolutes("file, HTTP/1.1", values, MIB, "MiB/cpu-s")
    values = measured(["cosxfer", "bare loop", "obstore"], at, folder, size, rounds)
    others = [client for client in values if client != "cosxfer"]
    figures += [_report.ratio(f"file on tmpfs, HTTP/1.1 / {client}", *two(values, client)) for client in others]
    return figures + absolutes("file on tmpfs, HTTP/1.1", values, MIB, "MiB/cpu-s")


def tls(at: Source, _: Path, size: int, rounds: int) -> list[_report.Figure]:
    """One large object over TLS."""
    with tempfile.TemporaryDirectory() as disk:
        clients = ["cosxfer", "bare loop", "bare loop into a file"]
        values = measured(clients, at, Path(disk), size, rounds, secure=True)
    figures = [_report.ratio("file, TLS / SSLSocket.recv_into", *two(values, "bare loop"), must=0.8, aim=0.95)]
    figures.append(_report.ratio("file, TLS / recv_into + pwrite", *two(values, "bare loop into a file")))
    return figures + absolutes("file, TLS", values, MIB, "MiB/cpu-s")


def small(at: Source, folder: Path, count: int, rounds: int) -> list[_report.Figure]:
    """Many objects of 16 KiB."""
    values = measured(["cosxfer many", "obstore many", "cos-python-sdk-v5 many"], at, folder, count, rounds)
    bounds = {"obstore many": (1.0, 2.0), "cos-python-sdk-v5 many": (6.0, 12.0)}
    figures = [
        _report.ratio(f"16 KiB files / {client.removesuffix(' many')}", *two(values, client), must=must, aim=aim)
        for client, (must, aim) in bounds.items()
        if client in values
    ]
    return figures + absolutes("16 KiB files", values, 1, "1/cpu-s")


def memory(size: int) -> list[_report.Figure]:
    """One download to a disk."""
    from cosxfer._native import hashing

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "objects" / BUCKET / "large"
        path.parent.mkdir(parents=True)
        block, crc64 = bytes(64 * MIB), 0
        with path.open("wb") as file:
            file.truncate(size)
        for first in range(0, size, len(block)):
            crc64 = hashing.crc64(block[: size - first], crc64)
        with source(folder, folder / "objects", {f"/{BUCKET}/large": crc64}) as at:
            peak = run("cosxfer", at, folder, amount=size)["peak_bytes"]
    if peak is None:
        return []  # this system does not tell it
    name = f"memory of a download of {size >> 30} GiB"
    return [_report.absolute(name, [peak / MIB], "MiB", must=150.0, aim=100.0, better="lower")]


def two(values: _report.Rounds, other: str) -> tuple[list[float], list[float]]:
    return values["cosxfer" if "cosxfer" in values else "cosxfer many"], values[other]


def absolutes(name: str, values: _report.Rounds, unit: int, text: str) -> list[_report.Figure]:
    return [_report.absolute(f"{name}: {client}", [v / unit for v in found], text) for client, found in values.items()]


# -- one run -----------------------------------------------------------------------------------------------------------


def work(order: Order) -> None:
    """Download, and print what that took: seconds, CPU seconds, and the peak of memory if the system tells it."""
    fetch = CLIENTS[order["client"]][1](order)
    meter = Meter()
    fetch()
    usage = asdict(meter.read())
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    usage["cpu_seconds"] += children.ru_utime + children.ru_stime
    print(json.dumps(usage), flush=True)
    os._exit(0)


def target(order: Order, name: str = "large") -> Path:
    return Path(order["folder"], "target", name)


def client_of(order: Order) -> Any:
    import cosxfer
    import cosxfer.tasks.downloads  # as the first download would

    scheme, port = ("https", order["tls"]) if order.get("secure") else ("http", order["http1"])
    return cosxfer.Client(
        endpoint=f"{scheme}://127.0.0.1:{port}/{{bucket}}",
        secret_id="id",
        secret_key="key",
        verify=order["ca"] if order.get("secure") else True,
        endpoint_memory=False,
    )


def ours(order: Order) -> Work:
    client = client_of(order)

    def fetch() -> None:
        assert client.download_file(BUCKET, "large", target(order)).verified_by == "crc64"

    return fetch


def ours_many(order: Order) -> Work:
    client = client_of(order)
    files = [
        {"bucket": BUCKET, "key": f"small-{n}", "path": target(order, f"small-{n}")} for n in range(order["amount"])
    ]

    def fetch() -> None:
        for result in client.download_files(files):
            assert result.result is not None
            assert result.result.verified

    return fetch


def bare(order: Order) -> Work:
    sock: socket.socket = socket.create_connection(("127.0.0.1", order["tls" if order.get("secure") else "http1"]))
    if order.get("secure"):
        sock = ssl.create_default_context(cafile=order["ca"]).wrap_socket(sock, server_hostname="127.0.0.1")
    block = memoryview(bytearray(256 << 10))

    def fetch() -> None:
        sock.sendall(f"GET /{BUCKET}/large HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        left, at = order["amount"], 0
        fd = os.open(target(order), os.O_CREAT | os.O_WRONLY)
        whole = order["client"] == "bare loop into a file"  # a read returns one record
        while left:
            count = sock.recv_into(block)
            while whole and count < min(len(block), left):
                count += sock.recv_into(block[count:])
            if whole or not order.get("secure"):
                os.pwrite(fd, block[:count], at)
            at += count
            left -= count

    return fetch


def sdk(order: Order) -> Any:
    import logging

    from qcloud_cos import CosConfig, CosS3Client

    logging.disable(logging.CRITICAL)
    config = CosConfig(
        Region="ap-guangzhou",
        SecretId="id",
        SecretKey="key",
        Scheme="http",
        Domain=f"127.0.0.1:{order['http1']}/{BUCKET}",
    )
    return CosS3Client(config)


def sdk_large(order: Order) -> Work:
    client = sdk(order)
    return lambda: client.download_file(
        Bucket=BUCKET, Key="large", DestFilePath=str(target(order)), MAXThread=5, EnableCRC=True
    )


def sdk_many(order: Order) -> Work:
    client = sdk(order)

    def fetch(number: int) -> None:
        response = client.get_object(Bucket=BUCKET, Key=f"small-{number}")
        response["Body"].get_stream_to_file(str(target(order, f"small-{number}")))

    return lambda: in_threads(fetch, order["amount"])


def obstore_store(order: Order) -> Any:
    from obstore.store import HTTPStore

    return HTTPStore.from_url(f"http://127.0.0.1:{order['http1']}/{BUCKET}", client_options={"allow_http": True})


def obstore_large(order: Order) -> Work:
    import obstore

    store = obstore_store(order)

    def fetch() -> None:
        with target(order).open("wb", buffering=0) as file:
            for piece in obstore.get(store, "large").stream(min_chunk_size=1 * MIB):
                file.write(piece)

    return fetch


def obstore_many(order: Order) -> Work:
    import obstore

    store = obstore_store(order)

    def fetch(number: int) -> None:
        target(order, f"small-{number}").write_bytes(obstore.get(store, f"small-{number}").bytes())

    return lambda: in_threads(fetch, order["amount"])


def tool(order: Order, words: list[str], **environment: str) -> Work:
    """A program that downloads the large object, in a process of its own."""
    folder = target(order).parent
    common = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_REGION": "ap-guangzhou",
        "AWS_EC2_METADATA_DISABLED": "true",
    }

    def fetch() -> None:
        subprocess.run(words, env=common | environment, check=True, stdout=subprocess.DEVNULL)
        assert target(order).stat().st_size == order["amount"]

    return fetch


def boto3_large(order: Order) -> Work:
    script = (
        "import sys, boto3; from botocore.config import Config; "
        "s3 = boto3.client('s3', endpoint_url=sys.argv[1], config=Config(s3={'addressing_style': 'path'})); "
        f"s3.download_file({BUCKET!r}, 'large', sys.argv[2])"
    )
    return tool(order, [str(CLIENTS["boto3"][0]), "-c", script, url(order), str(target(order))])


def s5cmd_large(order: Order) -> Work:
    words = [str(CLIENTS["s5cmd"][0]), "--endpoint-url", url(order), "cp", f"s3://{BUCKET}/large", str(target(order))]
    return tool(order, words)


def rclone_large(order: Order) -> Work:
    remote = {"TYPE": "s3", "PROVIDER": "Other", "ENV_AUTH": "true", "ENDPOINT": url(order), "FORCE_PATH_STYLE": "true"}
    environment = {f"RCLONE_CONFIG_REMOTE_{name}": value for name, value in remote.items()}
    words = [str(CLIENTS["rclone"][0]), "copyto", f"remote:{BUCKET}/large", str(target(order))]
    return tool(order, words, **environment)


def url(order: Order) -> str:
    return f"http://127.0.0.1:{order['http1']}"


def in_threads(fetch: Callable[[int], None], count: int) -> None:
    numbers = iter(range(count))

    def some() -> None:
        for number in numbers:
            fetch(number)

    threads = [threading.Thread(target=some) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


CLIENTS: dict[str, tuple[str | Path, Callable[[Order], Work]]] = {
    "cosxfer": ("cosxfer", ours),
    "cosxfer many": ("cosxfer", ours_many),
    "bare loop": ("socket", bare),
    "bare loop into a file": ("socket", bare),
    "cos-python-sdk-v5": ("qcloud_cos", sdk_large),
    "cos-python-sdk-v5 many": ("qcloud_cos", sdk_many),
    "obstore": ("obstore", obstore_large),
    "obstore many": ("obstore", obstore_many),
    "boto3": (INSTALLED / "boto3" / "bin" / "python", boto3_large),
    "s5cmd": (INSTALLED / "s5cmd" / "bin" / "s5cmd", s5cmd_large),
    "rclone": (INSTALLED / "rclone" / "bin" / "rclone", rclone_large),
}
"""What it needs, a module or a program, and its work."""


def installed(client: str) -> bool:
    needs = CLIENTS[client][0]
    return needs.exists() if isinstance(needs, Path) else importlib.util.find_spec(needs) is not None


if __name__ == "__main__":
    main()
