"""The C and Cython files in ``src_ext`` are layers: no file calls or includes itself through others.

The tests read the sources, so they need no compiler. A call is any use of another file's function or variable inside
braces or in a macro, even if it is not called there, such as a function in a table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.circles import in_circles

FOLDER = Path(__file__).parent.parent / "src_ext"
SOURCES = {path.name: path.read_text() for path in sorted(FOLDER.iterdir()) if path.suffix in {".c", ".h", ".pyx"}}

WIRE_LAYERS = (
    "wire_clock.h",
    "wire_tls_seal.c",
    "wire_tls.c",
    "wire_parser.c",
    "wire_rate.c",
    "wire_mailbox.c",
    "wire_pages.c",
    "wire_schedule.c",
    "wire_sink.c",
    "wire_request.c",
    "wire_output.c",
    "wire_close.c",
    "wire_h1.c",
    "wire_h2.c",
    "wire_connection.c",
    "wire_io_thread.c",
    "wire.pyx",
)
"""Bottom first. A file may call the files before it."""

OTHERS = {"crc64_table.c", "gcm_vaes.c"}
"""What the wire uses that is not its own."""

NOISE = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)
INCLUDE = re.compile(r"^\s*#\s*include\s+\"(?P<c>[^\"]+)\"|^cdef extern from \"(?P<pyx>[^\"]+)\"", re.MULTILINE)
DIRECTIVE = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.MULTILINE)
WORD = re.compile(r"[A-Za-z_]\w*")
ATTRIBUTE = re.compile(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)")
STATIC_MACRO = re.compile(r"#[ \t]*define[ \t]+(\w+)[ \t](?:[^\n]*[ \t])?static\b")
MADE_BY_MACRO = re.compile(r"\b[A-Z][A-Z0-9_]*\(\s*([a-z]\w*)[^()]*\)")
FUNCTION = re.compile(r"\w[\w\s*]*?[\s*](\w+)\s*\(")
VARIABLE = re.compile(r"(?:^|[\s*])(\w+)\s*(?:\[[^\]]*\]\s*)*(?:=.*)?$")


def split(text: str) -> tuple[list[str], str]:
    """Split C source into its declarations and definitions with empty braces, and the content of braces and macros."""
    text = NOISE.sub(" ", text)
    macros = [found[0] for found in DIRECTIVE.finditer(text) if re.match(r"\s*#\s*define", found[0])]
    for name in STATIC_MACRO.findall(text):
        text = re.sub(rf"\b{name}\b(?=[^(])", "static", text)
    outside, inside, depth = [""], macros, 0
    for token in re.split(r"([{};])", ATTRIBUTE.sub(" ", DIRECTIVE.sub("", text))):
        depth -= token == "}"
        if depth:
            inside.append(token)
        else:
            outside[-1] += token
            # After "=" or a type, the text continues to the semicolon; a function ends with its brace.
            if token == ";" or (token == "}" and ")" in outside[-1] and "=" not in outside[-1]):
                outside.append("")
        depth += token == "{"
    return [" ".join(piece.rstrip(";").split()) for piece in outside if piece.strip()], " ".join(inside)


def defined(text: str, *, static: bool = False) -> set[str]:
    """The functions and variables that C source defines for other files, or with ``static`` for itself."""
    found: set[str] = set()
    for piece in split(text)[0]:
        if not static:
            found.update(MADE_BY_MACRO.findall(piece))
        piece = MADE_BY_MACRO.sub("", piece).strip()
        words = piece.split()
        if not words or words[0] in {"typedef", "extern"} or ("static" in words) != static:
            continue
        if "(" in piece.partition("=")[0]:
            match = FUNCTION.match(piece) if piece.endswith("}") else None  # otherwise it is a prototype
            found.update(match.groups() if match else ())
        elif not re.match(r"(?:struct|enum|union)\b[^=]*\}$", piece):
            found.update(VARIABLE.findall(part)[0] for part in piece.split(",") if VARIABLE.search(part))
    return found


def used(name: str, text: str) -> set[str]:
    """The names that a file uses, except its own."""
    if name.endswith(".pyx"):
        return set(WORD.findall(re.sub(r"#[^\n]*", "", text)))
    return set(WORD.findall(split(text)[1])) - defined(text) - defined(text, static=True)


def calls(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """A graph of the files: an edge means that a file uses functions or variables of another."""
    owner: dict[str, str] = {}
    for name, text in sources.items():
        if not name.endswith(".pyx"):
            # Functions in a header exist only in the files that include it.
            for symbol in defined(text, static=name.endswith(".h")):
                assert owner.setdefault(symbol, name) == name, f"{symbol} is defined in {owner[symbol]} and {name}"
    return {
        name: {owner[symbol] for symbol in used(name, text) if symbol in owner} - {name}
        for name, text in sources.items()
    }


def includes(sources: Mapping[str, str]) -> dict[str, set[str]]:
    return {
        name: {match["c"] or match["pyx"] for match in INCLUDE.finditer(text)}.intersection(sources)
        for name, text in sources.items()
    }


def test_no_file_calls_itself_through_others() -> None:
    assert not in_circles(calls(SOURCES))


def test_no_file_includes_itself_through_others() -> None:
    assert not in_circles(includes(SOURCES))


def test_the_wire_calls_down() -> None:
    graph = calls(SOURCES)
    assert {name for name in graph if name.startswith("wire") and not name.endswith(".h")} < set(WIRE_LAYERS)
    for position, name in enumerate(WIRE_LAYERS):
        up = graph[name].difference(WIRE_LAYERS[:position], OTHERS)
        assert not up, f"{name} calls {up}"


@pytest.mark.parametrize("name", [name for name in WIRE_LAYERS if name.endswith(".c")])
def test_functions_of_the_wire_begin_with_the_name_of_their_file(name: str) -> None:
    other = {symbol for symbol in defined(SOURCES[name]) if not symbol.startswith(name.removesuffix(".c"))}
    assert other <= ({"wire_event_free"} if name == "wire_mailbox.c" else set())


# -- the checks themselves, on sample sources -------------------------------------------------------------------------

LOW = '#include "low.h"\nint low(int n)\n{\n    return n;\n}\n'
HIGH = '#include "low.h"\nint high(int n)\n{\n    return low(n);\n}\n'
HEADER = "int low(int n);\n"


def test_a_call_up_is_a_circle() -> None:
    sources = {"low.c": LOW, "high.c": HIGH, "low.h": HEADER}
    assert calls(sources) == {"low.c": set(), "high.c": {"low.c"}, "low.h": set()}
    assert not in_circles(calls(sources))
    sources["low.c"] = LOW.replace("return n", "return high(n - 1)")
    assert in_circles(calls(sources)) == {"low.c", "high.c"}


@pytest.mark.parametrize(
    "up",
    [
        "static const table TABLE[] = {{1, high}};",
        "static int f(void)\n{\n    int (*call)(int) = high;\n    return call(1);\n}",
        "#define CALL(n) \\\n    high(n)",
    ],
    ids=["table", "pointer", "macro"],
)
def test_a_use_of_a_function_above_without_a_call_is_a_circle_too(up: str) -> None:
    assert in_circles(calls({"low.c": LOW + up, "high.c": HIGH})) == {"low.c", "high.c"}


def test_a_variable_of_a_file_above_is_a_circle() -> None:
    high = HIGH + "const int *shared = 0;\nint limits[4];\n"
    for variable in ("shared", "limits"):
        low = LOW.replace("return n", f"return *{variable}")
        assert in_circles(calls({"low.c": low, "high.c": high})) == {"low.c", "high.c"}


def test_functions_that_a_macro_defines_are_seen() -> None:
    low = "DEFINE_KERNEL(low_1, 1)\nDEFINE_KERNEL(low_2, 2)\n\nint low(void)\n{\n    return high();\n}\n"
    assert defined(low) == {"low_1", "low_2", "low"}
    assert in_circles(calls({"low.c": low, "high.c": "int high(void)\n{\n    return low_2();\n}\n"}))


def test_comments_strings_prototypes_and_own_names_are_no_calls() -> None:
    for harmless in ("/* high(1) */", 'const char *text = "high(1)";', "int high(int n);", "extern int (*high)(int);"):
        assert not in_circles(calls({"low.c": LOW + harmless, "high.c": HIGH}))
    own = "static int high(int n)\n{\n    return n ? high(n - 1) : 0;\n}\n"
    assert not in_circles(calls({"low.c": LOW + own, "high.c": HIGH}))


def test_a_circle_of_includes_is_found() -> None:
    sources = {"a.h": '#include "b.h"\n', "b.h": "", "c.pyx": 'cdef extern from "a.h" nogil:\n    pass\n'}
    assert includes(sources) == {"a.h": {"b.h"}, "b.h": set(), "c.pyx": {"a.h"}}
    assert not in_circles(includes(sources))
    sources["b.h"] = '#  include "a.h"\n'
    assert in_circles(includes(sources)) == set(sources)


def test_a_name_that_two_files_define_is_an_error() -> None:
    with pytest.raises(AssertionError, match="is defined in"):
        calls({"low.c": LOW, "twin.c": LOW})


def test_the_sources_are_read_as_the_linker_sees_them() -> None:
    """A sample of each kind of definition in ``src_ext``."""
    assert {"cosx_kernel_in_use", "cosx_lane_limit", "cosx_kernel_use"} <= defined(SOURCES["dispatch.c"])
    assert {"cosx_md5_avx2_1x8", "cosx_md5_avx2_4x8"} <= defined(SOURCES["md5_avx2.c"])
    assert "cosx_crc64_fold_16" in defined(SOURCES["crc64_table.c"])
    assert "serve_ready" in defined(SOURCES["wire_io_thread.c"], static=True)
    assert calls(SOURCES)["dispatch.c"] >= {"md5_avx512.c", "md5_scalar.c", "crc64_table.c"}
