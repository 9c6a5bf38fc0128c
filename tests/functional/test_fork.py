"""A client created in a forked child does not wait for import locks that the parent's threads held at the fork."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = r"""
import importlib.util, os, sys, threading
import cosxfer
from tests.functional.peer_fork import serve_ok

port = serve_ok()
settings = dict(endpoint=f"http://localhost:{port}", secret_id="id", secret_key="key", region="ap-guangzhou",
                transport=sys.argv[1], http_version="1.1", max_attempts=1)

# A first request in the parent imports everything that the client's loop needs.
parent = cosxfer.Client(**settings)
parent.head_object("examplebucket-1250000000", "k")

held, go_on = threading.Event(), threading.Event()

class Finder:
    # Holds the module's import lock during the fork. It blocks in exec_module, because a fork waits for find_spec.
    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name == "sniffio" else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        held.set()
        go_on.wait()
        raise ImportError("there is none")

sys.meta_path.insert(0, Finder())

def load():
    try:
        import sniffio
    except ImportError:
        held.set()  # the import failed at once: the module is already known to be missing

threading.Thread(target=load, daemon=True).start()
held.wait()
child = os.fork()
if not child:
    with cosxfer.Client(**settings) as client:
        client.head_object("examplebucket-1250000000", "k")
    os._exit(0)
pid, status = os.waitpid(child, 0)
go_on.set()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def run(program: str, *arguments: str) -> None:
    """Run a program, which must end well."""
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("transport", ["native", "httpx"])
def test_a_client_of_a_forked_child_works_if_a_thread_was_importing_at_the_fork(transport: str) -> None:
    run(PROGRAM, transport)


OPERATION = r"""
import importlib.abc, importlib.util, os, signal, sys, threading
import cosxfer
from tests.functional.peer_fork import serve_ok

port = serve_ok()
settings = dict(endpoint=f"http://127.0.0.1:{port}", secret_id="id", secret_key="key", region="ap-guangzhou",
                http_version="1.1", max_attempts=1)
NAME = "cosxfer.ops.head_bucket"  # it is imported by the first call
importing, go_on = threading.Event(), threading.Event()

class Slow(importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name == NAME:
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            self.load, spec.loader.exec_module = spec.loader.exec_module, self.exec_module
            return spec

    def exec_module(self, module):
        importing.set()
        go_on.wait()
        self.load(module)

parent = cosxfer.Client(**settings)
sys.meta_path.insert(0, Slow())
threading.Thread(target=parent.head_bucket, args=["examplebucket-1250000000"], daemon=True).start()
importing.wait()
threading.Timer(0.3, go_on.set).start()  # the fork waits until then
child = os.fork()
if not child:
    signal.alarm(20)  # ends it if it waits for ever
    with cosxfer.Client(**settings) as client:
        client.head_bucket("examplebucket-1250000000")
    os._exit(0)
pid, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_waits_for_the_import_of_an_operation() -> None:
    run(OPERATION)
