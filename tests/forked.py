"""Starts the command and the embedded server by a fork of a process that has imported them.

The tests start a thousand processes. These would spend most of their time on imports: 0.25 s for a server, 0.4 s for
the command. So each test process keeps one idle process that has the modules loaded, the nursery. A start of
``python -m cosxfer …`` or ``python -P -m cosxfer.server N`` becomes a fork of it. The result is a process of its own in
every other way: a child of the test process, with its own arguments, environment, streams, signals and exit code. Only
the end of all modules, which Python does last, is left out. All other starts are real, and so are those with another
value of a variable that acts at the start of Python, and those in `real_starts`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = str(Path(__file__).parents[1])

MODULES = [
    *(f"cosxfer.cli.{path.stem}" for path in sorted(Path(ROOT, "cosxfer", "cli").glob("[a-z]*.py"))),
    *("cosxfer.server", "cosxfer.server.front", "cosxfer.server.operations", "cosxfer.transport.native"),
    *("granian.server.embed", "logging.config", "rich.console", "rich.progress", "typer.main", "typer.rich_utils"),
    "typer._click.decorators",
]
"""What the command and the server import at any time."""

AT_START = re.compile(r"PYTHON|LC_|LANG|LD_|MALLOC_|TZ$|COSXFER_KERNEL$|\w*COLOR|TERMINAL_WIDTH$|_?TYPER_|GITHUB_")
"""Variables that Python or a module reads when it starts."""

PR_SET_CHILD_SUBREAPER = 36
FIRST_OTHER_DESCRIPTOR = 3

# -- in the test process --------------------------------------------------------------------------------------------


class Nursery:
    """The process that is forked, seen from the test process."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.environment = dict(os.environ)
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())], pass_fds=(theirs.fileno(),)
            )

    def fork(self, request: Mapping[str, object], descriptors: Sequence[int]) -> int:
        """Return the process id of a new child of this process, which is about to run the module."""
        import ctypes

        with self._lock:
            prctl = ctypes.CDLL(None).prctl
            # The nursery's child ends at once, and this process inherits its child.
            prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                socket.send_fds(self._control, [json.dumps(request).encode()], list(descriptors))
                reply = json.loads(self._control.recv(1 << 16) or "{}")
            finally:
                prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        if "errno" in reply:
            raise OSError(reply["errno"], os.strerror(reply["errno"]), reply["path"])
        if "pid" not in reply:
            raise RuntimeError(f"tests/forked.py has ended with {self._process.wait()}")
        return int(reply["pid"])

    def close(self) -> None:
        self._control.shutdown(socket.SHUT_RDWR)  # a forked child of a test may hold it open
        self._control.close()
        self._process.wait()


_nursery: Nursery | None = None
_real = 0
_execute = subprocess.Popen._execute_child  # type: ignore[attr-defined]


def install() -> None:
    """From now on, `subprocess.Popen` forks the nursery where it can."""
    global _nursery
    if _nursery is None and sys.platform == "linux":
        _nursery = Nursery()
        subprocess.Popen._execute_child = _start  # type: ignore[attr-defined]


def remove() -> None:
    global _nursery
    if _nursery is not None and _nursery.owner == os.getpid():
        subprocess.Popen._execute_child = _execute  # type: ignore[attr-defined]
        _nursery.close()
        _nursery = None


@contextmanager
def real_starts() -> Iterator[None]:
    """During the block, all processes start as they do without the tests."""
    global _real
    _real += 1
    try:
        yield
    finally:
        _real -= 1


def _start(process: Any, *given: Any) -> None:
    (args, executable, preexec_fn, close_fds, pass_fds, cwd, env, _, _, shell, p2cread, p2cwrite, c2pread, c2pwrite,
     errread, errwrite, restore_signals, gid, gids, uid, umask, start_new_session, process_group) = given  # fmt: skip
    rest = (executable, preexec_fn, shell, gid, gids, uid, not close_fds, not restore_signals)
    environment = dict(os.environ if env is None else env)
    words = [] if isinstance(args, (str, bytes, os.PathLike)) else [os.fsdecode(word) for word in args]
    module = _module(words)
    if (
        module is None
        or any(value not in (None, False) for value in rest)
        or umask >= 0
        or process_group >= 0
        or not _may_be_forked(environment)
    ):
        _execute(process, *given)
        return
    assert _nursery is not None
    descriptors = [p2cread, c2pwrite, errwrite]
    descriptors = [number if given == -1 else given for number, given in enumerate(descriptors)]
    request = {
        "parent": os.getpid(),
        "module": module,
        "safe_path": words[1] == "-P",
        "arguments": words[words.index(module) + 1 :],
        "environment": {os.fsdecode(name): os.fsdecode(value) for name, value in environment.items()},
        "folder": os.fsdecode(Path.cwd() if cwd is None else cwd),
        "descriptors": [0, 1, 2, *pass_fds],
        "umask": int(_status("Umask"), 8),
        "session": bool(start_new_session),
    }
    try:
        process.pid = _nursery.fork(request, [*descriptors, *pass_fds])
        process._child_created = True
    finally:
        process._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)


def _module(words: list[str]) -> str | None:
    """Return the module that a command runs, if it is one of ours."""
    if words[:3] == [sys.executable, "-m", "cosxfer"]:
        return "cosxfer"
    return "cosxfer.server" if words[:4] == [sys.executable, "-P", "-m", "cosxfer.server"] else None


def _may_be_forked(environment: Mapping[str, str]) -> bool:
    if _real or _nursery is None or _nursery.owner != os.getpid():
        return False
    started = _nursery.environment
    changed = {name for name in {*started, *environment} if started.get(name) != environment.get(name)}
    if environment.get("PYTHONPATH") in (None, ROOT):
        changed.discard("PYTHONPATH")
    if any(AT_START.match(os.fsdecode(name)) for name in changed):
        return False
    ignored = (signal.getsignal(number) is signal.SIG_IGN for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    return not any(ignored) and not signal.pthread_sigmask(signal.SIG_BLOCK, ())


def _status(name: str) -> str:
    return Path("/proc/self/status").read_text().partition(f"{name}:")[2].split()[0]


# -- in the nursery -------------------------------------------------------------------------------------------------


def _wait_for_requests(control: socket.socket) -> dict[str, Any] | None:
    """Return None if the tests have ended, or, in a new child, what it runs."""
    while True:
        try:
            data, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 64)
        except ConnectionError:
            return None
        if not data:
            return None
        between = os.fork()
        if between == 0:
            between = os.getpid()
            if os.fork():
                os._exit(0)
            request: dict[str, Any] = json.loads(data)
            _become(request, descriptors, control, between)
            return request
        os.waitpid(between, 0)
        for descriptor in descriptors:
            os.close(descriptor)


def _become(request: dict[str, Any], descriptors: list[int], control: socket.socket, between: int) -> None:
    """Make this process what a new interpreter would be."""
    while os.getppid() == between:
        time.sleep(0.0002)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        os.chdir(request["folder"])
    except OSError as error:
        control.send(json.dumps({"errno": error.errno, "path": request["folder"]}).encode())
        os._exit(255)
    if request["session"]:
        os.setsid()
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environment"])
    wanted = request["descriptors"]
    high = max([*wanted, *descriptors, control.fileno()]) + 1
    reply = os.dup2(control.fileno(), high, inheritable=False)
    for place, descriptor in enumerate(descriptors, high + 1):  # out of the way of each other
        os.dup2(descriptor, place)
    for place, number in enumerate(wanted, high + 1):
        os.dup2(place, number)
    control.detach()
    last = FIRST_OTHER_DESCRIPTOR
    for number in sorted({high, *wanted[3:]}):
        os.closerange(last, number)
        last = number + 1
    os.closerange(last, last + 4096)
    sys.stdin, sys.stdout, sys.stderr = (_stream(number) for number in range(3))
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    sys.argv = ["-m", *request["arguments"]]
    sys.path[:] = _path(request)
    os.write(reply, json.dumps({"pid": os.getpid()}).encode())
    os.close(reply)


def _path(request: dict[str, Any]) -> list[str]:
    here = [] if request["safe_path"] else [str(Path.cwd())]
    path = [place for place in sys.path if place != ROOT]
    return [*here, *filter(None, request["environment"].get("PYTHONPATH", "").split(os.pathsep)), *path, ROOT]


def _stream(number: int) -> io.TextIOWrapper:
    """Open a standard stream as Python does when it starts."""
    model = (sys.stdin, sys.stdout, sys.stderr)[number]
    buffer = open(number, "wb" if number else "rb", closefd=False)  # noqa: SIM115 # it stays open
    stream = io.TextIOWrapper(
        buffer,
        encoding=model.encoding,
        errors=model.errors,
        newline="\n",
        line_buffering=number == 2 or buffer.isatty(),
    )
    stream.mode = "w" if number else "r"  # type: ignore[misc]
    return stream


def _run(name: str) -> None:
    """Run a module. It ends without the end of the interpreter, which would copy the memory of the nursery.

    If the module ends by another exception, or its output cannot be written, the interpreter ends as it always does.
    """
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        if not isinstance(error.code, int | None):
            raise
        code = error.code or 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (OSError, ValueError):
        raise SystemExit(code) from None
    os._exit(code)


def _load() -> None:
    sys.path.append(ROOT)
    for name in MODULES:
        with suppress(ImportError):  # another version of a package
            importlib.import_module(name)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a module has started a thread, and a fork would lose it"
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as _control:
        _load()
        _request = _wait_for_requests(_control)
    if _request is not None:
        _name = _request["module"]
        del _control, _request
        _run(_name)
