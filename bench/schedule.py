"""Nothing set, against the best setting found by hand: over links in user space, on loopback, and in memory.

(a) One file over `link.py`: goodput with no option ÷ that of the best fixed concurrency and part size of ours, found by
search on the same link. Other clients at their defaults, if installed. (b) On loopback: a large file, and many small
ones. (c) Peak memory of the client with 256 slots on a line that is so long that all of them are busy.

Each run is a process of its own; the nothing-set runs and the best ones alternate. --validate compares the simulator
with the link instead.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _report
import _runs
from _links import MEBI, MEGABIT
from _shaper import Shape
from _validate import tls_line, validate
from _wire_peers import peers
from link import link

from cosxfer.server import running

Settings = dict[str, Any]
Seconds = Callable[[Settings], float]
NOTHING_SET: Settings = {}
SEARCHED_SLOTS = (8, 16, 24, 32, 48, 64)
SEARCHED_PARTS = (4 * MEBI, 1 * MEBI, 8 * MEBI)
SMALL_FILES = 10_000
SMALL_BYTES = 16 << 10
MEMORY_SLOTS = 256
MEMORY_MUST = 400
MEMORY_AIM = 256
"""In MiB."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A line, the size of the file, and the concurrencies that the search tries."""

    name: str
    shape: Shape
    mebi: int
    quick_mebi: int
    slots: tuple[int, ...] = SEARCHED_SLOTS


CASES = (
    Case(
        name="50 ms, 2 Gbit/s, 100 Mbit/s each",
        shape=tls_line(rtt_ms=50, mbit=2000, connection_mbit=100),
        mebi=1024,
        quick_mebi=128,
    ),
    Case(
        name="10 ms, 500 Mbit/s, a single line",
        shape=tls_line(rtt_ms=10, mbit=500),
        mebi=512,
        quick_mebi=64,
        slots=(1, 2, 4, 8, 16),
    ),
    Case(
        name="100 ms, 1 Gbit/s, 30 Mbit/s each",
        shape=tls_line(rtt_ms=100, mbit=1000, connection_mbit=30),
        mebi=512,
        quick_mebi=64,
        slots=(*SEARCHED_SLOTS, 96),
    ),
)


@dataclass(kw_only=True)
class Searched:
    """What a search found, and all that it tried."""

    best: Settings
    tried: list[tuple[Settings, float]]


def search(seconds: Seconds, axes: dict[str, Iterable[int]]) -> Searched:
    """Find the best setting: each axis in turn, the others at their best so far."""
    best = {name: next(iter(values)) for name, values in axes.items()}
    tried: list[tuple[Settings, float]] = []
    known: dict[tuple[int, ...], float] = {}

    def tried_seconds(setting: Settings) -> float:
        key = tuple(setting.values())
        if key not in known:
            known[key] = seconds(setting)
            tried.append((setting, known[key]))
        return known[key]

    for name, values in axes.items():
        best = min(({**best, name: value} for value in values), key=tried_seconds)
    return Searched(best=best, tried=tried)


def against_best(
    name: str, seconds: Seconds, axes: dict[str, Iterable[int]], *, rounds: int, must: float, aim: float
) -> tuple[list[_report.Figure], Searched, list[float]]:
    """Search, and alternate the best setting with nothing set; return the figures and the seconds of the latter."""
    found = search(seconds, axes)
    ours: list[float] = []
    best: list[float] = []
    for _ in range(rounds):
        ours.append(seconds(NOTHING_SET))
        best.append(seconds(found.best))
    setting = ", ".join(
        f"{key} {value // MEBI} MiB" if value >= MEBI else f"{key} {value}" for key, value in found.best.items()
    )
    return (
        [
            _report.ratio(f"{name}: nothing set / best of ours", best, ours, must=must, aim=aim),
            _report.absolute(f"  best of ours: {setting}", best, "s"),
        ],
        found,
        ours,
    )


# -- (a) links ---------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Picture:
    """What `plot` draws of one link: MB/s."""

    title: str
    tried: list[tuple[int, float]]
    """(concurrency, rate) with the best part size of each."""
    defaults: dict[str, float]


def over_links(*, quick: bool) -> tuple[list[_report.Figure], list[Picture]]:
    """Figures and pictures of all links."""
    found: list[_report.Figure] = []
    pictures = []
    rounds = 1 if quick else 3
    with tempfile.TemporaryDirectory() as folder, running(discard=True) as server:
        for case in CASES:
            size = (case.quick_mebi if quick else case.mebi) * MEBI
            path = _runs.make_file(Path(folder, "file"), size)
            with link(server.port, case.shape) as port:

                def seconds(settings: Settings, port: int = port, path: Path = path) -> float:
                    return _runs.upload("cosxfer", port, path, **settings).seconds

                axes = {"concurrency": case.slots[::2] if quick else case.slots, "part_size": SEARCHED_PARTS}
                figures, searched, ours = against_best(case.name, seconds, axes, rounds=rounds, must=0.9, aim=0.95)
                found += figures
                found.append(_report.absolute("  nothing set", [size / value / 1e6 for value in ours], "MB/s"))
                times = {"nothing set": statistics.median(ours)}
                for peer in filter(_runs.installed, () if quick and case is not CASES[0] else _runs.PEERS):
                    runs = [_runs.upload(peer, port, path).seconds for _ in range(rounds)]
                    found.append(_report.ratio(f"  nothing set / {peer} at its defaults", runs, ours))
                    times[peer] = statistics.median(runs)
            pictures.append(_picture(case, size, searched, times))
    return found, pictures


def _picture(case: Case, size: int, searched: Searched, times: dict[str, float]) -> Picture:
    rates: dict[int, float] = {}
    for setting, seconds in searched.tried:
        slots = int(setting["concurrency"])
        rates[slots] = max(rates.get(slots, 0.0), size / seconds / 1e6)
    defaults = {name: size / seconds / 1e6 for name, seconds in times.items()}
    return Picture(title=case.name, tried=sorted(rates.items()), defaults=defaults)


# -- (b) loopback ------------------------------------------------------------------------------------------------------


def on_loopback(*, quick: bool) -> list[_report.Figure]:
    """Figures of a large file and of many small ones."""
    rounds = 1 if quick else 5
    size, count = (256 * MEBI, SMALL_FILES // 10) if quick else (2048 * MEBI, SMALL_FILES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = _runs.make_file(folder / "file", size)
        with running(discard=True) as server:
            axes: dict[str, Iterable[int]] = {
                "concurrency": (4, 16) if quick else (2, 3, 4, 6, 8, 16, 32),
                "part_size": (8 * MEBI, 16 * MEBI) if quick else (8 * MEBI, 4 * MEBI, 16 * MEBI, 32 * MEBI),
            }
            large, _, _ = against_best(
                f"loopback, {size // MEBI} MiB",
                lambda settings: _runs.upload("cosxfer", server.port, path, **settings).seconds,
                axes,
                rounds=rounds,
                must=0.95,
                aim=1.0,
            )
        path.unlink()
        small = folder / "small"
        small.mkdir()
        for number in range(count):
            _runs.make_file(small / f"object-{number}.bin", SMALL_BYTES)
        with _sink(folder) as port:
            many, _, _ = against_best(
                f"loopback, {count} x {SMALL_BYTES >> 10} KiB",
                lambda settings: _runs.upload("cosxfer", port, small, **settings).seconds,
                {"file_parallel_limit": (16, 64) if quick else (4, 8, 16, 32, 64, 128)},
                rounds=rounds,
                must=0.95,
                aim=1.0,
            )
    return large + many


@contextlib.contextmanager
def _sink(folder: Path) -> Iterator[int]:
    """The port of the fastest sink for small objects: nginx, else the embedded server."""
    if shutil.which("nginx") or shutil.which("/usr/sbin/nginx"):
        with peers(folder) as at:
            yield at.http1
    else:
        with running(discard=True) as server:
            yield server.port


# -- (c) memory --------------------------------------------------------------------------------------------------------


def in_memory(*, quick: bool) -> list[_report.Figure]:
    """Peak resident memory of the client, mapped pages of the file included. The slow link keeps all slots busy."""
    seconds = 6 if quick else 20
    shape = Shape(rtt_seconds=0.25, capacity=1000 * MEGABIT, slow_start=True)
    found = []
    with tempfile.TemporaryDirectory() as folder, running(discard=True) as server, link(server.port, shape) as port:
        path = _runs.make_file(Path(folder, "file"), 2048 * MEBI)
        for name, settings in (
            (f"{MEMORY_SLOTS} slots", {"concurrency": MEMORY_SLOTS}),
            (f"{MEMORY_SLOTS} slots of 1 MiB", {"concurrency": MEMORY_SLOTS, "part_size": MEBI}),
            # 25 Gbit/s x 250 ms are 780 MB: as much in flight as 96 parts of 8 MiB.
            ("the window of 25 Gbit/s x 250 ms", {"concurrency": 96, "part_size": 8 * MEBI}),
            ("nothing set", {}),
        ):
            run = _runs.upload("cosxfer", port, path, limit_seconds=seconds, **settings)
            found.append(
                _report.Figure(
                    name=f"peak memory, {name}",
                    value=run.peak_bytes / MEBI,
                    unit="MiB",
                    must=MEMORY_MUST,
                    aim=MEMORY_AIM,
                    better="lower",
                )
            )
    return found


def plot(file: str, pictures: list[Picture]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(pictures), figsize=(5 * len(pictures), 3.8), squeeze=False)
    for axis, picture in zip(axes[0], pictures, strict=True):
        slots, rates = zip(*picture.tried, strict=True)
        axis.plot(slots, rates, "o-", label="ours, fixed concurrency")
        for number, (name, rate) in enumerate(picture.defaults.items()):
            axis.axhline(rate, color=f"C{number + 1}", linestyle="--", label=name)
        axis.set(title=picture.title, xlabel="concurrency", ylabel="MB/s", ylim=(0, None))
        axis.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(file)


def main() -> None:
    parser = _report.arguments((__doc__ or "").splitlines()[0])
    parser.add_argument("--validate", action="store_true", help="compare the simulator with the link instead")
    parser.add_argument("--only", choices=("links", "loopback", "memory"), help="one group of figures")
    options = parser.parse_args()
    if options.validate:
        figures, note = validate(quick=options.quick)
        _report.publish(figures, as_json=options.json, note=note)
        return
    figures, pictures = [], []
    if options.only in (None, "links"):
        figures, pictures = over_links(quick=options.quick)
    if options.only in (None, "loopback"):
        figures += on_loopback(quick=options.quick)
    if options.only in (None, "memory"):
        figures += in_memory(quick=options.quick)
    _report.publish(figures, as_json=options.json, note="Ratios are of rates: above 1, nothing set is faster.")
    if options.plot and pictures:
        plot(options.plot, pictures)


if __name__ == "__main__":
    main()
