"""The simulator against a link in user space: the same uploads, measured through `link.py` and in `_network.py`.

Each upload is one file with a fixed number of parts in flight and a fixed part size. The simulator knows the requests
that carry parts; the time of the others, which follows from the round trip, is added.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import _report
import _runs
from _links import MEBI, MEGABIT, items
from _network import HANDSHAKE_ROUND_TRIPS, Link, Simulation
from _shaper import Shape
from _simulated_client import Fixed, SimulatedClient
from link import link

from cosxfer.engine.upload.find import PARTS_BESIDE_JOURNAL
from cosxfer.server import running

SLOTS = (1, 4, 8, 16, 32)
PART_SIZES = (1 * MEBI, 8 * MEBI)
CLEARLY = 1.05
"""Two settings differ clearly if one is simulated to take this many times as long as the other."""
SERVER_SECONDS = 0.002
"""What the sink takes for a request."""
OTHER_REQUESTS = 3
"""Initiate, Complete, and a HEAD, because the sink returns no CRC64. With many parts, the client looks for an upload of
an earlier process first."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A line, and the size of the file that is sent over it."""

    name: str
    shape: Shape
    size: int


def tls_line(*, rtt_ms: float, mbit: float, connection_mbit: float = float("inf"), queue_ms: float = 50) -> Shape:
    """Return a line whose connections start slowly, after the round trips of TCP and TLS."""
    return Shape(
        rtt_seconds=rtt_ms / 1000,
        capacity=mbit * MEGABIT,
        connection_rate=connection_mbit * MEGABIT,
        queue_seconds=queue_ms / 1000,
        slow_start=True,
        handshake_round_trips=HANDSHAKE_ROUND_TRIPS,
    )


def _case(name: str, mebi: int, **line: float) -> Case:
    return Case(name=name, shape=tls_line(**line), size=mebi * MEBI)


CASES = (
    _case("capped", 128, rtt_ms=50, mbit=2000, connection_mbit=100),
    _case("single line", 128, rtt_ms=10, mbit=500),
    _case("long and thin", 128, rtt_ms=100, mbit=1000, connection_mbit=60),
    _case("far", 64, rtt_ms=200, mbit=400, connection_mbit=80, queue_ms=20),
    _case("near", 128, rtt_ms=2, mbit=800, connection_mbit=100, queue_ms=10),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One setting on one line."""

    case: Case
    slots: int
    part_bytes: int
    measured: float
    simulated: float

    @property
    def ratio(self) -> float:
        return self.measured / self.simulated


def measure(cases: Iterable[Case], *, rounds: int) -> list[Row]:
    """Upload and simulate each setting; ``measured`` is the shortest of the rounds."""
    rows = []  # other work on the machine only adds time, so the shortest is the nearest
    with tempfile.TemporaryDirectory() as folder, running(discard=True) as server:
        for case in cases:
            path = _runs.make_file(Path(folder, "file"), case.size)
            with link(server.port, case.shape) as port:
                for slots, part in itertools.product(SLOTS, PART_SIZES):
                    runs = [
                        _runs.upload("cosxfer", port, path, concurrency=slots, part_size=part) for _ in range(rounds)
                    ]
                    rows.append(
                        Row(
                            case=case,
                            slots=slots,
                            part_bytes=part,
                            measured=min(run.seconds for run in runs),
                            simulated=simulate(case, slots=slots, part_bytes=part),
                        )
                    )
    return rows


def simulate(case: Case, *, slots: int, part_bytes: int) -> float:
    """Seconds of the whole upload on the same line in the model."""
    shape = case.shape
    model = Link(
        name=case.name,
        capacity=shape.capacity,
        rtt_seconds=shape.rtt_seconds,
        connection_rate=shape.connection_rate,
        queue_seconds=shape.queue_seconds,
        server_seconds=SERVER_SECONDS,
        connect_seconds=0.0002,  # without TLS
    )
    client = SimulatedClient(Fixed(slots=slots), items(((case.size, 1),), lambda size: part_bytes))
    Simulation(model, [client]).run()
    assert client.finished_at is not None
    requests = OTHER_REQUESTS + (case.size >= PARTS_BESIDE_JOURNAL * part_bytes)
    more = requests * (shape.rtt_seconds + SERVER_SECONDS)
    # The connection of Initiate is used again; if others are needed, they cost a second handshake.
    if slots > 1:
        more += shape.handshake_round_trips * shape.rtt_seconds
    return client.finished_at + more


def agreement(rows: list[Row]) -> float:
    """Of the pairs of settings that clearly differ in the model, the share that the measurement ranks alike."""
    same = [
        (first.measured < second.measured) == (first.simulated < second.simulated)
        for first, second in itertools.combinations(rows, 2)
        if max(first.simulated, second.simulated) > CLEARLY * min(first.simulated, second.simulated)
    ]
    return sum(same) / len(same)


def figures(rows: list[Row]) -> list[_report.Figure]:
    """Per line: the largest deviation of a time, and the agreement of the ranking."""
    found = []
    for case in dict.fromkeys(row.case for row in rows):
        own = [row for row in rows if row.case is case]
        worst = max(abs(row.ratio - 1) for row in own)
        found.append(
            _report.Figure(
                name=f"{case.name}: measured / simulated - 1, largest",
                value=worst,
                unit="",
                must=0.1,
                aim=0.05,
                better="lower",
            )
        )
        found.append(
            _report.Figure(
                name=f"{case.name}: pairs ranked alike", value=agreement(own), unit="share", must=1.0, aim=1.0
            )
        )
    return found


def table(rows: list[Row]) -> str:
    """All settings, as text."""
    lines = [f"{'line':14} {'slots':>5} {'part MiB':>8} {'measured s':>10} {'simulated s':>11} {'ratio':>6}"]
    lines += [
        f"{row.case.name:14} {row.slots:5} {row.part_bytes // MEBI:8} {row.measured:10.2f} {row.simulated:11.2f} "
        f"{row.ratio:6.3f}"
        for row in rows
    ]
    return "\n".join(lines)


def validate(*, quick: bool) -> tuple[list[_report.Figure], str]:
    """Measure, and return the figures and the table of all settings."""
    rows = measure(CASES[:2] if quick else CASES, rounds=1 if quick else 2)
    return figures(rows), table(rows)
