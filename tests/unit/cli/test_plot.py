"""The picture of a trace: it shows the series of the trace, and damaged traces are refused by line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import cosxfer
from cosxfer.cli import plot
from cosxfer.cli.trace_file import MAX_EVENTS, MAX_POINTS, read_trace
from cosxfer.config import ClientConfig
from cosxfer.foreign import foreign
from cosxfer.models import Verdict
from cosxfer.observation import Observation
from cosxfer.trace import Trace
from tests.e2e.command import COMMAND, environment, flat

TICKS = 60
SVG = "{http://www.w3.org/2000/svg}"


def traced(path: Path, *, key: str = "backup/disk.img", pause_after: int | None = None) -> Path:
    """A trace of six seconds: 20 MB/s with a level of 8, then 10 MB/s with a level of 4."""
    trace = Trace(path, ClientConfig(region="ap-guangzhou"))
    trace.event("begun", at=0.0, key=key, size=90_000_000)
    late = 0.0
    for number in range(1, TICKS + 1):
        second_half = number > TICKS // 2
        level = 4 if second_half else 8
        trace.observe(
            Observation(
                at=number / 10 + late,
                seconds=0.1,
                level=level,
                in_flight=level - 1,
                reason="back off" if second_half else "ramp",
                bytes_acked=1_000_000 if second_half else 2_000_000,
                refused=3 if number == 31 else 0,
                retries=3 if number == 35 else 0,
            )
        )
        if number == pause_after:
            late = 5.0
    verdict = Verdict(bound_by="link", share=0.9, text="The link bounded it.", advice="")
    trace.event("ended", at=6.0, key=key, size=90_000_000, verdict=verdict)
    small = Verdict(bound_by="unknown", share=1.0, text="A small one.", advice="")
    trace.event("ended", at=6.0, key="small", size=1, verdict=small)
    trace.close()
    return path


def picture_of(path: Path) -> ElementTree.Element:
    return ElementTree.fromstring(plot.drawn(read_trace(path), "svg"))


def texts(picture: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in picture.iter(f"{SVG}text")]


def curve(picture: ElementTree.Element, name: str) -> list[tuple[float, float]]:
    """The points of a curve, in units of the picture."""
    [group] = [element for element in picture.iter(f"{SVG}g") if element.get("id") == name]
    [path] = group.iter(f"{SVG}path")
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path.get("d", ""))]


def marks(picture: ElementTree.Element, name: str) -> int:
    return sum(element.get("id") == name for element in picture.iter(f"{SVG}g"))


def test_the_picture_has_the_series_of_the_trace(tmp_path: Path) -> None:
    picture = picture_of(traced(tmp_path / "t"))
    for name in ("goodput", "goodput-mean", "in-flight"):
        assert len(curve(picture, name)) == TICKS
    goodput = curve(picture, "goodput")
    # y grows downwards: the second half is half as high above the axis as the first.
    first, second = goodput[0][1], goodput[-1][1]
    assert {y for _, y in goodput} == {first, second}
    assert first < second
    steps = {round(after[0] - before[0], 3) for before, after in pairwise(goodput)}
    assert max(steps) - min(steps) < 0.01
    level, in_flight = curve(picture, "level"), curve(picture, "in-flight")
    assert len({y for _, y in level}) == 2
    assert all(allowed <= flight for (_, allowed), (_, flight) in zip(level[-5:], in_flight[-5:], strict=True))
    assert marks(picture, "refused") == 1
    assert marks(picture, "retries") == 1


def test_the_picture_says_what_it_shows(tmp_path: Path) -> None:
    shown = texts(picture_of(traced(tmp_path / "t")))
    for text in (
        "goodput (MB/s)",
        "requests",
        "seconds since the first request",
        "each tick",
        "mean of 1 s",
        "allowed (level)",
        "in flight",
        "refused: 3",
        "sent again: 3",
        "begun: 1",
        "ended: 2",
        "backup/disk.img",
        "The link bounded it.",
    ):
        assert text in shown
    assert any(text.startswith("cosxfer trace: 85.8 MiB in 6.0 s (15.0 MB/s), ap-guangzhou, 20") for text in shown)
    assert "A small one." not in shown  # the verdict is that of the largest transfer


def test_a_pause_is_drawn_as_nothing_in_flight(tmp_path: Path) -> None:
    picture = picture_of(traced(tmp_path / "t", pause_after=20))
    goodput = curve(picture, "goodput")
    assert len(goodput) == TICKS + 2
    baseline = max(y for _, y in goodput)
    assert [y for _, y in goodput].count(baseline) == 2
    assert goodput[20][1] == goodput[21][1] == baseline


@pytest.mark.parametrize(
    "key",
    ["$x_1$", *(pytest.param(key, marks=pytest.mark.deep) for key in ("<&>", "a\n\x1b[31m", "键 \udcff", "k" * 5000))],
)
def test_a_key_is_only_text(tmp_path: Path, key: str) -> None:
    shown = texts(picture_of(traced(tmp_path / "t", key=key)))
    assert foreign(key, 40) in shown


def test_the_same_trace_gives_the_same_picture(tmp_path: Path) -> None:
    data = read_trace(traced(tmp_path / "t"))
    assert plot.drawn(data, "svg") == plot.drawn(data, "svg")
    assert plot.drawn(data, "png").startswith(b"\x89PNG")


def header() -> str:
    return json.dumps({"type": "header", "format": "cosxfer trace", "version": 1})


def tick_line(at: float, **more: Any) -> str:
    return json.dumps({"type": "tick", "at": at, "seconds": 0.1, "level": 8, "in_flight": 8, **more})


def trace_of(path: Path, lines: Iterable[str], *, end: str = "\n") -> Path:
    path.write_text("\n".join(lines) + end)
    return path


def test_a_trace_without_requests_has_a_picture(tmp_path: Path) -> None:
    assert any("no requests" in text for text in texts(picture_of(trace_of(tmp_path / "t", [header()]))))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "is no trace of cosxfer: it is empty"),
        (["hello"], "is no trace of cosxfer: line 1 is no JSON: hello"),
        ([json.dumps({"type": "header"})], "is no trace of cosxfer: line 1 is no header of a trace"),
        ([tick_line(1)], "is no trace of cosxfer: line 1 is no header of a trace"),
        ([header().replace("1", "2")], "line 1 has the format version 2; this cosxfer reads version 1"),
        ([header(), tick_line(1), "{]", tick_line(2)], "is damaged: line 3 is no JSON: {]"),
        ([header(), "[1]"], "is damaged: line 2 is no JSON object"),
        ([header(), '{"type": "tock"}'], "line 2 has the unknown type tock"),
        ([header(), '{"type": "tick", "at": 1}'], "line 2 has no number seconds"),
        ([header(), tick_line(1, level="x")], "line 2 has no number level"),
        ([header(), tick_line(1, refused=-1)], "line 2 has -1 for refused"),
        ([header(), tick_line(1, bytes_acked=float("nan"))], "line 2 has nan for bytes_acked"),
        ([header(), tick_line(1).replace("0.1", "1" + "0" * 400)], "line 2 has 1000"),
        ([header(), tick_line(1, seconds=0)], "line 2 has a tick of no length"),
        ([header(), tick_line(2), tick_line(1)], "line 3 has an earlier time than the line before"),
        ([header(), '{"type": "event", "name": "x"}'], "line 2 has no number at"),
        ([header(), "[" * 100_000], "line 2 is no JSON"),
        ([header(), "x" * 2_000_000], "line 2 is longer than 1 MiB"),
        ([header(), "\x1b[31m"], "line 2 is no JSON: \\x1b[31m"),
    ],
)
def test_a_damaged_or_foreign_line_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    path = trace_of(tmp_path / "t", lines, end="\n" if lines else "")
    with pytest.raises(cosxfer.UsageError, match=re.escape(message)):
        read_trace(path)


def test_a_last_line_that_was_cut_is_ignored(tmp_path: Path) -> None:
    whole = trace_of(tmp_path / "t", [header(), tick_line(1), tick_line(2)])
    for length in range(len(header()) + 1, whole.stat().st_size):
        cut = tmp_path / "cut"
        cut.write_bytes(whole.read_bytes()[:length])
        assert len(read_trace(cut).points) == cut.read_bytes().count(b"\n") - 1


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none", "no such file"), (tmp_path, "is a directory"), (Path("a\0b"), "null")):
        with pytest.raises(cosxfer.UsageError, match=reason):
            read_trace(path)


def test_a_long_trace_is_merged_and_loses_nothing(tmp_path: Path) -> None:
    count = 5 * MAX_POINTS + 3
    lines = (tick_line(number / 10, bytes_acked=1000, refused=1, in_flight=4) for number in range(1, count + 1))
    path = trace_of(tmp_path / "t", [header(), *lines])
    data = read_trace(path)
    assert MAX_POINTS / 2 < len(data.points) < 2 * MAX_POINTS
    assert sum(point.bytes_acked for point in data.points) == 1000 * count
    assert sum(point.refused for point in data.points) == count
    assert sum(point.seconds for point in data.points) == pytest.approx(count / 10)
    assert all(point.in_flight == pytest.approx(4) for point in data.points)


def test_memory_does_not_grow_with_the_events(tmp_path: Path) -> None:
    line = json.dumps({"type": "event", "at": 1.0, "name": "begun", "key": "k"})
    path = trace_of(tmp_path / "t", [header(), *[line] * (30 * MAX_EVENTS)])
    tracemalloc.start()
    data = read_trace(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(data.events), data.more_events) == (MAX_EVENTS, 29 * MAX_EVENTS)
    assert peak < 2_000_000


def test_short_ticks_are_merged_with_the_next(tmp_path: Path) -> None:
    lines = [
        header(),
        tick_line(0.1),
        tick_line(0.101, seconds=0.001, bytes_acked=10**6),
        tick_line(0.2, seconds=0.099),
    ]
    assert [round(point.seconds, 3) for point in read_trace(trace_of(tmp_path / "t", lines)).points] == [0.1, 0.1]


@pytest.mark.deep
def test_the_picture_replaces_nothing_without_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = traced(tmp_path / "t.jsonl")
    plot.run(trace, None, force=False)
    assert capsys.readouterr().out == f"{tmp_path}/t.png: 85.8 MiB in 6.0 s (15.0 MB/s)\n"
    drawn = (tmp_path / "t.png").read_bytes()
    with pytest.raises(cosxfer.UsageError, match="exists already; use --force"):
        plot.run(trace, None, force=False)
    plot.run(trace, tmp_path / "t.png", force=True)
    assert (tmp_path / "t.png").read_bytes() == drawn
    plot.run(trace, tmp_path / "t.SVG", force=False)
    ElementTree.parse(tmp_path / "t.SVG")
    for output, message in (
        (tmp_path / "t.pdf", "ends with .png or .svg"),
        (Path("-"), "ends with .png or .svg"),
        (tmp_path / "none" / "t.png", "cannot write"),
    ):
        with pytest.raises(cosxfer.CosxferError, match=message):
            plot.run(trace, output, force=False)
    itself = trace.rename(tmp_path / "u.svg")
    with pytest.raises(cosxfer.UsageError, match="the trace itself"):
        plot.run(itself, itself, force=True)


def test_without_matplotlib_the_message_says_what_to_install(tmp_path: Path) -> None:
    trace = traced(tmp_path / "t.jsonl")
    code = "import sys; sys.modules['matplotlib'] = None; import cosxfer.cli; cosxfer.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "plot", str(trace)], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install 'cosxfer[plot]'" in flat(done.stderr)
    assert not (tmp_path / "t.png").exists()


@pytest.mark.deep
def test_the_command_needs_no_display_and_heeds_no_style(tmp_path: Path) -> None:
    trace = traced(tmp_path / "t.jsonl")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nlines.linewidth: 0\n")
    done = subprocess.run(
        [*COMMAND, "plot", str(trace), "-o", str(tmp_path / "t.svg")],
        env=environment(None, MPLBACKEND="TkAgg", DISPLAY="", MPLCONFIGDIR=str(tmp_path)),
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    picture = ElementTree.parse(tmp_path / "t.svg").getroot()
    assert len(curve(picture, "goodput")) == TICKS


def test_a_wrong_command_line_is_a_usage_error(tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, "plot", ""], capture_output=True, text=True, check=False, env=environment(None))
    assert done.returncode == 2
    assert "FILE is empty" in done.stderr
