"""The scheduler on simulated links: completion time of the best static setting ÷ ours, over a matrix of links.

Drives `cosxfer.planning`, `cosxfer.tuning` and `cosxfer.engine.limiter` in virtual time; see `_network.py` for the
model and `_links.py` for the links. The best static setting is found by search over part size and concurrency on the
same link. A ratio of 1 means that ours, with its ramp and nothing known of the link, was as fast as the best setting
that someone could have found by hand. Other links: ``--seed``. Both cores of a machine: ``--jobs 2``.
"""

from __future__ import annotations

import functools
import math
import multiprocessing
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import _report
from _links import MEBI, MIXED, WORKLOADS, items, links
from _network import Link, Simulation
from _simulated_client import Fixed, Item, SimulatedClient

from cosxfer.planning import auto_part_size
from cosxfer.tuning import Tuner
from cosxfer.tuning_rules import MAX_LEVEL, Decision, Learned

PART_SIZES = tuple(n * MEBI for n in (2, 1, 4, 8, 16, 32))
LEVELS = (48, 96, 192, 256, 128, 64, 32, 24, 16, 12, 8, 6, 4, 2, 1)
"""In the order of the search: a good setting first, because a run that is slower than the best is cut short."""
Files = tuple[tuple[int, int], ...]

OTHERS = {
    "Node SDK, 3 x 1 MiB": (3, 1),
    "Python SDK, 5 x 1 MiB": (5, 1),
    "coscli, 5 x 32 MiB": (5, 32),
    "s3transfer, 10 x 8 MiB": (10, 8),
    "obstore, 12 x 5 MiB": (12, 5),
    "32 x 8 MiB": (32, 8),
}
"""What others do whatever the link: requests in flight, part size in MiB."""


@dataclass(kw_only=True)
class Tuned:
    """Our controller as a policy."""

    tuner: Tuner = field(default_factory=Tuner)
    decisions: list[tuple[float, Decision]] = field(default_factory=list)
    hold_until: float = 0.0
    now: float = 0.0

    def level(self) -> int:
        if self.now < self.hold_until:
            return 0
        return self.tuner.level

    def observe(self, now: float, client: SimulatedClient) -> bool:
        passed, self.now = now - self.now, now
        decision = self.tuner.observe(
            now,
            bytes_acked=client.bytes_acked,
            requests_done=client.requests_done,
            in_flight=client.in_flight,
            most_in_flight=client.limiter.take_most_in_flight(),
            bytes_in_flight=client.bytes_in_flight,
            sent_in_flight=client.sent_in_flight,
            waiting=client.waiting,
            bytes_left=client.bytes_left,
            requests_left=client.requests_left + client.in_flight,
            latency_seconds=client.latency_seconds,
            busy_seconds=0.0,  # the harder case: a client's ceiling is that of its disk, which the tuner does not see
            refused=client.refused,
            retry_after_seconds=client.retry_after_seconds,
        )
        self.hold_until = decision.hold_until
        client.limiter.pace(decision.requests_per_second, passed)
        if decision.changed or not self.decisions or decision.reason != self.decisions[-1][1].reason:
            self.decisions.append((now, decision))
        return decision.abandon


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run of one policy."""

    seconds: float
    refused: float
    requests: int
    most_in_flight: int
    share: float
    """Of the bytes that all clients have moved, the first one's."""


def _outcome(simulation: Simulation, main: SimulatedClient) -> Outcome:
    assert main.finished_at is not None
    moved = sum(client.bytes_acked for client in simulation.clients)
    return Outcome(
        seconds=main.finished_at,
        refused=main.refused,
        requests=main.total_requests,
        most_in_flight=main.most_in_flight,
        share=main.bytes_acked / moved,
    )


def run_static(
    link: Link, files: Files, *, slots: int, part_bytes: int, limit_seconds: float = math.inf
) -> Outcome | None:
    """A fixed number of requests in flight; on a link with a clone, the clone does the same. None: too slow."""
    of = items(files, lambda size: part_bytes)
    clients = [SimulatedClient(Fixed(slots=slots), of, multipart=in_parts(files))]
    if link.clone:
        clients.append(_endless(Fixed(slots=slots), part_bytes, ENDLESS * clients[0].total_bytes))
    simulation = Simulation(link, clients)
    main = simulation.run(limit_seconds=limit_seconds)
    return None if main is None else _outcome(simulation, main)


ENDLESS = 100
"""A clone has so many times the work of the first client."""


def in_parts(files: Files) -> bool:
    """Whether nothing can be sent before an Initiate."""
    return all(size > MEBI for size, _ in files)


def _endless(policy: Fixed | Tuned, part_bytes: int, total_bytes: float) -> SimulatedClient:
    """A client with so much work that it does not end."""
    parts = math.ceil(total_bytes / part_bytes)
    return SimulatedClient(policy, [Item(request_bytes=part_bytes, count=parts)], bundles=1 << 40)


def run_tuned(
    link: Link,
    files: Files,
    *,
    learned: Learned | None = None,
    trace: Tuned | None = None,
    limit_seconds: float = math.inf,
) -> Outcome | None:
    """Our part size and our controller."""
    policy = trace or Tuned(tuner=Tuner(learned=learned))
    of = items(files, lambda size: plan(size, learned))
    clients = [SimulatedClient(policy, of, multipart=in_parts(files), bundles=2_000)]
    if link.clone:
        part = plan(10_240 * MEBI, None)
        clients.append(_endless(Tuned(), part, ENDLESS * clients[0].total_bytes))
    simulation = Simulation(link, clients)
    main = simulation.run(limit_seconds=limit_seconds)
    return None if main is None else _outcome(simulation, main)


def plan(size: int, learned: Learned | None) -> int:
    """The part size of ours. A mapped part in flight holds 1 MiB of memory, whatever its size: no budget limits it."""
    if learned is None:
        return auto_part_size(size, window_bytes=size)
    rate = learned.stream_bytes_per_second
    return auto_part_size(size, window_bytes=size, slots=learned.level, stream_bytes_per_second=rate)


def least_seconds(link: Link, files: Files, slots: int, part_bytes: int) -> float:
    """What a static setting takes at least: each slot has one request at a time, at the rate of a flow alone."""
    latency = link.rtt_seconds + link.server_seconds
    seconds = sum(
        item.count * (latency + item.request_bytes / link.flow_limit) for item in items(files, lambda size: part_bytes)
    )
    return 0.98 * seconds / slots


@functools.cache
def best_static(link: Link, files: Files) -> tuple[float, int, int]:
    """Seconds, slots and part size of the best static setting: a grid, then a finer step around its best."""
    sizes = PART_SIZES if any(size > MEBI for size, _ in files) else (MEBI,)
    tried: set[tuple[int, int]] = set()
    best = (math.inf, 1, sizes[0])

    def attempt(slots: int, part: int) -> None:
        nonlocal best
        if (slots, part) in tried:
            return
        requests = sum(-(-size // part) * count for size, count in files)
        if 1 < slots >= 2 * requests:
            return
        tried.add((slots, part))
        if least_seconds(link, files, slots, part) >= best[0]:
            return
        outcome = run_static(link, files, slots=slots, part_bytes=part, limit_seconds=best[0])
        if outcome is not None and outcome.seconds < best[0]:
            best = (outcome.seconds, slots, part)

    ideal = sum(size * count for size, count in files) / (link.capacity * link.credit_factor)
    for slots in LEVELS:
        for part in sizes:
            if best[0] > 1.003 * ideal:
                attempt(slots, part)
    for factor in (0.7, 0.84, 1.2, 1.4):
        attempt(min(MAX_LEVEL, max(1, round(best[1] * factor))), best[2])
    return best


@dataclass(frozen=True, kw_only=True)
class Row:
    """One link with one workload."""

    link: Link
    workload: str
    best: tuple[float, int, int]
    """Seconds, slots and part size of the best static setting."""
    ours: Outcome | None
    """None: more than `PATIENCE` times as slow as the best static setting."""
    others: dict[str, float]
    """Seconds of the policies of others."""

    @property
    def kind(self) -> str:
        return self.link.name.rpartition(" ")[0]

    @property
    def ratio(self) -> float:
        return 1 / PATIENCE if self.ours is None else self.best[0] / self.ours.seconds


PATIENCE = 20
"""A run that is this much slower than the best is cut short: its ratio is 1 / PATIENCE at most."""


def measure(of: Iterable[Link], workloads: Mapping[str, Files], *, jobs: int = 1) -> list[Row]:
    """For each link and workload: search the best static setting, and run ours and the policies of others."""
    tasks = [(link, name, files) for link in of for name, files in workloads.items()]
    if jobs == 1:
        return [measure_row(*task) for task in tasks]
    with multiprocessing.Pool(jobs) as pool:
        return pool.starmap(measure_row, tasks, chunksize=1)


def measure_row(link: Link, name: str, files: Files) -> Row:
    best = best_static(link, files)
    limit = PATIENCE * best[0]
    others = {}
    for other, (slots, mib) in OTHERS.items():
        outcome = run_static(link, files, slots=slots, part_bytes=mib * MEBI, limit_seconds=limit)
        others[other] = limit if outcome is None else outcome.seconds
    ours = run_tuned(link, files, limit_seconds=limit)
    return Row(link=link, workload=name, best=best, ours=ours, others=others)


def against_serial(link: Link, files: Files) -> float:
    """Serial time ÷ ours, on a line that one connection fills."""
    serial = run_static(link, files, slots=1, part_bytes=8 * MEBI)
    ours = run_tuned(link, files)
    assert serial is not None
    assert ours is not None
    return serial.seconds / ours.seconds


def shares(link: Link, *, late_seconds: float) -> float:
    """The share of a client whose twin began ``late_seconds`` later, from the time when both have settled."""
    part = plan(10_240 * MEBI, None)
    clients = [_endless(Tuned(), part, 1_000 * link.capacity) for _ in range(2)]
    simulation = Simulation(replace(link, clone=False), clients, starts=(0.0, late_seconds))
    simulation.run(limit_seconds=late_seconds + 60)
    before = [client.bytes_acked for client in clients]
    simulation.run(limit_seconds=late_seconds + 240)
    first, second = (client.bytes_acked - old for client, old in zip(clients, before, strict=True))
    return first / (first + second)


def against_others(rows: list[Row]) -> dict[str, list[float]]:
    """Time of each fixed policy of others ÷ ours; the entry "best of them" is the best for each link and workload."""
    ratios: dict[str, list[float]] = {name: [] for name in (*OTHERS, "best of them")}
    for row in rows:
        ours = PATIENCE * row.best[0] if row.ours is None else row.ours.seconds
        for name, seconds in row.others.items():
            ratios[name].append(seconds / ours)
        ratios["best of them"].append(min(row.others.values()) / ours)
    return ratios


def figures(rows: list[Row], of: list[Link], *, jobs: int = 1) -> list[_report.Figure]:
    """The table of what must be reached."""
    figure = _report.Figure
    kinds: dict[str, list[float]] = {}
    for row in rows:
        kinds.setdefault(row.kind, []).append(row.ratio)
    every = [row.ratio for row in rows]
    table = [
        figure(name="best static / ours, median", value=statistics.median(every), unit="x", must=0.95, aim=0.98),
        figure(name="best static / ours, worst", value=min(every), unit="x", must=0.80, aim=0.90),
    ]
    open_links = [row.ratio for row in rows if row.kind != "penalised"]
    if open_links:
        table.append(
            figure(name="  without silent penalties, worst", value=min(open_links), unit="x", must=0.80, aim=0.90)
        )
        low = sum(value < 0.8 for value in open_links) / len(open_links)
        table.append(figure(name="  without silent penalties, below 0.80", value=low, unit="share"))
    if "penalised" in kinds:
        huge = [row.ratio for row in rows if row.kind == "penalised" and row.workload == "10 GiB"]
        table.append(
            figure(
                name="silent penalty / best static, worst", value=min(kinds["penalised"]), unit="x", must=0.80, aim=0.95
            )
        )
        table.append(figure(name="  the same, median", value=statistics.median(kinds["penalised"]), unit="x"))
        if huge:
            table.append(figure(name="  the same, 10 GiB, worst", value=min(huge), unit="x"))
    first = [link for link in of if link.name.endswith(" 1")]
    mixed = [row.ratio for row in measure(first, {"mixed": MIXED}, jobs=jobs)]
    table.append(figure(name="mixed files, best static / ours, median", value=statistics.median(mixed), unit="x"))
    table.append(figure(name="  the same, worst", value=min(mixed), unit="x"))
    single = [link for link in of if link.name.startswith("single")]
    serial = [against_serial(link, WORKLOADS[name]) for link in single for name in ("100 MiB", "10 GiB")]
    if serial:
        table.append(figure(name="single line, serial / ours, worst", value=min(serial), unit="x", must=0.97, aim=1.0))
    sent = [(row.ours.refused, row.ours.requests) for row in rows if row.kind == "throttled" and row.ours is not None]
    if sent:
        share = sum(refused for refused, _ in sent) / sum(requests for _, requests in sent)
        table.append(
            figure(
                name="requests refused, throttled links",
                value=share,
                unit="share",
                must=0.01,
                aim=0.003,
                better="lower",
            )
        )
    cloned = [link for link in of if link.name.startswith("cloned")]
    uneven = [abs(shares(link, late_seconds=late) - 0.5) + 0.5 for link in cloned for late in (0.0, 10.0)]
    if uneven:
        table.append(
            figure(
                name="two clients, larger share, worst",
                value=max(uneven),
                unit="share",
                must=0.6,
                aim=0.55,
                better="lower",
            )
        )
    for name, ratios in against_others(rows).items():
        if ratios and name != "best of them":
            table.append(
                figure(name=f"{name} / ours, median", value=statistics.median(ratios), unit="x", must=1.0, aim=1.0)
            )
        elif ratios:
            table.append(
                figure(name="best of the others / ours, worst", value=min(ratios), unit="x", must=0.9, aim=1.0)
            )
    table += [
        figure(name=f"  {kind}, median", value=statistics.median(values), unit="x") for kind, values in kinds.items()
    ]
    return table


def main() -> None:
    parser = _report.arguments(__doc__ or "")
    parser.add_argument("--seed", type=int, default=1, help="draw other links (default 1)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="use N processes (default 1)")
    parser.add_argument("--worst", type=int, default=10, metavar="N", help="list the N worst rows (default 10)")
    parser.add_argument("--trace", metavar="LINK", help="print the decisions on one link, for each workload")
    options = parser.parse_args()
    chosen = links(options.seed, share=0.2 if options.quick else 1.0)
    if options.trace:
        print_trace([link for link in chosen if link.name == options.trace])
        return
    rows = measure(chosen, WORKLOADS, jobs=options.jobs)
    table = figures(rows, chosen, jobs=options.jobs)
    worst = sorted(rows, key=lambda row: row.ratio)[: options.worst]
    note = "\n".join(f"{row.ratio:.3f} {describe(row)}" for row in worst)
    _report.publish(table, as_json=options.json, note=note, links=str(len(chosen)), seed=str(options.seed))


def describe(row: Row) -> str:
    seconds, slots, part = row.best
    link = row.link
    ours = "too slow" if row.ours is None else f"{row.ours.seconds:.2f} s"
    setting = f"{slots} x {part // MEBI} MiB in {seconds:.2f} s"
    line = f"{link.capacity * 8e-6:.0f} Mbit/s, {link.rtt_seconds * 1e3:.1f} ms"
    return f"{link.name} ({line}), {row.workload}: best {setting}, ours {ours}"


def print_trace(of: list[Link]) -> None:
    for link in of:
        print(link)
        for name, files in WORKLOADS.items():
            policy = Tuned()
            outcome = run_tuned(link, files, trace=policy)
            print(f"{name}: {outcome}")
            for at, decision in policy.decisions[:40]:
                print(f"  {at:8.2f} s  {decision.level:4}  {decision.reason}")


if __name__ == "__main__":
    main()
