"""Every regular expression of the package, and each parser of foreign text, fed with what makes backtracking explode.

A pattern's steps cannot be counted from outside. So the time for 10 kB is compared with that for 100 kB in the same
process: linear is a factor of 10, quadratic one of 100. Below a floor the ratio says nothing, and the pattern is fast.
"""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from h11 import RemoteProtocolError

import cosxfer
from cosxfer.server.form import FormParser
from cosxfer.server.framing import RequestFraming
from cosxfer.server.http import CosError, decode_query

# Thousands of texts: too slow for each run.
pytestmark = pytest.mark.deep

PACKAGE = Path(cosxfer.__file__).parent
SMALL, LARGE = 10_000, 100_000
FLOOR_SECONDS = 0.05
WORST_RATIO = 40

# What is looked for inside a text; all others must match from its beginning.
SEARCHED = {
    "[^A-Za-z0-9._-]+", r"[^A-Za-z\d_.~-]", "//[^/]*@", r"\{([^{}]*)\}", r"\{\w+\}", rb"<ETag>[^<]*</ETag>",
    rb"(?<!\r)\n|\r[^\n]", rb"[\x00-\x08\x0a-\x1f\x7f]", "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]",
    r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', r"[,\s]+", r"[\[\]]",
}  # fmt: skip

# Patterns without a name of their own: file, and why no name is needed.
INLINE = {
    "cli/values.py": [r"[+-]?\d{1,18}"],
    "server/framing.py": [rb"[/?]"],
    "server/http1.py": [rb"[/?]"],
    "transport/proxies.py": [
        r"\[([^\]]*)\]:(\d+)|([\d.]+(?:/\d+)?):(\d+)",
        None,
        r"[,\s]+",
        r"[\[\]]",
        None,
    ],
}
UNITS = ["a", "1", " ", "-", ".", "=", '"', "\\", "a=", "{", "}", "<", "{a", "//", "\r", "\r\n",
         "\n", "%", "é", "a.", "1.", "-1", "a-", "<ETag>", "boundary=", "boundary=\"", 'a="\\']  # fmt: skip
FRAMES = [("", ""), ("", "\0"), ("a", "!"), ("//", "\0"), ('a="', "\0"), ("{", "\0"), ("bucket-1.cos.", "!")]


def _calls() -> Iterator[tuple[Path, ast.Call]]:
    """All uses of the module `re`."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "re"
                and node.func.attr != "escape"
            ):
                yield path, node


def _constant(node: ast.expr) -> Any:
    return node.value if isinstance(node, ast.Constant) else None


def _patterns() -> list[re.Pattern[Any]]:
    found = []
    for _, call in _calls():
        pattern = _constant(call.args[0])
        if pattern is None:
            continue
        flags = [arg for arg in [*call.args[1:], *(k.value for k in call.keywords)] if "re." in ast.unparse(arg)]
        value = eval(ast.unparse(flags[-1]), {"re": re}) if flags else 0
        found.append(re.compile(pattern, value))
    return found


def _seconds(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(2):
        start = time.thread_time()
        work()
        best = min(best, time.thread_time() - start)
    return best


def _is_linear(work: Callable[[int], object]) -> bool:
    work(100)
    small = _seconds(lambda: work(SMALL))
    if small * WORST_RATIO > 60:
        return False
    large = _seconds(lambda: work(LARGE))
    return large < FLOOR_SECONDS or large < WORST_RATIO * small


def _text(before: str, unit: str, after: str, size: int) -> str:
    return before + unit * (size // len(unit)) + after


def _use(pattern: re.Pattern[Any], text: str) -> None:
    given: Any = text.encode() if isinstance(pattern.pattern, bytes) else text
    pattern.fullmatch(given)
    pattern.match(given)
    if pattern.pattern in SEARCHED:
        # `search` and all that is built on it begin at each place anew.
        pattern.sub(given[:0], given)


def test_every_use_of_re_is_known() -> None:
    """What is imported otherwise, or is made at run time, must be listed here and looked at."""
    unnamed: dict[str, list[Any]] = {}
    for path, call in _calls():
        assert isinstance(call.func, ast.Attribute)
        if call.func.attr != "compile":
            unnamed.setdefault(path.relative_to(PACKAGE).as_posix(), []).append(_constant(call.args[0]))
    assert unnamed == INLINE
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert re.search(r"^\s*(?:from re import|import re as|import regex)", text, re.MULTILINE) is None


@pytest.mark.parametrize("pattern", _patterns(), ids=lambda pattern: repr(pattern.pattern))
def test_no_pattern_needs_more_than_linear_time(pattern: re.Pattern[Any]) -> None:
    for unit, (before, after) in product(UNITS, FRAMES):
        text = partial(_text, before, unit, after)
        assert _is_linear(lambda size, text=text: _use(pattern, text(size))), (unit, before)


def test_the_check_sees_a_quadratic_pattern() -> None:
    # This was the pattern of a form's parameters: 60,000 letters took 38 seconds.
    quadratic = re.compile(r'([a-z*]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]+))', re.IGNORECASE)
    assert not _is_linear(lambda size: quadratic.search("a" * (size // 10)))


def _form(before: bytes, unit: bytes, cut: int, size: int) -> None:
    parser = FormParser(b"b")
    body = b"--b\r\n" + before + unit * (size // len(unit)) + b"\r\n\r\n"
    with suppress(CosError):
        for start in range(0, len(body), cut):
            parser.feed(body[start : start + cut])


def test_a_form_is_read_in_linear_time() -> None:
    start = b"Content-Disposition: form-data; "
    units = [b"a", b"a=", b'a="\\', b"a=b;", b"\r\n", b"\r\n--", b" "]
    for before, unit, cut in product((b"", start, start + b"name=a\r\n\r\n"), units, (10, 1 << 20)):
        assert _is_linear(partial(_form, before, unit, cut)), (before, unit, cut)


def _frame(before: bytes, unit: bytes, cut: int, size: int) -> None:
    framing = RequestFraming()
    data = before + unit * (size // len(unit)) + b"\0\r\n\r\n"
    with suppress(RemoteProtocolError):
        for start in range(0, len(data), cut):
            framing.feed(data[start : start + cut])
            framing.take()


def test_a_connection_is_read_in_linear_time() -> None:
    head = b"PUT / HTTP/1.1\r\nHost: x\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    units = [b" ", b"a: b\r\n", b"\r", b"1\r\na\r\n", b";"]
    for before, unit, cut in product((b"GET ", head + b"x:", chunked, chunked + b"1;"), units, (10, 1 << 20)):
        assert _is_linear(partial(_frame, before, unit, cut)), (before, unit, cut)


@pytest.mark.parametrize("unit", ["&", "%", "a=1&", "A&a&", "é"])
def test_a_query_is_read_in_linear_time(unit: str) -> None:
    assert _is_linear(lambda size: decode_query(quote(unit * (size // len(unit)), safe="%&=+;").encode()))
