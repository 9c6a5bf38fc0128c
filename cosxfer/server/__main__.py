"""The child process of `cosxfer.server.process`: ``python -m cosxfer.server FD``. Only `running` starts it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from dataclasses import fields
from typing import Any

from cosxfer.credentials import Credentials
from cosxfer.errors import UsageError
from cosxfer.server.app import Application
from cosxfer.server.faults import parse_faults
from cosxfer.server.options import ServerOptions, ServerStartError, credentials_of
from cosxfer.server.run import Ready, run

_PARENT_CHECK_SECONDS = 1.0


def main() -> int:
    """Read the options from the control socket, serve, and stop when that socket ends."""
    control = socket.socket(fileno=int(sys.argv[1]))
    parent = os.getppid()
    try:
        with control.makefile("r", encoding="utf-8") as reader:
            settings = json.loads(reader.readline() or "null")
        if settings is None:
            return 0
        options = _options(settings)
        run(
            options,
            key=credentials_of(options),
            on_ready=lambda ready: _say(control, _described(ready)),
            control=lambda app, stop: asyncio.create_task(_obey(control, parent, app, stop)),
        )
    except (ServerStartError, UsageError) as error:
        _say(control, {"error": str(error)})
        return 1
    return 0


def _options(settings: dict[str, Any]) -> ServerOptions:
    settings["more_credentials"] = [Credentials(**key) for key in settings["more_credentials"]]
    return ServerOptions(**{field.name: settings[field.name] for field in fields(ServerOptions)})


def _described(ready: Ready) -> dict[str, Any]:
    ca_file = None if ready.certificate is None else str(ready.certificate.ca_file)
    return {"port": ready.port, "url": ready.url, "ca_file": ca_file}


def _say(control: socket.socket, reply: dict[str, Any]) -> None:
    control.setblocking(True)
    control.sendall(json.dumps(reply).encode() + b"\n")


async def _obey(control: socket.socket, parent: int, app: Application | None, stop: asyncio.Event) -> None:
    """Execute the parent's commands. Stop when the parent closes the socket or ends."""
    watch = asyncio.create_task(_watch(parent, stop))
    reader, writer = await asyncio.open_connection(sock=control, limit=1 << 26)
    try:
        while line := await reader.readline():
            writer.write(json.dumps(_obeyed(app, json.loads(line))).encode() + b"\n")
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        watch.cancel()
        stop.set()


def _obeyed(app: Application | None, question: dict[str, Any]) -> dict[str, Any]:
    if app is None:
        return {"error": "a discarding server has no rules, no keys and no log"}
    match question["do"]:
        case "faults":
            app.set_faults(parse_faults(question["rules"]))
        case "credentials":
            app.set_credentials(tuple(Credentials(**key) for key in question["keys"]))
        case "requests":
            return {"requests": app.requests(clear=question["clear"])}
    return {}


async def _watch(parent: int, stop: asyncio.Event) -> None:
    """Stop when the parent ends. The socket is not enough: a process that the parent forked may hold it open."""
    while os.getppid() == parent:  # noqa: ASYNC110 (no event reports the end of a parent)
        await asyncio.sleep(_PARENT_CHECK_SECONDS)
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
