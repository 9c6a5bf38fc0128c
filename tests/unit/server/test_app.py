"""The server's application, called as an ASGI server calls it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from cosxfer.server.app import Application
from cosxfer.server.store import Store

SCOPE = {
    "type": "http",
    "http_version": "1.1",
    "scheme": "http",
    "query_string": b"",
    "client": ("127.0.0.1", 1),
}


def test_a_request_is_in_the_log_before_its_response_is_sent(tmp_path: Path) -> None:
    seen: list[tuple[str, list[tuple[str, int, int]]]] = []

    async def main() -> None:
        with ThreadPoolExecutor(1) as executor, closing(Store(tmp_path, executor=executor)) as store:
            app = Application(store=store, executor=executor, credentials=(), region="region", allow_anonymous=True)

            async def ask(method: str, path: str, body: bytes) -> None:
                pieces = [body]

                async def receive() -> dict[str, Any]:
                    return {"type": "http.request", "body": pieces.pop(), "more_body": False}

                async def send(event: Mapping[str, Any]) -> None:
                    logged = [
                        (entry["method"], entry["status"], entry["received"]) for entry in app.requests(clear=False)
                    ]
                    seen.append((event["type"], logged))

                headers = [(b"host", b"127.0.0.1"), (b"content-length", b"%d" % len(body))]
                await app(
                    {**SCOPE, "method": method, "path": path, "raw_path": path.encode(), "headers": headers},
                    receive,
                    send,
                )

            await ask("PUT", "/bucket-1250000000", b"")
            app.requests(clear=True)
            seen.clear()
            await ask("PUT", "/bucket-1250000000/k", b"content")
            await ask("GET", "/bucket-1250000000/k", b"")
            assert len(app.requests(clear=True)) == 2

    asyncio.run(main())
    put, get = ("PUT", 200, 7), ("GET", 200, 0)
    assert [logged for kind, logged in seen if kind == "http.response.start"] == [[put], [put, get]]
