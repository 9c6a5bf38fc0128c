"""Runs one scenario of `_moves.py` and judges it: files and objects, the error, the time, and what is left behind.

No file or object under a final name may be anything but the old one or one whole version of its source. A temporary
file may stay only if a message names it. A range that the journal has must not be fetched again by the next client,
unless its bytes were damaged on the disk.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import resource
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import _survive
from _chaos import Trouble
from _moves import DISK_BYTES, FROM_OBJECTS, SYNCS, TO_FILES, MoveScenario
from _survive import ENDED, KEYS, LEFT_BEHIND, Content, Direct, Messages, Outcome, World

import cosxfer
from cosxfer._native import hashing
from cosxfer.engine.download import download_file
from cosxfer.engine.download.download_file import DownloadJob
from cosxfer.engine.download.state import DownloadState

OLD = b"old " * 1000
OLD_SECONDS = 1_000_000_000.0
"""The time of files: before that of every object, or after it where a sync has to send them."""
TEMPORARY = ".cosxfer-part"


class Fetched:
    """Counts ranges that are fetched although a client has had them, for the whole process."""

    def __init__(self) -> None:
        self.again = 0
        self._had: set[tuple[str, str, int]] = set()

    def forget(self, key: str = "") -> None:
        """What was received of an object does not count any more."""
        self._had = {each for each in self._had if key and each[0] != key}

    @contextmanager
    def watching(self) -> Iterator[None]:
        get, complete = download_file.get_range, DownloadState.complete
        abort, commit = DownloadJob.abort, DownloadJob._commit
        had = self

        async def watched(session: Any, address: Any, sink: Any, **more: Any) -> Any:
            if (address.key, sink.etag, sink.first) in had._had:
                had.again += 1
            return await get(session, address, sink, **more)

        def completed(state: DownloadState, part: Any) -> None:
            complete(state, part)
            if state.entry is not None:
                wanted = state.entry.download.wanted
                had._had.add((wanted.key, state.version.etag, part.offset))

        async def aborted(job: DownloadJob) -> Any:
            had.forget(job.address.key)
            return await abort(job)

        def committed(job: DownloadJob, *arguments: Any) -> Any:
            had.forget(job.address.key)
            return commit(job, *arguments)

        with (
            mock.patch.object(download_file, "get_range", watched),
            mock.patch.object(DownloadState, "complete", completed),
            mock.patch.object(DownloadJob, "abort", aborted),
            mock.patch.object(DownloadJob, "_commit", committed),
        ):
            yield


class MoveRun:
    """One run of a scenario."""

    def __init__(self, scenario: MoveScenario, world: World, fetched: Fetched) -> None:
        self._scenario = scenario
        self._world = world
        self._fetched = fetched
        self._tls = scenario.protocol.startswith("tls")
        self._prefix = f"m{scenario.seed}-{scenario.number}"
        self.outcome = Outcome(number=scenario.number, operation=scenario.operation)
        self._rng = random.Random(f"move data {scenario.seed}/{scenario.number}")
        self._messages = Messages()
        self._events: asyncio.Queue[str] = asyncio.Queue()
        self._versions: dict[str, list[bytes]] = {}
        """What each source is and was, by its name; the last one is that of now."""
        self._failed: dict[str, BaseException] = {}
        self._crc64s: dict[str, int] = {}
        self._folder = Path()
        self._stacks = ""

    @property
    def _direct(self) -> Direct:
        return Direct(self._world.server(tls=self._tls))

    @property
    def _to(self) -> Path:
        return self._folder / "to"

    async def __call__(self) -> Outcome:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(dir=self._world.folder) as folder:
            self._folder = Path(folder)
            server = self._world.server(tls=self._tls)
            await asyncio.to_thread(self._prepare)
            server.set_faults([{"key": f"{self._prefix}*", **rule} for rule in self._scenario.rules])
            loop = asyncio.get_running_loop()
            events = iter(self._scenario.events)

            def on_event(_: Trouble) -> None:
                loop.call_soon_threadsafe(self._events.put_nowait, next(events))

            with (
                self._world.proxies.proxy(server.port, self._scenario.troubles, on_event=on_event) as proxy,
                self._messages.listening(),
                _disk_of(DISK_BYTES if self._scenario.full_disk else None),
            ):
                again = self._fetched.again
                try:
                    async with asyncio.timeout(self._scenario.budget_seconds):
                        await self._perform(proxy.port)
                except TimeoutError:
                    self.outcome.hangs.append(f"not ended in {self._scenario.budget_seconds:g} s\n{self._stacks}")
                self.outcome.again += self._fetched.again - again
                self._fetched.forget()
            self._world.server(tls=self._tls).set_faults([])
            self._count(proxy.happened)
            await asyncio.to_thread(self._judge)
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    # -- before ------------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        scenario, direct = self._scenario, self._direct
        for name in ("from", "to"):
            (self._folder / name).mkdir()
        for index, size in enumerate(scenario.sizes):
            name, content = f"{index}", self._rng.randbytes(size)
            self._versions[name] = [content]
            if scenario.operation in FROM_OBJECTS:
                self._put(direct, f"{self._prefix}/from/{name}", content)
            else:
                (self._folder / "from" / name).write_bytes(content)
            if not scenario.replaces:
                continue
            if scenario.operation in TO_FILES:
                (self._to / name).write_bytes(OLD)
                os.utime(self._to / name, (OLD_SECONDS, OLD_SECONDS))
            else:
                self._put(direct, f"{self._prefix}/to/{name}", OLD)

    def _put(self, direct: Direct, key: str, content: bytes) -> None:
        assert direct("PUT", key, body=content)[0] == 200

    def _client(self, port: int) -> cosxfer.AsyncClient:
        scenario = self._scenario
        server = self._world.server(tls=self._tls)
        for_good = any(trouble.for_good for trouble in scenario.troubles)
        return cosxfer.AsyncClient(
            endpoint=f"{'https' if self._tls else 'http'}://127.0.0.1:{port}/{{bucket}}",
            region="ap-guangzhou",
            credentials=KEYS,
            http_version="2" if scenario.protocol in ("h2c", "tls2") else "1.1",
            verify=str(server.ca_file) if server.ca_file else True,
            transport=scenario.transport,  # type: ignore[arg-type]
            part_size=scenario.part_bytes,
            concurrency=scenario.concurrency,
            max_attempts=3 if for_good else _survive.ATTEMPTS,
            retry_for_seconds=0 if for_good else _survive.RETRY_FOR_SECONDS,
            connect_timeout_seconds=3.0,
            stall_timeout_seconds=_survive.STALL_SECONDS,
            complete_timeout_seconds=_survive.STALL_SECONDS,
            endpoint_memory=False,
            journal=self._folder / "journal" if scenario.journal else None,
        )

    # -- the work ----------------------------------------------------------------------------------------------------

    async def _perform(self, port: int) -> None:
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
                if event in ("new_client", "damage", "remove_temporary"):
                    work.cancel()
                    await asyncio.wait([work])
                    self._note(work)
                    await client.aclose()
                    if event != "new_client":
                        await asyncio.to_thread(self._damage, event)
                    client = self._client(port)
                    work = asyncio.ensure_future(self._operate(client))
                elif event == "pause":
                    await self._pause(client)
                elif event == "replace_source":
                    await asyncio.to_thread(self._replace_source)
                else:
                    kill = event == "kill_server"
                    await asyncio.to_thread(self._world.restart, tls=self._tls, kill=kill)
        finally:
            waiting.cancel()
            if not work.done():
                self._stacks = "".join(_survive._stack(task) for task in asyncio.all_tasks())
                work.cancel()
            await client.aclose()
        self._note(work)

    async def _pause(self, client: cosxfer.AsyncClient) -> None:
        running = [info.task_id for info in client.get_task_list() if info.state not in ENDED]
        paused = []
        for task_id in running:
            with suppress(cosxfer.UsageError):
                if await client.pause_task(task_id):
                    paused.append(task_id)
        await asyncio.sleep(0.02)
        for task_id in paused:
            await client.restart_task(task_id)

    def _damage(self, event: str) -> None:
        """Flip a bit of each temporary file, as a disk does after a power failure, or remove it."""
        self._fetched.forget()
        for path in self._to.glob(f".*{TEMPORARY}*"):
            if event == "remove_temporary":
                path.unlink()
            elif size := path.stat().st_size:
                with path.open("r+b") as file:
                    at = self._rng.randrange(size)
                    file.seek(at)
                    old = file.read(1)[0]
                    file.seek(at)
                    file.write(bytes([old ^ 1 << self._rng.randrange(8)]))

    def _replace_source(self) -> None:
        """Store another object over the largest one."""
        name = max(self._versions, key=lambda each: len(self._versions[each][0]))
        size = len(self._versions[name][0])
        other = self._rng.randbytes(self._rng.choice((size, size // 2, size + 5000)))
        self._versions[name].append(other)
        self._put(self._direct, f"{self._prefix}/from/{name}", other)

    def _note(self, work: asyncio.Future[None]) -> None:
        if not work.done():
            return
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        if error is not None:
            if not isinstance(error, asyncio.CancelledError):
                self._failed[""] = error
            self._messages.texts += _survive._texts(error)

    async def _operate(self, client: cosxfer.AsyncClient) -> None:
        operation = self._scenario.operation
        bucket = self._world.server(tls=self._tls).bucket
        self._failed.clear()
        self._crc64s.clear()
        here, there = f"{self._prefix}/from", f"{self._prefix}/to"
        if operation == "download":
            self._note_result("0", await client.download_file(bucket, f"{here}/0", self._to / "0"))
        elif operation == "batch":
            files: Any = [
                {"bucket": bucket, "key": f"{here}/{name}", "path": self._to / name} for name in self._versions
            ]
            for outcome in await client.download_files(files):
                name = str(outcome.options["key"]).rpartition("/")[2]
                if outcome.error is None:
                    self._note_result(name, outcome.result)
                else:
                    self._note_error(name, outcome.error)
        elif operation == "copy":
            source = cosxfer.CopySource(bucket=bucket, key=f"{here}/0")
            size = self._scenario.part_bytes
            self._note_result("0", await client.copy(bucket, f"{there}/0", source, slice_size=size, part_size=size))
        else:
            await self._sync(client, bucket, here, there)

    async def _sync(self, client: cosxfer.AsyncClient, bucket: str, here: str, there: str) -> None:
        folders = {
            "sync_up": (self._folder / "from", f"cos://{bucket}/{there}"),
            "sync_down": (f"cos://{bucket}/{here}", self._to),
            "sync_across": (f"cos://{bucket}/{here}", f"cos://{bucket}/{there}"),
        }
        source, target = folders[self._scenario.operation]
        result = await client.sync(source, target)
        for failure in result.failures:
            assert failure.error is not None
            self._note_error(failure.key, failure.error)

    def _note_result(self, name: str, result: Any) -> None:
        if result.crc64 is not None:
            self._crc64s[name] = result.crc64

    def _note_error(self, name: str, error: Exception) -> None:
        self._failed[name] = error
        self._messages.texts += _survive._texts(error)

    # -- after -------------------------------------------------------------------------------------------------------

    def _count(self, happened: list[Trouble]) -> None:
        names = Counter(f"{trouble.kind} {trouble.way}" for trouble in happened if trouble.kind != "event")
        names.update(self._scenario.events[: sum(trouble.kind == "event" for trouble in happened)])
        names.update(["full disk"] * self._scenario.full_disk)
        self.outcome.happened = dict(names)

    def _judge(self) -> None:
        direct = self._direct
        for request in self._world.server(tls=self._tls).requests(clear=True):
            if request["fault"]:
                name = f"server {request['fault']} at {request['operation']}"
                self.outcome.happened[name] = self.outcome.happened.get(name, 0) + 1
        for name in self._versions:
            self._judge_target(direct, name)
        self._judge_left(direct)
        for side in ("from", "to"):
            for name in self._versions:
                direct("DELETE", f"{self._prefix}/{side}/{name}")
        self.outcome.done = not self._failed and not self.outcome.hangs
        self.outcome.error = "; ".join(map(_survive._told, self._failed.values()))
        for error in self._failed.values():
            kinds = {kind.__name__ for kind in type(error).__mro__}
            if not kinds & set(self._scenario.allowed):
                self.outcome.unexpected.append(_survive._told(error))

    def _found(self, direct: Direct, name: str) -> Content:
        if self._scenario.operation not in TO_FILES:
            return direct.content(f"{self._prefix}/to/{name}")
        path = self._to / name
        return path.read_bytes() if path.exists() else None

    def _judge_target(self, direct: Direct, name: str) -> None:
        found, versions = self._found(direct, name), self._versions[name]
        old: Content = OLD if self._scenario.replaces else None
        error = self._failed.get(name) or self._failed.get("")
        if self._scenario.operation in SYNCS and error is None:
            # A failure of a listing names no key of an object, and the others are left alone.
            error = next((each for key, each in self._failed.items() if key not in self._versions), None)
        if error is not None or self.outcome.hangs:
            if found != old and found not in versions:
                why = "a hang" if error is None else _survive._told(error)
                self.outcome.torn.append(f"{name}: {_survive._size(found)}, after {why}")
        elif found not in versions:
            wanted = " or ".join(map(_survive._size, versions))
            self.outcome.wrong.append(f"{name}: {_survive._size(found)}, not {wanted}")
        elif name in self._crc64s and self._crc64s[name] != hashing.crc64(found or b""):
            self.outcome.wrong.append(f"{name}: the result has the CRC64 {self._crc64s[name]}")

    def _judge_left(self, direct: Direct) -> None:
        told = "\n".join(self._messages.texts)
        for path in sorted(self._folder.rglob("*")):
            if TEMPORARY not in path.name:
                continue
            if str(path) in told and self._failed:
                self.outcome.reported += 1
            else:
                self.outcome.unreported.append(str(path.name))
        told = "\n".join(text for text in self._messages.texts if any(words in text for words in LEFT_BEHIND))
        unnamed = Counter[str]()
        for text in self._messages.texts:
            if "may stay on the server" in text or "may have begun" in text:
                unnamed.update(name for name in self._versions if re.search(rf"/to/{name}(?![0-9])", text))
        for key, upload_id in direct.uploads():
            if upload_id in told:
                self.outcome.reported += 1
            elif unnamed[name := key.rpartition("/")[2]] > 0:
                unnamed[name] -= 1
                self.outcome.reported += 1
            else:
                self.outcome.unreported.append(f"{key}: {upload_id}")
            direct("DELETE", key, params={"uploadId": upload_id})


@contextmanager
def _disk_of(size: int | None) -> Iterator[None]:
    """Let no file of this process grow beyond ``size`` bytes."""
    if size is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def run_move(scenario: MoveScenario, world: World, fetched: Fetched) -> Outcome:
    """Run a scenario and judge it. A fault of the harness is reported as an unexpected error."""
    run = MoveRun(scenario, world, fetched)
    try:
        return await run()
    except Exception:
        run.outcome.unexpected.append(traceback.format_exc())
        return run.outcome


def play_move(scenario: MoveScenario, world: World) -> Outcome:
    """Run one scenario in an event loop of its own."""
    fetched = Fetched()
    with fetched.watching():
        return asyncio.run(run_move(scenario, world, fetched))
