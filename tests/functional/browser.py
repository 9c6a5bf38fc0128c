"""A headless Chromium, driven over a pipe by the DevTools protocol. It needs no driver or library."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

DEADLINE_SECONDS = 60.0

# Chromium expects the pipe at file descriptors 3 and 4, which may be in use in the parent.
_LAUNCH = "import os, sys; os.dup2({read}, 3); os.dup2({write}, 4); os.execv(sys.argv[1], sys.argv[1:])"


def executable() -> str | None:
    """The path of Debian's Chromium, or None if it is not installed (.ci/deep/browser.sh installs it)."""
    return shutil.which("chromium")


class Browser:
    """One browser with a profile in ``folder`` and one page."""

    def __init__(self, folder: Path) -> None:
        path = executable()
        assert path is not None
        ours_in, theirs_out = _pipe()
        theirs_in, ours_out = _pipe()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _LAUNCH.format(read=theirs_in, write=theirs_out),
                path,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--no-proxy-server",
                f"--user-data-dir={folder}",
                "--remote-debugging-pipe",
                "about:blank",
            ],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._in, self._out = ours_in, ours_out
        self._buffer = b""
        self._id = 0
        self._events: deque[dict[str, Any]] = deque()
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "DOM", "Runtime", "Log", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        self._id += 1
        message: dict[str, Any] = {"id": self._id, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            response = self._read()
            if response.get("id") == self._id:
                assert "error" not in response, f"{method}: {response['error']}"
                result: dict[str, Any] = response["result"]
                return result
            self._events.append(response)

    def open(self, url: str) -> None:
        """Load a page and wait until it is complete."""
        self._events.clear()
        self.call("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")

    def wait_for(self, event: str) -> dict[str, Any]:
        """Wait for the next event of this name."""
        while True:
            message = self._events.popleft() if self._events else self._read()
            if message.get("method") == event:
                params: dict[str, Any] = message["params"]
                return params

    def node(self, selector: str) -> int:
        """The node that a CSS selector finds."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node: int = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        assert node, selector
        return node

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in a file input, as a user does."""
        self.call("DOM.setFileInputFiles", nodeId=self.node(selector), files=[str(path)])

    def press_enter(self, selector: str) -> None:
        """Focus an element and press Enter, as a keyboard user does."""
        self.call("DOM.focus", nodeId=self.node(selector))
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key="Enter",
                code="Enter",
                text="\r" if kind == "keyDown" else "",
                windowsVirtualKeyCode=13,
            )

    def run(self, script: str) -> Any:
        """Run a script and return its value; if it is a promise, wait for the result."""
        response = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in response, response["exceptionDetails"]
        return response["result"].get("value")

    def names(self) -> set[tuple[str, str]]:
        """Role and name of every element of the page, as a screen reader sees them."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if "role" in node}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The browser exits when its pipe is closed.
        os.close(self._out)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser is silent"
            chunk = os.read(self._in, 1 << 20)
            assert chunk, "the browser has ended"
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    # Move both ends above 4, so that dup2 in the launcher cannot overwrite one of them.
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]
