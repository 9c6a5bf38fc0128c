"""All regular expressions of the package, and each parser of foreign text, run in linear time.

The tests feed them text that makes backtracking explode. A pattern's steps cannot be counted from outside, so the time
for 10 kB is compared with that for 300 kB: a factor of 30 is linear, one of 900 quadratic. The limit is between them:
a machine that becomes five times slower or faster between two measurements changes nothing. Very short times are not
compared.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
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
from cosxfer.cos import xml_page
from cosxfer.server.form import FormParser
from cosxfer.server.framing import RequestFraming
from cosxfer.server.http import CosError, decode_query

# Thousands of texts are too slow for each run. The check that all patterns are known always runs.
deep = pytest.mark.deep

PACKAGE = Path(cosxfer.__file__).parent
SMALL, LARGE = 10_000, 300_000
FLOOR_SECONDS = 0.05
WORST_RATIO = 150
ROUNDS = 3

SEARCHES = ("search", "sub", "subn", "split", "findall", "finditer")

# Patterns that are searched inside a text. All others are matched at its beginning.
SEARCHED = {
    "[^A-Za-z0-9._-]+", r"[^A-Za-z\d_.~-]", "//[^/]*@", r"\{([^{}]*)\}", r"\{\w+\}", rb"<ETag>[^<]*</ETag>",
    rb"(?<!\r)\n|\r[^\n]", rb"[\x00-\x08\x0a-\x1f\x7f]", "[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]",
    r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', r"[,\s]+", r"[\[\]]", rb"[/?]", r"[\t\r\n]",
    "customer-key$|token|secret|passw|authorization|credential", r'[<>:"|?*\\\x00-\x1f]|[. ]$',
    r"\.(?:cos|cos-internal)\.(?P<region>[a-z\d-]+)\.(?P<domain>myqcloud\.com|tencentcos\.(?:cn|com))\.?$",
    rb"=\s*[\"']", xml_page._ROW.pattern, r"\\(.)",
}  # fmt: skip

# Searched only in text that the pattern matched before.
MATCHED_FIRST = {"_COS_WITHOUT_BUCKET"}

# Patterns without a name, by file.
INLINE = {
    "cli/values.py": [r"[+-]?\d{1,18}"],
    "server/framing.py": [rb"[/?]"],
    "server/http1.py": [rb"[/?]"],
    # The last one is built from the user's template and matches one label of a name: 63 characters.
    "transport/proxies.py": [
        r"\[([^\]]*)\]:(\d+)|([\d.]+(?:/\d+)?):(\d+)",
        None,
        r"[,\s]+",
        r"[\[\]]",
        None,
    ],
}
# Number of patterns that functions build. Other tests check their time.
MADE_IN_FUNCTIONS = {"patterns.py": 2}
UNITS = ["a", "1", " ", "-", ".", "=", '"', "\\", "a=", "{", "}", "<", "{a", "//", "\r", "\r\n",
         "\n", "%", "é", "a.", "1.", "-1", "a-", "<ETag>", "boundary=", "boundary=\"", 'a="\\']  # fmt: skip
FRAMES = [("", ""), ("", "\0"), ("a", "!"), ("//", "\0"), ('a="', "\0"), ("{", "\0"), ("bucket-1.cos.", "!")]


def _calls() -> Iterator[tuple[Path, ast.Call]]:
    """All calls of functions of the module `re`."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if not re.search(r"\bre\.", text):
            continue
        for node in ast.walk(ast.parse(text)):
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


def _named() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """All patterns that are module variables."""
    for module in pkgutil.walk_packages(cosxfer.__path__, "cosxfer."):
        if not module.name.endswith("__main__"):
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, re.Pattern):
                    yield name, value


def _patterns() -> list[re.Pattern[Any]]:
    found = {pattern for _, pattern in _named()}
    known = {pattern.pattern for pattern in found}
    for _, call in _calls():
        assert isinstance(call.func, ast.Attribute)
        pattern = _constant(call.args[0])
        if pattern is not None and (call.func.attr != "compile" or pattern not in known):
            found.add(re.compile(pattern))
    return sorted(found, key=repr)


def _seconds(work: Callable[[int], object], size: int) -> float:
    start = time.thread_time()
    work(size)
    return time.thread_time() - start


def _is_linear(work: Callable[[int], object]) -> bool:
    work(100)
    small = min(_seconds(work, SMALL) for _ in range(ROUNDS))
    if small * WORST_RATIO > 60:
        return False
    large = float("inf")
    # Both sizes are measured in turn, so that a slow phase of the machine meets both.
    for _ in range(ROUNDS):
        large = min(large, _seconds(work, LARGE))
        small = min(small, _seconds(work, SMALL))
        if large < FLOOR_SECONDS or large < WORST_RATIO * small:
            return True
    return False


def _text(before: str, unit: str, after: str, size: int) -> str:
    return before + unit * (size // len(unit)) + after


def _use(pattern: re.Pattern[Any], text: str) -> None:
    given: Any = text.encode() if isinstance(pattern.pattern, bytes) else text
    pattern.fullmatch(given)
    pattern.match(given)
    if pattern.pattern in SEARCHED:
        # `search`, `sub` and similar functions start again at each position.
        pattern.sub(given[:0], given)


def _searched_names() -> set[str]:
    """Names of patterns that are searched inside a text."""
    names = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SEARCHES:
                used = node.func.value
                name = used.attr if isinstance(used, ast.Attribute) else used.id if isinstance(used, ast.Name) else ""
                names.add(name)
    return names


@pytest.mark.deep
def test_every_pattern_is_found() -> None:
    named = {name for name, _ in _named()}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        kept = {n.value: ast.unparse(n.targets[0]) for n in tree.body if isinstance(n, ast.Assign)}
        made = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "re.compile"]
        unknown = [ast.unparse(c) for c in made if kept.get(c) not in named and _constant(c.args[0]) is None]
        assert len(unknown) == MADE_IN_FUNCTIONS.get(path.relative_to(PACKAGE).as_posix(), 0), unknown


@pytest.mark.deep
def test_every_searched_pattern_is_tested_by_searching() -> None:
    searched_names = _searched_names()
    for name, pattern in _named():
        assert name not in searched_names or name in MATCHED_FIRST or pattern.pattern in SEARCHED, name
    for _, call in _calls():
        assert isinstance(call.func, ast.Attribute)
        if call.func.attr in SEARCHES and (inline := _constant(call.args[0])) is not None:
            assert inline in SEARCHED


def test_every_use_of_re_is_known() -> None:
    """A pattern without a name must be in `INLINE`, and `re` may only be imported as `re`."""
    unnamed: dict[str, list[Any]] = {}
    for path, call in _calls():
        assert isinstance(call.func, ast.Attribute)
        if call.func.attr != "compile":
            unnamed.setdefault(path.relative_to(PACKAGE).as_posix(), []).append(_constant(call.args[0]))
    assert unnamed == INLINE
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert re.search(r"^\s*(?:from re import|import re as|import regex)", text, re.MULTILINE) is None


@deep
@pytest.mark.parametrize("pattern", _patterns(), ids=lambda pattern: repr(pattern.pattern))
def test_no_pattern_needs_more_than_linear_time(pattern: re.Pattern[Any]) -> None:
    for unit, (before, after) in product(UNITS, FRAMES):
        text = partial(_text, before, unit, after)
        assert _is_linear(lambda size, text=text: _use(pattern, text(size))), (unit, before)


@deep
def test_the_check_detects_a_quadratic_pattern() -> None:
    # This was the pattern of a form's parameters: 60,000 letters took 38 seconds. 6,000 suffice here.
    quadratic = re.compile(r'([a-z*]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]+))', re.IGNORECASE)
    assert not _is_linear(lambda size: quadratic.search("a" * (size // 50)))


def _form(before: bytes, unit: bytes, cut: int, size: int) -> None:
    parser = FormParser(b"b")
    body = b"--b\r\n" + before + unit * (size // len(unit)) + b"\r\n\r\n"
    with suppress(CosError):
        for start in range(0, len(body), cut):
            parser.feed(body[start : start + cut])


@deep
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


@deep
def test_a_connection_is_read_in_linear_time() -> None:
    head = b"PUT / HTTP/1.1\r\nHost: x\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    units = [b" ", b"a: b\r\n", b"\r", b"1\r\na\r\n", b";"]
    for before, unit, cut in product((b"GET ", head + b"x:", chunked, chunked + b"1;"), units, (10, 1 << 20)):
        assert _is_linear(partial(_frame, before, unit, cut)), (before, unit, cut)


@deep
@pytest.mark.parametrize("unit", ["&", "%", "a=1&", "A&a&", "é"])
def test_a_query_is_read_in_linear_time(unit: str) -> None:
    assert _is_linear(lambda size: decode_query(quote(unit * (size // len(unit)), safe="%&=+;").encode()))
