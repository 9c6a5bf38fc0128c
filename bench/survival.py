"""Random faults, many scenarios: what an upload survives, and what it says if it does not.

Each scenario sends something through a proxy that delays, cuts, resets, swallows or damages what it carries
(`_chaos.py`), to an embedded server that follows a fault script, while clients and servers are restarted and files
change (`_scenario.py`). It must end done, with the bytes equal, or with an error that its faults explain, within its
time (`_survive.py`). A scenario is a function of the seed and its number.

    bench/survival.py --seed 7 --scenarios 1000
    bench/survival.py --seed 7 --moves           (downloads, copies and syncs, see `_moves.py`)
    bench/survival.py --seed 7 --only 123        (one scenario, with all that it reports)
    bench/survival.py --seed 7 --flips 10000     (flipped bits, see `_flips.py`)
    bench/survival.py --seed 7 --kills 200       (kill -9 of an upload of 1 GiB, see `_kills.py`)
"""

from __future__ import annotations

import asyncio
import faulthandler
import itertools
import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict

os.environ["COSXFER_STATE_DIR"] = os.devnull  # no client learns from another

import _report
from _flips import CAMPAIGNS, Flipper, Flips
from _kills import WINDOW_BYTES, Kills, kill
from _moves import MOVES, MoveScenario, draw_move
from _scenario import OPERATIONS, Scenario, draw
from _survive import Confirmed, Outcome, World, run_scenario
from _survive_moves import Fetched, run_move

from cosxfer.limits import MIB

WORKERS = 4
REPORTED_EACH = 500
"""Scenarios between two lines about the progress."""
FAULTS = ("wrong", "torn", "hangs", "unreported", "unexpected")


def main() -> None:
    parser = _report.arguments((__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenarios", type=int, default=1000, metavar="N")
    parser.add_argument("--workers", type=int, default=WORKERS, metavar="N", help="scenarios at a time")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="run this one scenario and print all that is known")
    parser.add_argument("--flips", type=int, metavar="N", help="flip N bits instead")
    parser.add_argument("--kills", type=int, metavar="N", help="kill N uploads instead")
    parser.add_argument("--mib", type=int, default=1024, metavar="N", help="size of the upload that is killed")
    parser.add_argument("--moves", action="store_true", help="downloads, copies and syncs instead of uploads")
    parser.add_argument("--worker", action="store_true", help=_report.argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.seed, moves=options.moves)
        return
    if options.flips is not None:
        publish_flips(flip(options.seed, options.flips), seed=options.seed, as_json=options.json)
        return
    if options.kills is not None:
        publish_kills(kill(options.kills, size=options.mib * MIB, seed=options.seed), options.seed, options.json)
        return
    numbers = range(20 if options.quick else options.scenarios) if options.only is None else [options.only]
    if options.only is not None:
        print(json.dumps(_drawn(options.seed, options.only, moves=options.moves).describe(), indent=1, default=str))
    began = time.monotonic()
    report = _reporting(len(numbers))
    outcomes = run_all(options.seed, numbers, workers=options.workers, report=report, moves=options.moves)
    print(f"{len(outcomes)} scenarios in {time.monotonic() - began:.0f} s", file=sys.stderr)
    if options.only is not None:
        print(json.dumps(asdict(outcomes[0]), indent=1))
    else:
        publish(outcomes, seed=options.seed, as_json=options.json)
    if not all(outcome.clean for outcome in outcomes):
        sys.exit(1)


def _drawn(seed: int, number: int, *, moves: bool) -> Scenario | MoveScenario:
    return draw_move(seed, number) if moves else draw(seed, number)


def _reporting(total: int) -> Callable[[int, Outcome], None]:
    """Return what reports outcomes to standard error: those that are wrong, and how many there are so far."""
    ended = itertools.count(1)

    def report(seed: int, outcome: Outcome) -> None:
        _complain(seed, outcome)
        if (count := next(ended)) % REPORTED_EACH == 0:
            print(f"{count:,} of {total:,} scenarios", file=sys.stderr, flush=True)

    return report


def _complain(seed: int, outcome: Outcome) -> None:
    if not outcome.clean:
        problems = {name: value for name in (*FAULTS, "again") if (value := getattr(outcome, name))}
        print(f"scenario {outcome.number}: {json.dumps(problems)}", file=sys.stderr)
        moves = " --moves" if outcome.operation in MOVES else ""
        print(f"  alone: bench/survival.py --seed {seed}{moves} --only {outcome.number}", file=sys.stderr, flush=True)


# -- many scenarios --------------------------------------------------------------------------------------------------


def run_all(
    seed: int,
    numbers: Iterable[int],
    *,
    workers: int = WORKERS,
    report: Callable[[int, Outcome], None] | None = None,
    moves: bool = False,
) -> list[Outcome]:
    """Run the scenarios in processes of their own, and return the outcomes in the order of their numbers.

    ``moves``: those of downloads, copies and syncs.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    numbers = list(numbers)
    for number in numbers:
        waiting.put(number)
    outcomes: list[Outcome] = []

    def serve() -> None:
        worker: Worker | None = None
        try:
            while True:
                try:
                    number = waiting.get_nowait()
                except queue.Empty:
                    return
                worker = worker or Worker(seed, moves=moves)
                outcome = worker.run(number)
                if worker.dead:
                    worker = None
                outcomes.append(outcome)
                if report is not None:
                    report(seed, outcome)
        finally:
            if worker is not None:
                worker.end()

    threads = [threading.Thread(target=serve) for _ in range(min(workers, len(numbers)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(outcomes, key=lambda outcome: outcome.number)


class Worker:
    """A process that runs one scenario after another. If it gives no outcome in time, that is a hang."""

    def __init__(self, seed: int, *, moves: bool) -> None:
        self._seed = seed
        self._moves = moves
        self.dead = False
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker", "--seed", str(seed), *(["--moves"] if moves else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def run(self, number: int) -> Outcome:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        scenario = _drawn(self._seed, number, moves=self._moves)
        self._process.stdin.write(f"{number}\n")
        limit = scenario.budget_seconds * 1.5 + 30
        ready, _, _ = select.select([self._process.stdout], [], [], limit)
        line = self._process.stdout.readline() if ready else ""
        if line:
            return Outcome(**json.loads(line))
        self.dead = True
        self._process.kill()
        status = self.end()
        what = f"no outcome in {limit:g} s" if not ready else f"the process ended with status {status}"
        return Outcome(number=number, operation=scenario.operation, hangs=[what])

    def end(self) -> int:
        """Wait until it has ended; returns its status."""
        with self._process:  # closes the pipes: it reads its last line
            assert self._process.stdin is not None
            self._process.stdin.close()
        return self._process.returncode


def work(seed: int, *, moves: bool) -> None:
    """Read numbers of scenarios from standard input, and write their outcomes to standard output."""
    faulthandler.enable()
    confirmed, fetched = Confirmed(), Fetched()
    with World.opened() as world, fetched.watching() if moves else confirmed.watching():
        for line in sys.stdin:
            scenario = _drawn(seed, int(line), moves=moves)
            faulthandler.dump_traceback_later(scenario.budget_seconds * 1.4)
            if isinstance(scenario, MoveScenario):
                outcome = asyncio.run(run_move(scenario, world, fetched))
            else:
                outcome = asyncio.run(run_scenario(scenario, world, confirmed))
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps(asdict(outcome)), flush=True)


# -- the table -------------------------------------------------------------------------------------------------------


def publish(outcomes: list[Outcome], *, seed: int, as_json: bool) -> None:
    """Print the figures, what each operation came to, and how often each fault happened."""

    def zero(name: str, value: float) -> _report.Figure:
        return _report.Figure(name=name, value=value, unit="", must=0, better="lower")

    def count(name: str, value: float, unit: str = "") -> _report.Figure:
        return _report.Figure(name=name, value=value, unit=unit)

    times = sorted(outcome.seconds for outcome in outcomes)
    faults = Counter[str]()
    for outcome in outcomes:
        faults.update(outcome.happened)
    figures = [
        count("scenarios", len(outcomes)),
        count("ended done", sum(outcome.done for outcome in outcomes)),
        count("ended with the right error", sum(not outcome.done and outcome.clean for outcome in outcomes)),
        count("faults that happened", sum(faults.values())),
        zero("wrong objects or files reported done", sum(len(outcome.wrong) for outcome in outcomes)),
        zero("objects or files neither old nor new after an error", sum(len(outcome.torn) for outcome in outcomes)),
        zero("hangs", sum(len(outcome.hangs) for outcome in outcomes)),
        zero("errors that no fault explains", sum(len(outcome.unexpected) for outcome in outcomes)),
        zero("confirmed parts sent or fetched again", sum(outcome.again for outcome in outcomes)),
        zero("uploads or files left behind unreported", sum(len(outcome.unreported) for outcome in outcomes)),
        count("uploads or files left behind and reported", sum(outcome.reported for outcome in outcomes)),
        count("median time", times[len(times) // 2], "s"),
        count("longest time", times[-1], "s"),
    ]
    _report.publish(figures, as_json=as_json, note=_note(outcomes, faults), seed=str(seed))


# -- flipped bits ----------------------------------------------------------------------------------------------------


def flip(seed: int, count: int) -> list[Flips]:
    """Flip ``count`` bits, the same number in each campaign."""
    with World.opened() as world:
        flipper = Flipper(world, seed)
        return [flipper.run(campaign, count // len(CAMPAIGNS)) for campaign in CAMPAIGNS]


def publish_flips(campaigns: list[Flips], *, seed: int, as_json: bool) -> None:
    """Print how many flips were found, and by which check. Ends with status 1 if one was missed."""
    figures = []
    lines = []
    for flips in campaigns:
        figures.append(_report.Figure(name=f"bits flipped: {flips.campaign}", value=flips.flips, unit=""))
        figures.append(
            _report.Figure(name=f"missed: {flips.campaign}", value=len(flips.missed), unit="", must=0, better="lower")
        )
        lines += [f"{flips.campaign:18} {count:6}  {name}" for name, count in flips.found_by.most_common()]
        if flips.harmless:
            lines.append(f"{flips.campaign:18} {flips.harmless:6}  no effect")
        lines += flips.missed
    _report.publish(figures, as_json=as_json, note="\n".join(lines), seed=str(seed))
    if any(flips.missed for flips in campaigns):
        sys.exit(1)


# -- kills -----------------------------------------------------------------------------------------------------------


def publish_kills(kills: Kills, seed: int, as_json: bool) -> None:
    """Print what was sent again. Ends with status 1 if that is more than was in flight, or an object is wrong."""
    shares = sorted(again / kills.size for again in kills.again)

    def share(name: str, value: float, must: float | None = None) -> _report.Figure:
        return _report.Figure(name=name, value=value, unit="", must=must, better="lower")

    figures = [
        _report.Figure(name="uploads killed", value=len(shares), unit=""),
        _report.Figure(name="objects sent", value=kills.objects, unit=""),
        _report.Figure(name="bytes in flight / size", value=WINDOW_BYTES / kills.size, unit=""),
        share("bytes sent again / size, the worst kill", shares[-1], WINDOW_BYTES / kills.size + 0.01),
        share("bytes sent again / size, the median kill", shares[len(shares) // 2]),
        share("objects that are not the file", kills.differ, 0),
        share("uploads with parts that nobody continued", kills.left, 0),
    ]
    _report.publish(figures, as_json=as_json, seed=str(seed))
    if not all(figure.reached(figure.must) for figure in figures):
        sys.exit(1)


def _note(outcomes: list[Outcome], faults: Counter[str]) -> str:
    lines = [f"{'operation':12} {'scenarios':>9} {'done':>6} {'right error':>12}"]
    for operation in dict.fromkeys((*OPERATIONS, *MOVES)):
        if operation not in {outcome.operation for outcome in outcomes}:
            continue
        of = [outcome for outcome in outcomes if outcome.operation == operation]
        done = sum(outcome.done for outcome in of)
        lines.append(f"{operation:12} {len(of):9} {done:6} {sum(o.clean and not o.done for o in of):12}")
    lines += ["", f"{'fault':45} {'happened':>8}"]
    lines += [f"{name:45} {count:8}" for name, count in sorted(faults.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
