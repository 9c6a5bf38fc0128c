"""Sends requests to the server's applications in this process, in the way of granian or of a raw connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h11

from cosxfer.credentials import Credentials
from cosxfer.server.app import Application
from cosxfer.server.discard import DiscardApplication
from cosxfer.server.http1 import speak_http1, spell
from cosxfer.server.store import Store

BUCKET = "examplebucket-1250000000"
KEYS = Credentials(secret_id="AKIDexample", secret_key="key")
NOW = 1_700_000_000.0


class Server:
    """All applications, on a store with an object, an appendable object and an upload with one part."""

    def __init__(self, root: Path) -> None:
        self.runner = asyncio.Runner()
        self.executor = ThreadPoolExecutor(2)
        self.store = Store(root, executor=self.executor, clock=lambda: NOW)
        self.store.add_bucket(BUCKET)
        made: dict[str, Any] = {"store": self.store, "executor": self.executor, "region": "r", "clock": lambda: NOW}
        self.apps = {
            "anonymous": Application(credentials=(KEYS,), allow_anonymous=True, **made),
            "signed": Application(credentials=(KEYS,), **made),
            "discard": DiscardApplication(host="127.0.0.1"),
        }
        self.faults: list[str] = []
        self.fill()

    def fill(self) -> None:
        self.ask("anonymous", "PUT", b"/object", body=b"content")
        self.ask("anonymous", "POST", b"/appended", b"append&position=0", body=b"content")
        response = self.ask("anonymous", "POST", b"/upload", b"uploads")[1]
        self.upload_id = response.partition(b"<UploadId>")[2].partition(b"<")[0]
        self.ask("anonymous", "PUT", b"/upload", b"partNumber=1&uploadId=" + self.upload_id, body=b"content")

    def ask(
        self,
        app: str,
        method: str,
        path: bytes,
        query: bytes = b"",
        headers: list[tuple[bytes, bytes]] | None = None,
        body: bytes = b"",
        version: str = "2.0",
    ) -> tuple[int, bytes]:
        """Send a request, check that HTTP can carry the response, and return it."""
        sent: list[Mapping[str, Any]] = []
        pieces = [body[len(body) // 2 :], body[: len(body) // 2]]

        async def receive() -> dict[str, Any]:
            if not pieces:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": pieces.pop(), "more_body": bool(pieces)}

        async def send(message: Mapping[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": version,
            "method": method,
            "scheme": "https",
            "path": path.decode("utf-8", "replace"),
            "raw_path": path,
            "query_string": query,
            "headers": headers if headers is not None else [(b"host", b"localhost")],
            "client": ("127.0.0.1", 1),
        }
        self.runner.run(self.apps[app](scope, receive, send))
        if not sent:
            return 0, b""
        h11.Response(status_code=sent[0]["status"], headers=[(spell(n), v) for n, v in sent[0]["headers"]])
        return sent[0]["status"], b"".join(message["body"] for message in sent[1:])

    def talk(self, app: str, data: bytes) -> bytes:
        """Return what the server sends on a connection that carries ``data`` and then closes."""
        writer = Writer()

        async def main() -> None:
            reader = asyncio.StreamReader()
            reader.feed_data(data)
            reader.feed_eof()
            await speak_http1(self.apps[app], reader, writer, client=("127.0.0.1", 1), scheme="http")  # type: ignore[arg-type]

        self.runner.run(main())
        return bytes(writer.said)

    def close(self) -> None:
        self.store.close()
        self.executor.shutdown()
        self.runner.close()


class Writer:
    """Collects what the server sends on a connection."""

    def __init__(self) -> None:
        self.said = bytearray()
        self.transport = self

    def write(self, data: bytes) -> None:
        self.said += data

    def get_write_buffer_size(self) -> int:
        return 0

    async def drain(self) -> None:
        pass

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass
