"""The second name of a bucket over real sockets and TLS. The resolver alone is replaced."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer

BUCKET = "examplebucket-1250000000"
REGION = "ap-guangzhou"
FIRST = f"{BUCKET}.cos.{REGION}.myqcloud.com"
SECOND = f"{BUCKET}.cos.{REGION}.tencentcos.cn"


class Name:
    """A host name whose server ends TLS and passes the bytes to the embedded server, until it is stopped."""

    def __init__(self, name: str, authority: trustme.CA, behind: int) -> None:
        self._behind = behind
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.set_alpn_protocols(["http/1.1"])
        authority.issue_cert(name).configure_cert(self._context)
        self._context.sni_callback = lambda _, asked, __: self.asked.append(asked or "")
        self.asked: list[str] = []
        """The names that the handshakes asked for."""
        self.stops_after: int | None = None
        """The bytes of requests after which it stops by itself."""
        self._passed = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on, and end those that there are."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self._behind)) as server:
            secure = self._context.wrap_socket(client, server_side=True)
            self._open += [secure, server]
            back = threading.Thread(target=_pass_on, args=(server, secure, lambda _: None), daemon=True)
            back.start()
            _pass_on(secure, server, self._count)
            back.join()
            secure.close()

    def _count(self, amount: int) -> None:
        self._passed += amount
        if self.stops_after is not None and self._passed > self.stops_after:
            self.stop()


def _pass_on(source: socket.socket, target: socket.socket, count: Callable[[int], None]) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := source.recv(1 << 16):
            count(len(data))
            target.sendall(data)
    for sock in (source, target):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def names(
    server: RunningServer, no_faults: None, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Name, Name]]:
    server.requests(clear=True)
    both = {name: Name(name, authority, server.port) for name in (FIRST, SECOND)}
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **settings: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        if text not in both:
            return real(host, port, *args, **settings)
        if settings.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not a literal address")
        assert port == 443
        return real("127.0.0.1", both[text].port, *args, **settings)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    yield both[FIRST], both[SECOND]
    for name in both.values():
        name.stop()


MakeClient = Callable[..., cosxfer.Client]


@pytest.fixture(params=["native", "httpx"])
def make(request: pytest.FixtureRequest, server: RunningServer, authority: trustme.CA) -> Iterator[MakeClient]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    clients: list[cosxfer.Client] = []

    def make(**settings: Any) -> cosxfer.Client:
        client = cosxfer.Client(
            region=REGION,
            credentials=server.credentials,
            verify=context,
            transport=request.param,
            max_attempts=2,
            journal=None,
            **settings,
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


def test_if_the_first_name_refuses_connections_the_second_one_gets_the_object_and_the_next_ones(
    names: tuple[Name, Name], make: MakeClient, server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = names
    first.stop()
    client = make()
    with caplog.at_level(logging.WARNING, "cosxfer"):
        assert client.put_object(BUCKET, "a", b"content").verified
        assert client.get_object(BUCKET, "a").body == b"content"
        client.put_object(BUCKET, "b", b"more")
    assert set(second.asked) == {SECOND}
    assert [record.levelname for record in caplog.records if "does not answer at" in record.message] == ["WARNING"]
    assert [(r["method"], r["status"]) for r in server.requests()] == [("PUT", 200), ("GET", 200), ("PUT", 200)]


def test_if_the_first_name_dies_during_an_upload_the_parts_continue_at_the_second_one(
    names: tuple[Name, Name], make: MakeClient, server: RunningServer, tmp_path: Path
) -> None:
    first, second = names
    content = os.urandom(8 * MIB + 12345)
    (tmp_path / "file").write_bytes(content)

    first.stops_after = 3 * MIB
    client = make(part_size=MIB, concurrency=2)
    result = client.upload_file(BUCKET, "file", tmp_path / "file")
    assert result.verified
    assert client.get_object(BUCKET, "file").body == content
    assert set(first.asked) == {FIRST}
    assert set(second.asked) == {SECOND}
    done = [r for r in server.requests() if r["status"] == 200]
    assert [r["operation"] for r in done].count("multipart_init") == 1, "the upload began anew"
    parts = [r["part"] for r in done if r["operation"] == "multipart_upload"]
    assert set(parts) == set(range(1, 10))
    assert len(parts) <= 9 + 2, "parts that were confirmed were sent again"


def test_if_the_first_name_works_the_second_one_gets_nothing(
    names: tuple[Name, Name], make: MakeClient, server: RunningServer
) -> None:
    server.set_faults([{"operation": "put_object", "do": "error", "status": 500, "code": "InternalError", "times": 1}])
    assert make().put_object(BUCKET, "c", b"content").verified
    assert names[1].asked == []


def test_without_switch_host_the_error_comes_from_the_first_name(names: tuple[Name, Name], make: MakeClient) -> None:
    names[0].stop()
    with pytest.raises(cosxfer.TransportError, match=FIRST):
        make(switch_host=False).put_object(BUCKET, "d", b"content")
    assert names[1].asked == []
