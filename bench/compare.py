"""Two revisions of cosxfer, side by side: which benchmarks cost more, which less, and how sure that is.

Both revisions are taken out of git into temporary trees and get their own build of the extension; the packages are
those of this environment. Both run the benchmarks of NEW, so that the work is the same. They run in turn, in processes
of their own, and change places after each round. A ratio is the cost of NEW divided by that of OLD, round by round, so
that a drift of the machine affects both: below 1 is better. The figure is the geometric mean of the ratios of the
rounds, with a confidence interval of 95 % by bootstrap, widened for few rounds. One interval in twenty misses the true
ratio by chance: run it again before you believe one row of many.

The cost of a part (`bench/micro`) is the time of its fastest round in each process, because all that disturbs adds
time. The cost of `upload.py` and `small.py` is CPU and time of their workers, which send to a sink in another process.
That of `hashing.py` is the inverse of its figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import _report
import numpy as np

from cosxfer.limits import MIB
from cosxfer.server import running

ROOT = Path(__file__).resolve().parents[1]
RESAMPLES = 10_000
CONFIDENCE = 0.95
LEAST_ROUNDS = 3
SMALL_FILES, SMALL_BYTES = 400, 16 << 10
MICRO_OPTIONS = ("--benchmark-max-time=0.1", "--benchmark-min-rounds=3", "--benchmark-disable-gc")

Costs = dict[str, tuple[float, str] | str]
"""By benchmark: what it cost, and the unit; or why it failed."""


class CompareError(Exception):
    """The comparison cannot be made; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One revision."""

    name: str
    """``"old"`` or ``"new"``."""
    revision: str
    """As it was given."""
    commit: str
    tree: Path

    def run(self, arguments: Sequence[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Python with the package of this revision."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("COS", "PYTEST"))}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment |= {"PYTHONPATH": str(self.tree), "COSXFER_STATE_DIR": os.devnull, "COSXFER_BUILD_ALL": "1"}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.tree, env=environment, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise CompareError(f"{self.name} ({self.revision}): {' '.join(arguments[:3])} failed:\n{tail(done)}")
        return done


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The cost of NEW divided by that of OLD."""

    suite: str
    name: str
    ratio: float
    low: float
    high: float
    old: float
    """Median of the rounds."""
    new: float
    unit: str
    verdict: str
    """``"better"`` or ``"worse"`` if the whole interval is on that side of 1, else ``"same"``."""


@dataclass(frozen=True, kw_only=True)
class NotCompared:
    """A benchmark that did not run on both sides in each round."""

    suite: str
    name: str
    side: str
    why: str


Run = Callable[[Side], Costs]
"""Runs a suite once."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("old", metavar="OLD", help="a git revision, such as main~20; uncommitted changes do not count")
    parser.add_argument("new", metavar="NEW", help="another one, such as HEAD")
    parser.add_argument(
        "--suite",
        action="append",
        metavar="NAME",
        help=f"one of {', '.join(suites(ROOT))}; may be repeated. Default: all",
    )
    parser.add_argument("--rounds", type=int, default=None, metavar="N", help="default: 15, with --quick 5")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and less data")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    rounds = options.rounds if options.rounds is not None else 5 if options.quick else 15
    if rounds < LEAST_ROUNDS:
        parser.error(f"--rounds is {rounds}; an interval needs {LEAST_ROUNDS} or more")
    # A normal end, so that the trees and the sink go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        compare(options, rounds)
    except CompareError as error:
        sys.exit(f"bench/compare.py: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def compare(options: argparse.Namespace, rounds: int) -> None:
    commits = [commit_of(revision) for revision in (options.old, options.new)]
    with tempfile.TemporaryDirectory(prefix="cosxfer-compare-") as name:
        folder = Path(name)
        old, new = (
            Side(name=side, revision=revision, commit=commit, tree=folder / side)
            for side, revision, commit in zip(("old", "new"), (options.old, options.new), commits, strict=True)
        )
        for side in (old, new):
            say(f"taking {side.revision} ({side.commit[:12]}) out of git")
            take_out(side)
        chosen = options.suite or suites(new.tree)
        if unknown := set(chosen) - set(suites(new.tree)):
            raise CompareError(
                f"{options.new} has no benchmark {', '.join(sorted(unknown))}; it has {', '.join(suites(new.tree))}"
            )
        share_benchmarks(old, new)
        build(old, new)
        with contextlib.ExitStack() as stack:
            runs = {suite: run_of(suite, stack, folder, quick=options.quick) for suite in chosen}
            costs = interleaved(runs, (old, new), rounds)
    ratios, missing = judged(costs, rounds)
    publish(ratios, missing, old=old, new=new, rounds=rounds, as_json=options.json)


def say(text: str) -> None:
    print(f"compare: {text}", file=sys.stderr, flush=True)


def tail(done: subprocess.CompletedProcess[str], lines: int = 15) -> str:
    return "\n".join((done.stdout + done.stderr).strip().splitlines()[-lines:])


# -- revisions ---------------------------------------------------------------------------------------------------------


def git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)
    except OSError as error:
        raise CompareError(f"git cannot be run ({error.strerror}); install it") from error


def commit_of(revision: str) -> str:
    """Return the commit of a revision. Raises `CompareError`."""
    top = git("rev-parse", "--show-toplevel")
    if top.returncode or Path(os.fsdecode(top.stdout.strip())).resolve() != ROOT:
        reason = top.stderr.decode(errors="replace").strip()
        raise CompareError(
            f"there is no git history in {ROOT}{f' ({reason})' if reason else ''}, so no revision can be built; "
            "run this in a clone of the repository"
        )
    found = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if found.returncode:
        shallow = git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
        remedy = (
            "the clone is shallow: git fetch --unshallow gets the rest" if shallow else "git log shows what there is"
        )
        raise CompareError(f"{revision!r} is no revision of this repository; {remedy}")
    return found.stdout.decode().strip()


def take_out(side: Side) -> None:
    """Write the files of a revision to its tree. The repository and its list of worktrees stay as they are."""
    archive = side.tree.with_suffix(".tar")
    done = git("archive", "--format=tar", f"--output={archive}", side.commit)
    if done.returncode:
        raise CompareError(f"git archive {side.revision}: {done.stderr.decode(errors='replace').strip()}")
    side.tree.mkdir()
    with tarfile.open(archive) as files:
        # Python 3.11.3 and earlier have no filters. The files are those of our own repository.
        files.extractall(side.tree, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    archive.unlink()


def share_benchmarks(old: Side, new: Side) -> None:
    """Let both sides run the same benchmarks. Some add the folder above them to the path, so each side has a copy."""
    shutil.rmtree(old.tree / "bench", ignore_errors=True)
    shutil.copytree(new.tree / "bench", old.tree / "bench")


def build(old: Side, new: Side) -> None:
    """Build the extensions of both sides; once if their sources are the same."""
    for side in (old, new):
        if side is new and native_sources(old) == native_sources(new):
            say("the extensions of both sides have the same sources: copied")
            for library in (old.tree / "cosxfer/_native").glob("*.so"):
                shutil.copy2(library, new.tree / "cosxfer/_native")
        else:
            say(f"building the extensions of {side.revision}")
            side.run(["setup.py", "-q", "build_ext", "--inplace"])
        side.run(["-m", "compileall", "-q", "cosxfer", "bench"])
        probe = "import cosxfer.client, cosxfer._native as native; print(cosxfer.__file__, native.COMPILED)"
        found = side.run(["-c", probe]).stdout.split()
        if found != [str(side.tree / "cosxfer/__init__.py"), "True"]:
            raise CompareError(f"{side.name} ({side.revision}) does not run its own build: {' '.join(found)}")


def native_sources(side: Side) -> dict[str, bytes]:
    files = [side.tree / "setup.py", *(path for path in (side.tree / "src_ext").rglob("*") if path.is_file())]
    return {str(path.relative_to(side.tree)): path.read_bytes() for path in files if path.exists()}


# -- benchmarks --------------------------------------------------------------------------------------------------------

SCRIPTS = ("hashing.py", "upload.py", "small.py")


def suites(tree: Path) -> list[str]:
    """Return the names of the suites that a tree has."""
    micro = sorted(path.stem.removeprefix("test_") for path in (tree / "bench/micro").glob("test_*.py"))
    return [*micro, *(name for name in SCRIPTS if (tree / "bench" / name).exists())]


def run_of(suite: str, stack: contextlib.ExitStack, folder: Path, *, quick: bool) -> Run:
    """Return what runs a suite once. ``stack`` ends what it needs."""
    if suite == "hashing.py":
        return run_figures
    if suite == "upload.py":
        path = folder / "upload.bin"
        with path.open("wb") as file:
            for _ in range(16 if quick else 128):
                file.write(os.urandom(8 * MIB))
        port = stack.enter_context(running(discard=True)).port
        clients = ("cosxfer HTTP/1.1", "cosxfer h2c")
        return lambda side: run_workers(side, suite, clients, [str(port), str(path)])
    if suite == "small.py":
        files = folder / "small"
        files.mkdir()
        for number in range(SMALL_FILES * (1 if quick else 5)):
            (files / f"object-{number}.bin").write_bytes(os.urandom(SMALL_BYTES))
        port = stack.enter_context(running(discard=True, checksum=True)).port
        clients = ("AsyncClient.put_object", "Client.put_object", "upload_files")
        arguments = [str(port), str(files), *["--quick"] * quick]
        return lambda side: run_workers(side, suite, clients, arguments)
    return lambda side: run_micro(side, suite)


def run_micro(side: Side, suite: str) -> Costs:
    found = side.tree / "benchmark.json"
    found.unlink(missing_ok=True)
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *MICRO_OPTIONS, f"--benchmark-json={found}"]
    done = side.run([*arguments, f"bench/micro/test_{suite}.py"], check=False)
    costs: Costs = dict(_FAILED.findall(done.stdout))
    if found.exists() and (text := found.read_text()):
        costs |= {entry["name"]: (float(entry["stats"]["min"]), "s") for entry in json.loads(text)["benchmarks"]}
    return costs or {"": tail(done, 1)}


_FAILED = re.compile(r"^(?:FAILED|ERROR) bench/micro/[\w.]+(?:::)?(.*?)(?: - (.*))?$", re.MULTILINE)
"""A line of pytest's summary. A module that cannot be imported has no test."""


def run_workers(side: Side, suite: str, clients: Sequence[str], arguments: Sequence[str]) -> Costs:
    costs: Costs = {}
    for client in clients:
        done = side.run([f"bench/{suite}", "--worker", client, *arguments], check=False)
        if done.returncode:
            costs[client] = tail(done, 1)
            continue
        figures = json.loads(done.stdout)
        costs[f"{client}: CPU"] = (float(figures["cpu_seconds"]), "s")
        costs[f"{client}: time"] = (float(figures["seconds"]), "s")
    return costs


def run_figures(side: Side) -> Costs:
    done = side.run(["bench/hashing.py", "--quick", "--json"], check=False)
    if done.returncode:
        return {"": tail(done, 1)}
    costs: Costs = {}
    for figure in json.loads(done.stdout)["figures"]:
        lower, value, unit = figure["better"] == "lower", float(figure["value"]), figure["unit"]
        costs[figure["name"]] = (value, unit) if lower else (1 / value, f"1/({unit})")
    return costs


Name = tuple[str, str]
"""A suite, and a benchmark of it."""


@dataclass(kw_only=True)
class AllCosts:
    """What all rounds have cost."""

    values: dict[Name, dict[str, list[float]]] = field(default_factory=dict)
    """The costs of each side, round by round."""
    units: dict[Name, str] = field(default_factory=dict)
    failures: dict[Name, dict[str, str]] = field(default_factory=dict)
    """Why a benchmark did not run on a side."""


def interleaved(runs: dict[str, Run], sides: tuple[Side, Side], rounds: int) -> AllCosts:
    """Run each suite on both sides in turn. After each round they change places."""
    costs = AllCosts()
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for suite, run in runs.items():
            for side in sides if number % 2 == 0 else sides[::-1]:
                for name, cost in run(side).items():
                    if isinstance(cost, str):
                        costs.failures.setdefault((suite, name), {})[side.name] = cost
                        continue
                    costs.units[suite, name] = cost[1]
                    costs.values.setdefault((suite, name), {}).setdefault(side.name, []).append(cost[0])
    return costs


# -- statistics --------------------------------------------------------------------------------------------------------


def judged(costs: AllCosts, rounds: int) -> tuple[list[Ratio], list[NotCompared]]:
    """Return the ratios, and what did not run on both sides in each round."""
    ratios: list[Ratio] = []
    missing = [
        NotCompared(suite=suite, name=name, side=side, why=why or "it failed")
        for (suite, name), of in costs.failures.items()
        for side, why in of.items()
    ]
    for (suite, name), of in costs.values.items():
        old, new = of.get("old", []), of.get("new", [])
        if len(old) == len(new) == rounds:
            ratios.append(ratio_of(suite, name, old, new, costs.units[suite, name]))
            continue
        missing += [
            NotCompared(suite=suite, name=name, side=side, why=f"it ran in {len(values)} of {rounds} rounds")
            for side, values in (("old", old), ("new", new))
            if len(values) < rounds and side not in costs.failures.get((suite, name), {})
        ]
    return ratios, missing


def ratio_of(suite: str, name: str, old: list[float], new: list[float], unit: str) -> Ratio:
    """Return the ratio of two sides' costs, round by round."""
    mean, low, high = interval(old, new)
    return Ratio(
        suite=suite,
        name=name,
        ratio=mean,
        low=low,
        high=high,
        old=_report.median(old),
        new=_report.median(new),
        unit=unit,
        verdict="better" if high < 1 else "worse" if low > 1 else "same",
    )


def interval(old: Sequence[float], new: Sequence[float]) -> tuple[float, float, float]:
    """Return the geometric mean of the paired ratios new ÷ old, and its confidence interval by bootstrap.

    Percentiles of a bootstrap are too narrow for few values, by sqrt((n - 1) / n) and because a normal distribution
    takes the place of Student's. So both ends are moved out by that factor (source: Hesterberg, What Teachers Should
    Know About the Bootstrap, 2015: the expanded percentile interval).
    """
    logs = np.log(np.asarray(new) / np.asarray(old))
    count, mean = len(logs), logs.mean()
    drawn = np.random.default_rng(1).integers(0, count, (RESAMPLES, count))
    ends = np.quantile(logs[drawn].mean(axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    wider = STUDENT[min(count - 1, len(STUDENT) - 1)] / NORMAL * math.sqrt(count / (count - 1))
    low, high = mean + wider * (ends - mean)
    return math.exp(mean), math.exp(low), math.exp(high)


NORMAL = 1.960
STUDENT = (
    *(math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)
"""The quantiles of 97.5 % of the normal distribution, and of Student's by its degrees of freedom, 1 to 20."""


# -- report ------------------------------------------------------------------------------------------------------------


def publish(
    ratios: list[Ratio], missing: list[NotCompared], *, old: Side, new: Side, rounds: int, as_json: bool
) -> None:
    sides = {side.name: {"revision": side.revision, "commit": side.commit} for side in (old, new)}
    if as_json:
        block = {"machine": _report.machine(), **sides, "rounds": rounds, "confidence": CONFIDENCE}
        tables = {"ratios": [asdict(one) for one in ratios], "not_compared": [asdict(one) for one in missing]}
        print(json.dumps(block | tables, indent=1))
    else:
        print(", ".join(f"{key} {value}" for key, value in _report.machine().items()))
        print(f"{new.revision} ({new.commit[:12]}) ÷ {old.revision} ({old.commit[:12]}), cost, {rounds} rounds\n")
        print(*table(ratios), sep="\n")
        for one in missing:
            print(f"not compared: {one.suite} {one.name} ({one.side}): {one.why}")
        print(f"\n{__doc__}")
    if not ratios:
        raise CompareError("no benchmark ran on both sides in each round")


def table(ratios: Sequence[Ratio]) -> Iterator[str]:
    names = [f"{one.suite} {one.name.removeprefix('test_')}" for one in ratios]
    width = max(map(len, names), default=0)
    yield f"{'':{width}}  {'ratio':>6}  {'95 % interval':15}  {'old':>9}  {'new':>9}  unit"
    for name, one in zip(names, ratios, strict=True):
        row = f"{name:{width}}  {one.ratio:6.3f}  {one.low:6.3f} - {one.high:6.3f}  {one.old:9.3g}  {one.new:9.3g}  "
        yield f"{row}{one.unit}  {'' if one.verdict == 'same' else one.verdict}".rstrip()


if __name__ == "__main__":
    main()
