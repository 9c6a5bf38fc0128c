"""One caller at a time sends into an upload, in this process and in others of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest

from cosxfer.engine.multipart import in_use

OTHER = """
import sys
from cosxfer.engine.multipart import in_use
held = in_use.hold(sys.argv[1])
print(held.held, held.taken_here, flush=True)
sys.stdin.read()
"""


class Loser:
    lost = False

    def lose(self) -> None:
        self.lost = True


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


def test_only_one_caller_of_a_process_holds_an_upload(name: str) -> None:
    first, second = in_use.hold(name), in_use.hold(name)
    assert (first.held, first.taken_here) == (True, False)
    assert (second.held, second.taken_here) == (False, True)
    second.release()  # frees nothing
    assert not in_use.hold(name).held
    first.release()
    first.release()
    third = in_use.hold(name)
    assert third.held
    third.release()


def test_the_owner_before_loses_the_upload(name: str) -> None:
    first, second = Loser(), Loser()
    hold = in_use.hold(name)
    hold.own(first)
    in_use.hold(name).own(second)  # not held, so nothing changes
    assert not first.lost
    hold.release()
    hold = in_use.hold(name)
    hold.own(first)
    assert not first.lost
    hold.own(second)
    hold.release()
    assert (first.lost, second.lost) == (True, False)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no abstract sockets")
def test_a_killed_process_frees_the_upload(name: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True False\n"
        mine = in_use.hold(name)
        assert (mine.held, mine.taken_here) == (False, False)
        other.kill()
        other.wait()
    mine = in_use.hold(name)
    assert mine.held
    mine.release()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no abstract sockets")
def test_a_forked_child_does_not_keep_the_upload_of_its_parent(name: str) -> None:
    hold = in_use.hold(name)
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        os._exit(0)
    try:
        os.read(ready[0], 1)
        hold.release()
        again = in_use.hold(name)
        assert again.held
        again.release()
    finally:
        os.write(done[1], b"x")
        os.waitpid(child, 0)
        for fd in (*ready, *done):
            os.close(fd)
