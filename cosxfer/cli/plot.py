"""``cosxfer plot``: draws a trace: goodput, requests in flight, refusals and retries, and events over time."""

from __future__ import annotations

import io
import logging
import os
import textwrap
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosxfer.cli.output import printable, say
from cosxfer.cli.output_file import check_free, write_whole
from cosxfer.cli.trace_file import Event, Point, TraceData, read_trace
from cosxfer.cli.values import is_directory
from cosxfer.errors import CosxferError, UsageError
from cosxfer.figures import counted, human_bytes, human_rate, human_time
from cosxfer.foreign import foreign

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = (".png", ".svg")
MEAN_SECONDS = 1.0
"""The goodput of a tick depends on when acknowledgements arrive, so this mean is drawn bold."""
NAMED_EVENTS = 12
"""If there are more events, their keys are not written."""
EVENT_ROWS = 6
BARS = 120
"""Bars across the picture."""
WRAP = 118

BLUE, LIGHT_BLUE, ORANGE, GREY, RED, VIOLET = "#1f5fa8", "#9bbce0", "#d9822b", "#5b616b", "#c23b3b", "#7a4fb5"

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": "#b5bac2",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9.5,
    "grid.color": "#e4e7ec",
    "legend.frameon": False,
    "path.simplify": False,
    "text.parse_math": False,
    # Text stays text in an SVG, and the same trace gives the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "cosxfer",
}


def run(trace: Path, output: Path | None, *, force: bool) -> None:
    """Draw ``trace`` into ``output``, by default beside it with the suffix ``.png``."""
    output = output or trace.with_suffix(".png")
    kind = output.suffix.lower()
    if kind not in KINDS:
        raise UsageError(
            f"--output is {str(output)!r}; name a file that ends with .png or .svg", name="--output", value=str(output)
        )
    if is_directory(output):
        raise UsageError(f"--output is {str(output)!r}, a directory; name a file in it", name="--output")
    if output.exists() and trace.exists() and output.samefile(trace):
        raise UsageError("--output is the trace itself; name another file", name="--output")
    if not force:
        check_free(output)
    data = read_trace(trace)
    write_whole(output, drawn(data, kind.removeprefix(".")), replace=force)
    say(printable(f"{output}: {summary(data)}"))


def summary(data: TraceData) -> str:
    """Return what the trace shows, in a line."""
    if not data.points:
        return "no requests"
    seconds = data.points[-1].at - data.points[0].begin
    size = max(0.0, sum(point.bytes_acked for point in data.points))
    return f"{human_bytes(size)} in {human_time(seconds) if seconds >= 60 else f'{seconds:.1f} s'} " + (
        f"({human_rate(size, seconds)})"
    )


def drawn(data: TraceData, kind: str) -> bytes:
    """Return the picture as a file of ``kind``, ``"png"`` or ``"svg"``. Raises `CosxferError` without matplotlib."""
    os.environ["MPLBACKEND"] = "agg"  # no display, whatever the environment says
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise CosxferError(
            f"the picture needs the package matplotlib ({error}): pip install 'cosxfer[plot]'"
        ) from error
    # Not the user's style, which may hide what the picture shows.
    style: dict[Any, Any] = {**dict(matplotlib.rcParamsDefault), **_STYLE}
    del style["backend"]
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # characters that the font does not have, in keys
        figure = Figure(figsize=(11, 8.2), layout="constrained")
        _draw(figure, data)
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def _draw(figure: Figure, data: TraceData) -> None:
    ratios = [3.0, 3.0, 1.4, 1.4]
    goodput, requests, refusals, events = figure.subplots(4, 1, sharex=True, height_ratios=ratios)
    figure.suptitle(_headline(data), x=0.01, ha="left", fontsize=12, fontweight="bold")
    goodput.set_title("\n".join(_notes(data)), loc="left", fontsize=10, pad=24)
    _draw_goodput(goodput, data.points)
    _draw_requests(requests, data.points)
    _draw_refusals(refusals, data.points)
    _draw_events(events, data)
    events.set_xlabel("seconds since the first request")
    events.set_xlim(0, _end(data) * 1.01)
    figure.align_ylabels([goodput, requests, refusals])


def _end(data: TraceData) -> float:
    return max([point.at for point in data.points] + [event.at for event in data.events], default=0.0) or 1.0


def _headline(data: TraceData) -> str:
    settings = data.header.get("settings")
    region = settings.get("region") if isinstance(settings, dict) else None
    started = str(data.header.get("started", "")).replace("T", " ").replace("+00:00", " UTC")
    words = [f"cosxfer trace: {summary(data)}", str(region or ""), started]
    return foreign(", ".join(word for word in words if word), WRAP)


def _notes(data: TraceData) -> list[str]:
    """Return the verdict, and what is missing in the trace."""
    notes = textwrap.wrap(foreign(data.verdict, 4 * WRAP), WRAP)
    if data.dropped:
        notes.append(f"{counted(data.dropped, 'record')} missing: the file was too slow")
    return notes


def _series(points: Sequence[Point], value: Callable[[Point], float]) -> tuple[list[float], list[float]]:
    """Return times and values. Between points that are apart nothing was in flight: the value is 0."""
    times: list[float] = []
    values: list[float] = []
    last: Point | None = None
    for point in points:
        if last is not None and point.begin - last.at > max(0.05, point.seconds):
            times += [last.at, point.begin]
            values += [0.0, 0.0]
        times.append(point.at)
        values.append(value(point))
        last = point
    return times, values


def _means(points: Sequence[Point]) -> list[Point]:
    """Return each point with the bytes and the time of the `MEAN_SECONDS` before its end."""
    means = []
    first, moved = 0, 0.0
    for last, point in enumerate(points):
        moved += point.bytes_acked
        while first < last and points[first].at <= point.at - MEAN_SECONDS:
            moved -= points[first].bytes_acked
            first += 1
        mean = Point(point.at, point.at - points[first].begin, point.level, point.in_flight, moved, 0, 0, 0)
        means.append(mean)
    return means


def _draw_goodput(axes: Axes, points: Sequence[Point]) -> None:
    peak = max((point.bytes_acked / point.seconds for point in points), default=0.0)
    unit, size = ("kB/s", 1e3) if peak < 1e6 else ("MB/s", 1e6)

    def rate(point: Point) -> float:
        return max(0.0, point.bytes_acked) / point.seconds / size

    times, values = _series(points, rate)
    axes.plot(times, values, color=LIGHT_BLUE, linewidth=0.9, label="each tick", gid="goodput")
    means = _means(points)
    mean_times = [point.at for point in means]
    axes.plot(mean_times, list(map(rate, means)), color=BLUE, linewidth=1.8, label="mean of 1 s", gid="goodput-mean")
    axes.set_ylabel(f"goodput ({unit})")
    axes.set_ylim(bottom=0)
    _legend(axes)


def _draw_requests(axes: Axes, points: Sequence[Point]) -> None:
    times, levels = _series(points, lambda point: point.level)
    axes.plot(times, levels, color=ORANGE, linewidth=1.6, drawstyle="steps-pre", label="allowed (level)", gid="level")
    times, in_flight = _series(points, lambda point: point.in_flight)
    axes.plot(times, in_flight, color=GREY, linewidth=1.1, label="in flight", gid="in-flight")
    axes.fill_between(times, in_flight, color=GREY, alpha=0.15, linewidth=0)
    axes.set_ylabel("requests")
    axes.set_ylim(bottom=0)
    _legend(axes)


def _draw_refusals(axes: Axes, points: Sequence[Point]) -> None:
    from matplotlib.ticker import MaxNLocator

    most = 0.0
    end = points[-1].at if points else 1.0
    width = end / BARS
    for side, (label, colour, name) in enumerate((("refused", RED, "refused"), ("sent again", VIOLET, "retries"))):
        counts = [0.0] * BARS
        for point in points:
            counts[min(BARS - 1, int(point.at / width))] += getattr(point, name)
        shown = [(number, count) for number, count in enumerate(counts) if count]
        bars = axes.bar(
            [(number + side / 2) * width for number, _ in shown],
            [count for _, count in shown],
            width=width / 2,
            align="edge",
            color=colour,
            label=f"{label}: {sum(counts):,.0f}",
        )
        for bar in bars:
            bar.set_gid(name)
        most = max(most, *counts)
    axes.set_ylabel("requests")
    axes.set_ylim(0, max(1.0, most * 1.15))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    _legend(axes)


def _draw_events(axes: Axes, data: TraceData) -> None:
    kinds = list(dict.fromkeys(event.name for event in data.events))
    rows = kinds[:EVENT_ROWS]
    if len(kinds) > len(rows):
        rows = [*kinds[: EVENT_ROWS - 1], "other"]
    by_row: dict[str, list[Event]] = {row: [] for row in rows}
    for event in data.events:
        by_row[event.name if event.name in by_row else "other"].append(event)
    for row, (name, events) in enumerate(by_row.items()):
        colour = RED if name in ("failed", "throttled") else BLUE
        axes.plot([event.at for event in events], [row] * len(events), "|", color=colour, markersize=11, gid="event")
        if len(data.events) <= NAMED_EVENTS:
            _name_events(axes, events, row, _end(data))
    if data.more_events:
        axes.set_title(f"{counted(data.more_events, 'later event')} not shown", loc="right", fontsize=8.5)
    labels = [f"{foreign(name, 16)}: {len(events):,}" for name, events in by_row.items()]
    axes.set_yticks(range(len(rows)), labels, fontsize=8.5)
    axes.set_ylim(len(rows) - 0.4 if rows else 1, -0.6)
    axes.grid(visible=False, axis="y")


def _name_events(axes: Axes, events: Sequence[Event], row: int, end: float) -> None:
    """Write the keys beside their marks, where there is room."""
    free_from = 0.0
    for event in events:
        if event.at < free_from or not event.key:
            continue
        left = event.at < 0.7 * end
        free_from = event.at + 0.3 * end
        axes.annotate(
            foreign(event.key, 40),
            (event.at, row),
            xytext=(5 if left else -5, 0),
            textcoords="offset points",
            ha="left" if left else "right",
            va="center",
            fontsize=8,
            color=GREY,
        )


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1.0), ncols=3, borderaxespad=0.2, fontsize=8.5, handlelength=1.4)
