"""Runs one scenario of `survival.py` and judges it: the object, the error, the time, and what is left on the server.

The judge asks the server past the proxy, with another HTTP client (the standard library's).
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import logging
import os
import random
import re
import signal
import ssl
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock
from xml.etree import ElementTree as ET

from _chaos import ProxyThread, Trouble
from _scenario import ATTEMPTS, RETRY_FOR_SECONDS, STALL_SECONDS, Scenario

import cosxfer
from cosxfer._native import hashing
from cosxfer.cos.sign import authorization
from cosxfer.credentials import Credentials
from cosxfer.engine.multipart import part_sender
from cosxfer.engine.multipart.completion import Completion
from cosxfer.server import RunningServer, ServerOptions, ServerStartError

KEYS = Credentials(secret_id="AKIDsurvival", secret_key="survival")
LEFT_BEHIND = ("could not be aborted", "kept on the server")
ENDED = ("success", "error", "canceled")
FROM_FILES = ("file", "slice", "batch", "directory")
"""Operations that go on after a restart of the client."""

Content = bytes | None
"""What an object holds; None: there is none."""


@dataclass(kw_only=True)
class Outcome:
    """What became of a scenario. Every list must be empty, and ``again`` must be 0."""

    number: int
    operation: str
    done: bool = False
    error: str = ""
    wrong: list[str] = field(default_factory=list)
    """Objects that were reported done and are not the source."""
    torn: list[str] = field(default_factory=list)
    """Objects of failed calls that are neither the old nor the new one."""
    hangs: list[str] = field(default_factory=list)
    unreported: list[str] = field(default_factory=list)
    """Uploads on the server that no message names."""
    unexpected: list[str] = field(default_factory=list)
    """Errors that no fault of the scenario explains."""
    again: int = 0
    """Parts, and files of a directory, that were sent although the server had confirmed them, also by a client that
    has the journal of the one before."""
    reported: int = 0
    """Uploads on the server that a message names."""
    seconds: float = 0.0
    happened: dict[str, int] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        return not (self.wrong or self.torn or self.hangs or self.unreported or self.unexpected or self.again)


class Confirmed:
    """Counts parts that are sent although the server had confirmed them, for the whole process."""

    def __init__(self) -> None:
        self.again = 0
        self._parts: dict[tuple[str, int], str] = {}
        """Upload and number of each confirmed part; and the key, until the upload is complete."""
        self._before: set[tuple[str, int]] = set()
        """Key and number of each part that an earlier client has had confirmed."""

    def client_ends(self) -> None:
        """Another client goes on, with the same journal. In whatever upload: it must not send these parts again."""
        self._before.update((key, number) for (_, number), key in self._parts.items() if key)

    @contextmanager
    def watching(self) -> Iterator[None]:
        send, complete = part_sender.multipart_upload, Completion.run

        async def watched(session: Any, address: Any, *more: Any, upload_id: str, part_number: int, **rest: Any) -> Any:
            if (upload_id, part_number) in self._parts or (address.key, part_number) in self._before:
                self.again += 1
            result = await send(session, address, *more, upload_id=upload_id, part_number=part_number, **rest)
            self._parts[upload_id, part_number] = address.key
            return result

        async def completed(self_: Completion, parts: Any) -> Any:
            result = await complete(self_, parts)
            # The same call may send the whole object again now.
            self._before = {(key, number) for key, number in self._before if key != self_._address.key}
            self._parts.update({part: "" for part in self._parts if part[0] == self_._upload_id})
            return result

        with (
            mock.patch.object(part_sender, "multipart_upload", watched),
            mock.patch.object(Completion, "run", completed),
        ):
            yield


class Messages(logging.Handler):
    """Collects what the library logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())

    @contextmanager
    def listening(self) -> Iterator[None]:
        logger = logging.getLogger("cosxfer")
        logger.addHandler(self)
        propagates, logger.propagate = logger.propagate, False
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.propagate = propagates


class World:
    """The servers and the proxies of one process. Close it after use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.proxies = ProxyThread()
        self._servers: dict[bool, RunningServer] = {}

    def server(self, *, tls: bool) -> RunningServer:
        if tls not in self._servers:
            # Not a port that the system gives to others: while the server is down, any connection could get it.
            for port in random.sample(range(10_000, 30_000), 20):
                with suppress(ServerStartError):  # it is in use
                    self._start(tls, port)
                    break
            else:
                raise RuntimeError("no server could be started at any of 20 ports")
        return self._servers[tls]

    def restart(self, *, tls: bool, kill: bool) -> None:
        """End the server, gently or not, and start it again on its port and directory."""
        server = self._servers[tls]
        if kill:
            os.kill(server.pid, signal.SIGKILL)
        server.stop()
        self._start(tls, server.port)

    def _start(self, tls: bool, port: int) -> None:
        self._servers[tls] = RunningServer(
            ServerOptions(
                root=self.folder / f"server-{tls}",
                port=port,
                tls=tls,
                secret_id=KEYS.secret_id,
                secret_key=KEYS.secret_key,
            )
        )

    def close(self) -> None:
        for server in self._servers.values():
            server.stop()
        self.proxies.close()

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[World]:
        with tempfile.TemporaryDirectory(prefix="survival-") as folder:
            world = cls(Path(folder))
            try:
                yield world
            finally:
                world.close()


class Direct:
    """Asks a server past the proxy."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server

    def __call__(
        self, method: str, key: str = "", *, params: dict[str, str] | None = None, body: bytes = b""
    ) -> tuple[int, bytes]:
        server = self._server
        path = f"/{server.bucket}/{key}"
        headers = {"host": f"{server.host}:{server.port}", "content-length": str(len(body))}
        now = int(time.time())
        headers["authorization"] = authorization(
            KEYS,
            method=method,
            path=path,
            params=params or {},
            headers={"host": headers["host"]},
            key_time=f"{now - 60};{now + 600}",
        )
        query = "&".join(f"{name}={value}" for name, value in (params or {}).items())
        connection: http.client.HTTPConnection
        if server.ca_file is None:
            connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
        else:
            context = ssl.create_default_context(cafile=str(server.ca_file))
            connection = http.client.HTTPSConnection(server.host, server.port, timeout=30, context=context)
        try:
            connection.request(method, path + (f"?{query}" if query else ""), body=body, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def content(self, key: str) -> Content:
        status, body = self("GET", key)
        assert status in (200, 404), (status, body)
        return body if status == 200 else None

    def uploads(self) -> list[tuple[str, str]]:
        """Key and id of each multipart upload that is open."""
        status, body = self("GET", params={"uploads": ""})
        assert status == 200, body
        found = ET.fromstring(body).iterfind(".//Upload")
        return [(upload.findtext("Key", ""), upload.findtext("UploadId", "")) for upload in found]


class Run:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, world: World, confirmed: Confirmed) -> None:
        self._scenario = scenario
        self._world = world
        self._confirmed = confirmed
        self._tls = scenario.protocol.startswith("tls")
        self._prefix = f"s{scenario.seed}-{scenario.number}"
        self.outcome = Outcome(number=scenario.number, operation=scenario.operation)
        self._rng = random.Random(f"data {scenario.seed}/{scenario.number}")
        self._messages = Messages()
        self._events: asyncio.Queue[str] = asyncio.Queue()
        self._sources: dict[str, Path] = {}
        """Key and file."""
        self._new: dict[str, list[bytes]] = {}
        """What each object may be after success; the last one is that of now."""
        self._old: dict[str, Content] = {}
        self._results: dict[str, Any] = {}
        self._failed: dict[str, BaseException] = {}
        self._pieces: list[list[bytes]] = []
        """The pieces of an append: what each was and is."""
        self._files = ExitStack()
        self._journal = Path()
        self._kept = {"abort_on_failure": False} if "new_client" in scenario.events else {}
        """A client that ends leaves its parts to the next one, as an interrupted command does."""
        self._finished: dict[str, Any] = {}
        """Key and result of each file of a directory that has ended."""
        self._sent_before: set[str] = set()
        """Keys of a directory that an earlier client has sent, and the next one must not."""
        self._stacks = ""
        """Where the tasks were when the time was over."""

    @property
    def _direct(self) -> Direct:
        return Direct(self._world.server(tls=self._tls))

    async def __call__(self) -> Outcome:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(dir=self._world.folder) as folder, self._files:
            server = self._world.server(tls=self._tls)
            self._journal = Path(folder, "journal")
            await asyncio.to_thread(self._prepare, Path(folder, "source"))
            server.set_faults([self._rule(rule) for rule in self._scenario.rules])
            loop = asyncio.get_running_loop()
            events = iter(self._scenario.events)

            def on_event(_: Trouble) -> None:
                loop.call_soon_threadsafe(self._events.put_nowait, next(events))

            with (
                self._world.proxies.proxy(server.port, self._scenario.troubles, on_event=on_event) as proxy,
                self._messages.listening(),
            ):
                again = self._confirmed.again
                try:
                    async with asyncio.timeout(self._scenario.budget_seconds):
                        await self._perform(proxy.port)
                except TimeoutError:
                    self.outcome.hangs.append(f"not ended in {self._scenario.budget_seconds:g} s\n{self._stacks}")
                self.outcome.again += self._confirmed.again - again
            self._world.server(tls=self._tls).set_faults([])
            self._count(proxy.happened)
            await asyncio.to_thread(self._judge)
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    def _rule(self, rule: dict[str, Any]) -> dict[str, Any]:
        # The key of a form is in its body, which the server reads later.
        return rule if rule["operation"] == "post_object" else {"key": f"{self._prefix}*", **rule}

    # -- before ------------------------------------------------------------------------------------------------------

    def _prepare(self, folder: Path) -> None:
        scenario = self._scenario
        folder.mkdir()
        pieces = [self._rng.randbytes(size) for size in scenario.sizes]
        if scenario.operation == "append":
            self._pieces = [[piece] for piece in pieces]
            self._new[self._prefix] = self._wholes()
            self._old[self._prefix] = None
        for index, piece in enumerate(pieces):
            key = self._prefix if len(pieces) == 1 or scenario.operation == "append" else f"{self._prefix}/{index}"
            path = folder / f"{index}"
            path.write_bytes(piece)
            # A file that was written to within the last 10 ms is read late.
            os.utime(path, (1e9, 1e9))
            self._sources[f"{index}"] = path
            if scenario.operation == "append":
                continue
            self._new[key] = [piece]
            self._old[key] = None
            if scenario.replaces:
                self._old[key] = b"old " * 1000
                assert self._direct("PUT", key, body=b"old " * 1000)[0] == 200

    def _client(self, port: int) -> cosxfer.AsyncClient:
        scenario = self._scenario
        server = self._world.server(tls=self._tls)
        for_good = any(trouble.for_good for trouble in scenario.troubles)
        return cosxfer.AsyncClient(
            endpoint=f"{'https' if self._tls else 'http'}://127.0.0.1:{port}/{{bucket}}",
            credentials=KEYS,
            http_version="2" if scenario.protocol in ("h2c", "tls2") else "1.1",
            verify=str(server.ca_file) if server.ca_file else True,
            transport=scenario.transport,  # type: ignore[arg-type]
            part_size=scenario.part_bytes,
            concurrency=scenario.concurrency,
            max_attempts=3 if for_good else ATTEMPTS,
            retry_for_seconds=0 if for_good else RETRY_FOR_SECONDS,
            connect_timeout_seconds=3.0,
            stall_timeout_seconds=STALL_SECONDS,
            complete_timeout_seconds=STALL_SECONDS,
            endpoint_memory=False,
            journal=self._journal,
        )

    # -- the work ----------------------------------------------------------------------------------------------------

    async def _perform(self, port: int) -> None:
        """Run the operation; what the hosts do meanwhile is done here."""
        client = self._client(port)
        work = asyncio.ensure_future(self._operate(client))
        waiting: asyncio.Future[str] = asyncio.ensure_future(self._events.get())
        try:
            while not work.done():
                await asyncio.wait([work, waiting], return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done() or work.done():
                    continue
                event = waiting.result()
                waiting = asyncio.ensure_future(self._events.get())
                if event == "new_client":
                    work.cancel()
                    await asyncio.wait([work])
                    self._note(work)
                    await client.aclose()
                    self._client_ends()
                    client = self._client(port)
                    work = asyncio.ensure_future(self._operate(client))
                elif event == "pause":
                    await self._pause(client)
                elif event == "change_source":
                    await asyncio.to_thread(self._change_source)
                else:
                    kill = event == "kill_server"
                    await asyncio.to_thread(self._world.restart, tls=self._tls, kill=kill)
        finally:
            waiting.cancel()
            if not work.done():
                self._stacks = "".join(_stack(task) for task in asyncio.all_tasks())
                work.cancel()
            await client.aclose()
        self._note(work)

    def _client_ends(self) -> None:
        """Note what the next client need not send."""
        if self._scenario.operation in FROM_FILES:
            self._confirmed.client_ends()
        # Once all files are done, the next call sends all again.
        if len(self._finished) < len(self._new) or not all(self._finished.values()):
            self._sent_before = {
                key for key, result in self._finished.items() if result is not None and result.verified_by == "crc64"
            }

    async def _pause(self, client: cosxfer.AsyncClient) -> None:
        running = [info.task_id for info in client.get_task_list() if info.state not in ENDED]
        paused = []
        for task_id in running:
            with suppress(cosxfer.UsageError):  # its body can be read once
                if await client.pause_task(task_id):
                    paused.append(task_id)
        await asyncio.sleep(0.02)
        for task_id in paused:
            await client.restart_task(task_id)

    def _change_source(self) -> None:
        """Rewrite the largest file in place, cut it, or replace it."""
        key, path = max(self._sources.items(), key=lambda item: item[1].stat().st_size)
        size = path.stat().st_size
        how = self._rng.choice(("rewrite", "cut", "grow", "replace"))
        other = self._rng.randbytes({"cut": size // 2, "grow": size + 5000}.get(how, size))
        if how == "replace":
            new = path.with_suffix(".new")
            new.write_bytes(other)
            new.replace(path)
        else:
            with path.open("r+b") as file:
                file.write(other)
                file.truncate(len(other))
        if self._scenario.operation == "append":
            self._pieces[int(key)].append(other)
            self._new[self._prefix] = self._wholes()
            return
        name = self._prefix if len(self._scenario.sizes) == 1 else f"{self._prefix}/{key}"
        self._new[name].append(other)

    def _wholes(self, count: int | None = None) -> list[bytes]:
        """What the first ``count`` appends, or all, may have made."""
        return [b"".join(pieces) for pieces in itertools.product(*self._pieces[:count])]

    def _note(self, work: asyncio.Future[None]) -> None:
        """Keep what the end of ``work`` reports."""
        if not work.done():
            return
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        if error is not None:
            if not isinstance(error, asyncio.CancelledError):
                self._failed[self._prefix] = error
            self._messages.texts += _texts(error)

    async def _operate(self, client: cosxfer.AsyncClient) -> None:
        scenario, key = self._scenario, self._prefix
        bucket = self._world.server(tls=self._tls).bucket
        self._results.clear()
        self._failed.clear()
        if scenario.operation == "put":
            length = scenario.sizes[0] if scenario.body == "pieces" else None
            body = await self._body("0")
            self._results[key] = await client.put_object(bucket, key, body, content_length=length)
        elif scenario.operation == "form":
            self._results[key] = await client.post_object(bucket, key, await self._body("0"), filename="f")
        elif scenario.operation == "stream":
            self._results[key] = await client.upload_stream(
                bucket, key, await self._body("0"), part_size=scenario.part_bytes
            )
        elif scenario.operation == "file":
            self._results[key] = await client.upload_file(bucket, key, self._sources["0"], **self._kept)
        elif scenario.operation == "slice":
            self._results[key] = await client.slice_upload_file(bucket, key, self._sources["0"], **self._kept)
        elif scenario.operation == "append":
            await self._append(client, bucket, key)
        else:
            await self._many(client, bucket)

    async def _append(self, client: cosxfer.AsyncClient, bucket: str, key: str) -> None:
        # A client that starts anew asks where the object ends.
        found = await asyncio.to_thread(self._direct.content, key)
        position = len(found or b"")
        bounds = {len(whole): count for count in range(len(self._pieces) + 1) for whole in self._wholes(count)}
        if position not in bounds:
            self.outcome.torn.append(f"{key} ends at {position}, inside a piece")
            return
        for index in range(bounds[position], len(self._sources)):
            result = await client.append_object(bucket, key, await self._body(f"{index}"), position=position)
            position = result.next_append_position
            self._results[key] = result

    async def _many(self, client: cosxfer.AsyncClient, bucket: str) -> None:
        if self._scenario.operation == "batch":
            names = [f"{self._prefix}/{name}" for name in self._sources]
            files = [
                {"bucket": bucket, "key": key, "path": path, **self._kept}
                for key, path in zip(names, self._sources.values(), strict=True)
            ]
            results = await client.upload_files(files)  # type: ignore[arg-type]
        else:
            folder = next(iter(self._sources.values())).parent
            results = await client.upload_directory(
                bucket,
                self._prefix,
                folder,
                on_file_finish=lambda _, result, options: self._finished.update({str(options["key"]): result}),
                **self._kept,
            )
        for result in results:
            key = str(result.options["key"])
            if result.error is None:
                self._results[key] = result.result
                if key in self._sent_before and result.result.resumed_bytes < result.result.size:
                    self.outcome.again += 1
            else:
                self._failed[key] = result.error
                self._messages.texts += _texts(result.error)

    async def _body(self, name: str) -> Any:
        path = self._sources[name]
        body = self._scenario.body
        if body == "path":
            return path
        if body == "file":
            return self._files.enter_context(await asyncio.to_thread(path.open, "rb"))
        content = await asyncio.to_thread(path.read_bytes)
        return content if body == "bytes" else _pieces(content)

    # -- after -------------------------------------------------------------------------------------------------------

    def _count(self, happened: list[Trouble]) -> None:
        names = Counter(f"{trouble.kind} {trouble.way}" for trouble in happened if trouble.kind != "event")
        names.update(self._scenario.events[: sum(trouble.kind == "event" for trouble in happened)])
        self.outcome.happened = dict(names)

    def _judge(self) -> None:
        direct = self._direct
        for request in self._world.server(tls=self._tls).requests(clear=True):
            if request["fault"]:
                name = f"server {request['fault']} at {request['operation']}"
                self.outcome.happened[name] = self.outcome.happened.get(name, 0) + 1
        for key in self._new:
            self._judge_object(direct, key)
        self._judge_uploads(direct)
        for key in self._new:
            direct("DELETE", key)
        self.outcome.done = not self._failed and not self.outcome.hangs
        errors = [_told(error) for error in self._failed.values()]
        self.outcome.error = "; ".join(errors)
        for error in self._failed.values():
            kinds = {kind.__name__ for kind in type(error).__mro__}
            if not kinds & set(self._scenario.allowed):
                self.outcome.unexpected.append(_told(error))

    def _judge_object(self, direct: Direct, key: str) -> None:
        found = direct.content(key)
        versions, result = self._new[key], self._results.get(key)
        error = self._failed.get(key) or self._failed.get(self._prefix)
        if error is None and self.outcome.hangs:
            return
        if error is not None:
            if self._scenario.operation == "append":
                versions = [whole for count in range(len(self._pieces)) for whole in self._wholes(count + 1)]
            # A body that can be read once has no digest before its end: the server stores it, and the client compares.
            # If the response is damaged too, the error says that the object may be there.
            told = isinstance(error, cosxfer.IntegrityError) or "may have stored it" in _told(error)
            sent_blindly = self._scenario.body == "pieces" and told
            if found != self._old[key] and found not in versions and not sent_blindly:
                self.outcome.torn.append(f"{key}: {_size(found)}, after {_told(error)}")
            return
        if found not in versions:
            self.outcome.wrong.append(f"{key}: {_size(found)}, not {' or '.join(_size(v) for v in versions)}")
        elif result is not None and getattr(result, "crc64", None) not in (None, hashing.crc64(found)):
            self.outcome.wrong.append(f"{key}: the result has the CRC64 {result.crc64}")

    def _judge_uploads(self, direct: Direct) -> None:
        # "stays for restart_task, until the client is closed" is no report: the client is closed now.
        told = "\n".join(text for text in self._messages.texts if any(words in text for words in LEFT_BEHIND))
        # The id of an upload whose response to Initiate was lost is unknown. Such a message names its key.
        unnamed = Counter[str]()
        for text in self._messages.texts:
            if "may stay on the server" in text or "may have begun" in text:
                unnamed.update(key for key in self._new if re.search(rf"{re.escape(key)}(?![0-9])", text))
        for key, upload_id in direct.uploads():
            if upload_id in told:
                self.outcome.reported += 1
            elif unnamed[key] > 0:
                unnamed[key] -= 1
                self.outcome.reported += 1
            else:
                self.outcome.unreported.append(f"{key}: {upload_id}")
            direct("DELETE", key, params={"uploadId": upload_id})


def _size(content: Content) -> str:
    return "no object" if content is None else f"{len(content)} bytes {hashing.crc64(content):x}"


def _texts(error: BaseException) -> list[str]:
    """The message, notes and upload id of an error, as one text per message."""
    notes = getattr(error, "__notes__", [])
    return [" ".join([str(error), *notes, getattr(error, "upload_id", "")])]


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error} {' '.join(getattr(error, '__notes__', []))}".strip()


def _stack(task: asyncio.Task[Any]) -> str:
    frames = "".join("".join(traceback.format_stack(frame)) for frame in task.get_stack())
    return f"{task.get_name()}\n{frames}"


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(content), 100_000):
        yield content[begin : begin + 100_000]


async def run_scenario(scenario: Scenario, world: World, confirmed: Confirmed) -> Outcome:
    """Run a scenario and judge it. A fault of the harness is reported as an unexpected error."""
    run = Run(scenario, world, confirmed)
    try:
        return await run()
    except Exception:
        run.outcome.unexpected.append(traceback.format_exc())
        return run.outcome


def play(scenario: Scenario, world: World, confirmed: Confirmed | None = None) -> Outcome:
    """Run one scenario in an event loop of its own."""
    confirmed = confirmed or Confirmed()
    with confirmed.watching():
        return asyncio.run(run_scenario(scenario, world, confirmed))
