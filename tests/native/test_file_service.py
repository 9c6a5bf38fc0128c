"""The native threads that read and identify files: their results, and how they start and end."""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cosxfer import _native
from cosxfer._native import hashing, slicing
from tests.native.blocking_digest import digest_that_calls
from tests.native.native_threads import blocked_signals, descriptors, native_threads
from tests.native.reference import noise
from tests.waiting import PATIENCE_SECONDS, until

ROOT = Path(__file__).parents[2]
DIGEST_ABOVE = 1000
LONG = DIGEST_ABOVE + 1
MAX_BYTES = 100_000

Service = Any  # the class is generic only in the stub, and missing without native code

pytestmark = pytest.mark.skipif(_native.FileService is None, reason="the native file service is not built")


@pytest.fixture
def service() -> Iterator[Service]:
    service = made()
    yield service
    service.close()


def made(digest: object = None) -> Service:
    return _native.FileService(digest or hashing.digest_function, DIGEST_ABOVE)


def outcomes(service: Service, count: int, *, most: int = 8) -> dict[Any, Any]:
    """Wait for the descriptor and collect outcomes until there are ``count``."""
    found: dict[Any, Any] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found) < count:
        assert select.select([service], [], [], max(0, deadline - time.monotonic()))[0], f"{len(found)} of {count}"
        found.update(service.collect(most))
    return found


def read(service: Service, path: Path | str, max_bytes: int = MAX_BYTES) -> Any:
    service.read(os.fsencode(path), max_bytes, 0.0, "it")
    return outcomes(service, 1)["it"]


def identify(service: Service, path: Path | str) -> Any:
    service.identify(os.fsencode(path), 0.0, "it")
    return outcomes(service, 1)["it"]


def identity_of(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def test_a_quiet_service_is_woken_once_for_all_that_waits(service: Service, tmp_path: Path) -> None:
    identify(service, tmp_path)  # now there is a thread
    service.quiet = True
    time.sleep(0.1)  # it sleeps
    for number in range(3):
        service.identify(os.fsencode(tmp_path), 0.0, number)
    service.announce()
    assert set(outcomes(service, 3)) == {0, 1, 2}
    service.close()
    service.announce()  # does nothing


# -- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, DIGEST_ABOVE, DIGEST_ABOVE + 1, 16384, 16385, MAX_BYTES])
def test_it_returns_content_identity_and_digest(service: Service, tmp_path: Path, size: int) -> None:
    path = tmp_path / "f é"
    path.write_bytes(noise(size))
    content, identity, folder, digest = read(service, path, size)
    assert (content, identity, folder) == (noise(size), identity_of(path), None)
    expected = hashing.hash_parts([noise(size)])[0]
    assert digest == ((expected.md5, expected.crc64) if size > DIGEST_ABOVE else None)
    assert identify(service, path) == identity_of(path)


def test_a_relative_path_comes_with_the_working_directory(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    monkeypatch.chdir(tmp_path)
    assert read(service, "f")[2] == str(tmp_path)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert read(service, "../f") is None


def test_it_refuses_the_same_files_as_read_small(service: Service, tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"abcd")
    (tmp_path / "empty").touch()
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "itself").symlink_to("itself")
    os.mkfifo(tmp_path / "pipe")
    names = [f"{tmp_path}/{name}" for name in ("long", "empty", "nowhere", "itself", "pipe", "missing", "", "f" * 300)]
    names += ["/dev/zero", "/proc/sys/kernel/hostname", "/sys/kernel/mm/transparent_hugepage/enabled"]
    names += [f"{tmp_path}/{'./' * 3000}long"]
    for name in names:
        assert slicing.read_small(name, 3) is None
        assert read(service, name, 3) is None, name


def test_it_reports_why_a_path_cannot_be_identified(service: Service, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    (tmp_path / "itself").symlink_to("itself")
    assert identify(service, tmp_path / "missing") == errno.ENOENT
    assert identify(service, tmp_path / "f" / "g") == errno.ENOTDIR
    assert identify(service, tmp_path / "itself") == errno.ELOOP
    assert identify(service, f"{tmp_path}/{'./' * 3000}f") == errno.ENAMETOOLONG
    assert identify(service, "") == errno.ENOENT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_files_that_the_current_user_may_not_read_are_refused(tmp_path: Path) -> None:
    program = """
import os, select, sys
from cosxfer import _native
service = _native.FileService(_native.hashing.digest_function, 1000)
service.identify(b"/", 0.0, "start a thread as root")
select.select([service], [], []); service.collect(8)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for call in (lambda: service.read(b"locked/f", 9, 0.0, 1), lambda: service.identify(b"locked/f", 0.0, 1),
             lambda: service.read(b"secret", 9, 0.0, 1), lambda: service.identify(b"secret", 0.0, 1)):
    call()
    select.select([service], [], [])
    print([outcome for _, outcome in service.collect(8)][0])
"""
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / "f").write_bytes(b"abc")
    (tmp_path / "locked").chmod(0o700)
    secret = tmp_path / "secret"
    secret.write_bytes(b"abc")
    secret.chmod(0o600)
    tmp_path.chmod(0o755)  # the paths are relative to the working directory
    done = run(program, cwd=tmp_path)
    assert done.stdout.splitlines() == ["None", str(errno.EACCES), "None", str(identity_of(secret))], done.stderr


def test_a_file_that_grows_is_read_whole_or_refused(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x")
    ends = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            while not ends.is_set() and file.tell() < MAX_BYTES:
                file.write(b"x")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(500):
            found = read(service, path)
            if found is not None:
                assert found[0] == b"x" * found[1][2]
    finally:
        ends.set()
        writer.join()


def test_thousands_of_files_come_back_once_each(service: Service, tmp_path: Path) -> None:
    count = 5000
    for number in range(0, count, 2):
        (tmp_path / str(number)).write_bytes(noise(number + 1))
    folder = os.fsencode(tmp_path)
    service.set_width(8)
    found: dict[Any, Any] = {}
    for number in range(count):
        service.read(b"%b/%d" % (folder, number), MAX_BYTES, 0.0, ("read", number))
        service.identify(b"%b/%d" % (folder, number), 0.0, ("identify", number))
        if number % 100 == 0:
            found.update(service.collect(30))
    found.update(outcomes(service, 2 * count - len(found), most=100))
    assert len(found) == 2 * count
    assert service.pending == 0
    for number in range(count):
        if number % 2:
            assert found["read", number] is None
            assert found["identify", number] == errno.ENOENT
        else:
            assert found["read", number][0] == noise(number + 1)
            assert found["identify", number] == found["read", number][1]
    assert not select.select([service], [], [], 0)[0]


def test_the_descriptor_stays_readable_until_all_are_collected(service: Service) -> None:
    for number in range(10):
        service.identify(b"/", 0.0, number)
    until(lambda: service.done == 10)
    for left in (7, 4, 1):
        assert select.select([service], [], [], 0)[0]
        assert len(service.collect(3)) == 3
        assert service.done == left
    assert select.select([service], [], [], 0)[0]
    assert len(service.collect(3)) == 1
    assert not select.select([service], [], [], 0)[0]
    assert service.collect(3) == []


def test_wrong_arguments_are_refused(service: Service) -> None:
    with pytest.raises(ValueError, match="null byte"):
        service.read(b"a\0b", 1, 0.0, None)
    with pytest.raises(ValueError, match="null byte"):
        service.identify(b"a\0b", 0.0, None)
    with pytest.raises(ValueError, match="max_bytes"):
        service.read(b"a", 0, 0.0, None)
    with pytest.raises(ValueError, match="width"):
        service.set_width(0)
    with pytest.raises(ValueError, match="PyCapsule"):
        _native.FileService(object(), 1)
    with pytest.raises(TypeError):
        service.read("a", 1, 0.0, None)
    assert (service.pending, service.threads) == (0, 0)


# -- threads ----------------------------------------------------------------------------------------------------------


class Gate:
    """Blocks the native threads that read a file of `LONG` bytes."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.opened = threading.Event()
        self.digest = digest_that_calls(self._wait)

    def _wait(self) -> None:
        self.inside.release()
        self.opened.wait(PATIENCE_SECONDS)

    def reached(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.inside.acquire(timeout=PATIENCE_SECONDS)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


@pytest.fixture
def long(tmp_path: Path) -> bytes:
    path = tmp_path / "long"
    path.write_bytes(noise(LONG))
    return os.fsencode(path)


def test_more_threads_start_while_one_is_blocked(gate: Gate, long: bytes) -> None:
    service = made(gate.digest)
    service.read(long, MAX_BYTES, 1.0, "held")
    gate.reached()
    assert service.oldest() is None
    service.identify(b"/", 2.0, "second")
    service.identify(b"/", 3.0, "third")
    assert (service.threads, service.oldest(), service.done) == (1, 2.0, 0)
    service.set_width(2)
    assert set(outcomes(service, 2)) == {"second", "third"}
    assert (service.threads, service.pending) == (2, 1)
    service.set_width(1)
    gate.opened.set()
    assert outcomes(service, 1)["held"][0] == noise(LONG)
    until(lambda: service.threads == 1)
    service.close()


def test_no_more_threads_are_started_than_requests_wait(gate: Gate, long: bytes) -> None:
    service = made(gate.digest)
    service.set_width(32)
    assert service.threads == 0
    for number in range(3):
        service.read(long, MAX_BYTES, 0.0, number)
    assert service.threads == 1
    gate.reached()
    service.set_width(32)
    gate.reached(2)
    assert service.threads == 3
    gate.opened.set()
    outcomes(service, 3)
    # From here on all threads are used.
    gate.opened.clear()
    for number in range(3):
        service.read(long, MAX_BYTES, 0.0, number)
    gate.reached(3)
    gate.opened.set()
    outcomes(service, 3)
    service.close()


def test_closing_drops_waiting_requests_and_ends_the_threads(gate: Gate, long: bytes) -> None:
    threads, open_before = native_threads(), descriptors()
    service = made(gate.digest)
    service.read(long, MAX_BYTES, 0.0, "held")
    gate.reached()
    for number in range(100):
        service.identify(b"/", 0.0, number)
    service.close()
    service.close()
    assert (service.closed, service.pending) == (True, 0)
    for call in (service.fileno, service.oldest, lambda: service.collect(1), lambda: service.read(b"/", 1, 0.0, 1)):
        with pytest.raises(ValueError, match="closed"):
            call()
    until(lambda: descriptors() <= open_before)
    gate.opened.set()
    until(lambda: native_threads() <= threads)


def test_an_unreferenced_service_ends_its_threads_and_frees_the_owners(long: bytes) -> None:
    class Owner:
        pass

    threads, open_before = native_threads(), descriptors()
    ended = threading.Semaphore(0)
    for _ in range(20):
        service = made()
        owner = Owner()
        owner.service = service  # type: ignore[attr-defined]  # a circle
        finalizer = weakref.finalize(owner, ended.release)
        finalizer.atexit = False
        for _ in range(10):
            service.read(long, MAX_BYTES, 0.0, owner)
        del service, owner
    gc.collect()
    for _ in range(20):
        assert ended.acquire(timeout=PATIENCE_SECONDS)
    until(lambda: native_threads() <= threads and descriptors() <= open_before)


def test_closing_at_any_moment_neither_hangs_nor_leaks(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(noise(500))
    threads, open_before = native_threads(), descriptors()
    for round_ in range(300):
        service = made()
        service.set_width(1 + round_ % 4)
        for number in range(round_ % 20):
            service.read(os.fsencode(path), MAX_BYTES, 0.0, number)
        service.set_width(1 + round_ % 4)
        if round_ % 3 == 0:
            service.collect(4)
        service.close()
    until(lambda: native_threads() <= threads)
    until(lambda: descriptors() <= open_before)  # threads of earlier tests may have had files open then


def test_its_threads_take_no_signals(service: Service) -> None:
    identify(service, "/")
    blocked = blocked_signals()[0]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGPIPE, signal.SIGCHLD):
        assert blocked >> (number - 1) & 1
    for number in (signal.SIGSEGV, signal.SIGBUS):
        assert not blocked >> (number - 1) & 1


# -- processes --------------------------------------------------------------------------------------------------------


def run(program: str, *, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-X", "faulthandler", "-c", program]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=60)


HELD = """
import os, select, sys, threading
from cosxfer import _native
from tests.native.blocking_digest import digest_that_calls
inside = threading.Event()
def held():
    inside.set()
    threading.Event().wait()
service = _native.FileService(digest_that_calls(held), 0)
service.read(os.fsencode(__import__("cosxfer").__file__), 1 << 20, 0.0, None)
inside.wait()
for _ in range(10):
    service.identify(b"/", 0.0, None)
"""


@pytest.mark.parametrize("end", ["", "del service", "service.close()", "raise SystemExit", "os._exit(0)"])
def test_the_interpreter_exits_while_a_thread_is_blocked(end: str) -> None:
    done = run(HELD + end)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "rest", ["pass", "service.set_width(4)", "select.select([service], [], []); service.collect(8)"]
)
def test_the_interpreter_exits_while_threads_work(rest: str) -> None:
    program = f"""
import os, select
from cosxfer import _native
service = _native.FileService(_native.hashing.digest_function, 0)
for number in range(2000):
    service.read(os.fsencode(_native.__file__), 1 << 20, 0.0, number)
{rest}
"""
    for _ in range(5):
        done = run(program)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_creates_its_own_service_and_does_not_affect_the_parents() -> None:
    program = (
        HELD
        + """
child = os.fork()
if not child:
    service.close()
    own = _native.FileService(_native.hashing.digest_function, 0)
    own.read(os.fsencode(_native.__file__), 1 << 20, 0.0, "own")
    select.select([own], [], [])
    [(owner, outcome)] = own.collect(8)
    os._exit(0 if owner == "own" and outcome is not None else 1)
assert os.waitpid(child, 0)[1] == 0
service.set_width(2)
done = []
while len(done) < 10:
    select.select([service], [], [])
    done += service.collect(20)
print(len(done), service.pending)
"""
    )
    done = run(program)
    assert done.stdout == "10 1\n", done.stderr
