"""Uploads of other clients and ours: the same files to the same sink process, each client in turn.

A run is a process of its own, from its start to its end, so interpreter, imports and exit count. CPU is user + system
of that process and its children. Memory is sampled each 10 ms, as a sum over the process and its children: anonymous,
and total with mapped pages of files. The sink (`cosxfer serve --discard`) runs in another process, keeps and checks
nothing. Its own use of a core is printed beside each client, because a sink that is always busy would hide them.

`bench/clients/install.sh` installs the clients. Those that are missing are reported as missing.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import _report
from _clients import CLIENTS, MIB, Client, Settings, Sink

from cosxfer.server import RunningServer, running

SAMPLE_SECONDS = 0.01
RUN_SECONDS = 900
RUNS_THAT_MAY_FAIL = 10
"""Of one client and its settings. Each is printed and run again."""
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGESIZE")

PROTOCOLS = ("http1", "tls1", "h2c", "tls2")
WORKS = ("large", "small", "mixed", "one")


@dataclass(frozen=True, kw_only=True)
class Run:
    seconds: float
    cpu_seconds: float
    anonymous_bytes: int
    """At its peak."""
    total_bytes: int
    sink_cores: float
    """Cores that the sink used during the run; 1.0 is one that was never idle."""


@dataclass(kw_only=True)
class Entry:
    """A client with one choice of settings, and its runs."""

    client: Client
    kind: str
    """"defaults" or "best"."""
    settings: Settings
    runs: list[Run] = field(default_factory=list)
    failure: str = ""
    failed_runs: int = 0
    """Runs that failed and were repeated, such as those of a library that sometimes crashes at its end."""

    @property
    def name(self) -> str:
        return f"{self.client.name} ({self.kind})"


# -- files -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Work:
    """What each client uploads."""

    name: str
    path: Path
    files: int
    size: int


def make_work(name: str, folder: Path, *, quick: bool) -> Work:
    """Create the files of a work in ``folder``."""
    if name in ("large", "one"):
        size = (2048 if name == "large" else 64) * MIB // (8 if quick else 1)
        path = folder / name
        _write(path, size)
        return Work(name=name, path=path, files=1, size=size)
    path = folder / name
    path.mkdir()
    if name == "small":
        sizes = [16 << 10] * (1000 if quick else 10_000)
    else:
        sizes = list(_log_normal((512 if quick else 4096) * MIB))
    for index, size in enumerate(sizes):
        parent = path / f"{index // 500:03d}"
        parent.mkdir(exist_ok=True)
        _write(parent / f"file-{index:06d}", size)
    return Work(name=name, path=path, files=len(sizes), size=sum(sizes))


def _log_normal(total: int) -> Iterator[int]:
    """Sizes with a median of 256 KiB and a sigma of 2, the largest 1 GiB; they add up to ``total``."""
    rng = random.Random("cosxfer mixed tree")
    while total > 0:
        size = min(total, 1 << 30, max(1, int(rng.lognormvariate(12.48, 2))))
        total -= size
        yield size


def _write(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for offset in range(0, size, 8 * MIB):
            file.write(os.urandom(min(8 * MIB, size - offset)))


# -- one run -----------------------------------------------------------------------------------------------------------


class Memory:
    """Samples the memory of a process and its children until `stop`."""

    def __init__(self, pid: int) -> None:
        self.anonymous_bytes = self.total_bytes = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            anonymous = total = 0
            for pid in family(self._pid):
                try:
                    text = Path(f"/proc/{pid}/status").read_text()
                except OSError:
                    continue
                sizes = {
                    line.split()[0]: int(line.split()[1]) << 10 for line in text.splitlines() if line.endswith("kB")
                }
                anonymous += sizes.get("RssAnon:", 0)
                total += sizes.get("VmRSS:", 0)
            self.anonymous_bytes = max(self.anonymous_bytes, anonymous)
            self.total_bytes = max(self.total_bytes, total)


def family(pid: int) -> list[int]:
    """Return a process and its descendants that are alive."""
    found = [pid]
    for each in found:
        for task in _listed(f"/proc/{each}/task"):
            try:
                found += map(int, Path(f"/proc/{each}/task/{task}/children").read_text().split())
            except OSError:
                continue
    return found


def _listed(folder: str) -> list[str]:
    try:
        return [path.name for path in Path(folder).iterdir()]
    except OSError:
        return []


def cpu_of(pid: int) -> float:
    """CPU seconds of a running process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class RunError(Exception):
    """The client failed."""


def measure(client: Client, sink: Sink, server_pid: int, path: Path | None, settings: Settings, home: Path) -> Run:
    """Run a client once. Raises `RunError` if it fails."""
    home.mkdir(parents=True, exist_ok=True)
    command = client.make(sink, path, {**(client.base or {}), **settings}, home)
    if command.before:
        subprocess.run(command.before, env=command.environment, cwd=home, check=True, capture_output=True)
    with tempfile.TemporaryFile() as output:
        sink_before, began = cpu_of(server_pid), time.monotonic()
        process = subprocess.Popen(
            command.words, env=command.environment, cwd=home, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        memory = Memory(process.pid)
        timer = threading.Timer(RUN_SECONDS, process.kill)
        timer.start()
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        timer.cancel()
        sink_used = cpu_of(server_pid) - sink_before
        memory.stop()
        if process.returncode:
            output.seek(0)
            raise RunError(f"exit {process.returncode}: {output.read()[-400:].decode(errors='replace').strip()}")
    return Run(
        seconds=seconds,
        cpu_seconds=used.ru_utime + used.ru_stime,
        anonymous_bytes=memory.anonymous_bytes,
        total_bytes=memory.total_bytes,
        sink_cores=sink_used / seconds,
    )


# -- a comparison ------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Comparison:
    """One work over one protocol: all clients that can do it."""

    work: Work
    protocol: str
    entries: list[Entry]
    search: list[dict[str, Any]]


def able(client: Client, protocol: str) -> bool:
    if protocol in ("tls1", "tls2") and not client.tls:
        return False
    return client.http2 or protocol in ("http1", "tls1")


def search(client: Client, work: Work, probe: Work, sink: Sink, pid: int, home: Path) -> tuple[Settings, list[Any]]:
    """Try the defaults and each of the client's settings on ``probe``; return the best and all that was tried.

    The best has the least CPU for the same bytes. A large file is searched on a smaller one.
    """
    tried = []
    for settings in ({}, *(client.tree if work.path.is_dir() else client.large)):
        try:
            run = min(
                (measure(client, sink, pid, probe.path, settings, home) for _ in range(2)), key=lambda r: r.cpu_seconds
            )
        except RunError as error:
            tried.append({"client": client.name, "settings": settings, "failure": str(error)})
            continue
        figures = {"cpu_seconds": round(run.cpu_seconds, 3), "seconds": round(run.seconds, 3)}
        tried.append({"client": client.name, "settings": settings, **figures})
    worked = [each for each in tried if "cpu_seconds" in each]
    best = min(worked, key=lambda each: each["cpu_seconds"])["settings"] if worked else {}
    return best, tried


def compare(
    work: Work,
    probe: Work,
    protocol: str,
    sink: Sink,
    pid: int,
    clients: list[Client],
    home: Path,
    *,
    rounds: int,
    best: bool,
) -> Comparison:
    """Search, warm up, and run all clients in turn, ``rounds`` times."""
    entries, searched = [], []
    for client in clients:
        entries.append(Entry(client=client, kind="defaults", settings={}))
        if best and (client.tree if work.path.is_dir() else client.large):
            settings, tried = search(client, work, probe, sink, pid, home / client.name)
            searched += tried
            for each in tried:
                _say(f"  search {each}")
            if settings:
                entries.append(Entry(client=client, kind="best", settings=settings))
    run_in_turn(work, [(entry, sink, pid) for entry in entries], home, rounds=rounds)
    return Comparison(work=work, protocol=protocol, entries=entries, search=searched)


def between_protocols(
    work: Work, protocols: Sequence[str], found: dict[str, tuple[Sink, RunningServer]], client: Client, home: Path,
    *, rounds: int,
) -> list[_report.Figure]:  # fmt: skip
    """HTTP/2 ÷ HTTP/1.1 of ours, plain and over TLS, with the protocols in turn.

    The comparisons of two protocols run one after the other, and a machine may be faster an hour later.
    """
    pairs = [pair for pair in (("h2c", "http1"), ("tls2", "tls1")) if set(pair) <= set(protocols)]
    entries = {protocol: Entry(client=client, kind="defaults", settings={}) for pair in pairs for protocol in pair}
    of_sinks = [(entry, found[protocol][0], found[protocol][1].pid) for protocol, entry in entries.items()]
    run_in_turn(work, of_sinks, home, rounds=rounds)
    figures = []
    for new, old in pairs:
        if entries[new].failure or entries[old].failure:
            continue
        old_cpu, new_cpu = ([run.cpu_seconds for run in entries[protocol].runs] for protocol in (old, new))
        name = f"{work.name}: {client.name} over {new} / over {old}, per cpu-s"
        figures.append(_report.ratio(name, old_cpu, new_cpu, must=0.85, aim=1.0))
    return figures


def run_in_turn(work: Work, entries: Sequence[tuple[Entry, Sink, int]], home: Path, *, rounds: int) -> None:
    """Run each entry with its sink, of this process number, ``rounds`` times after a warm-up, and keep the runs."""
    for count in range(rounds + 1):
        for entry, sink, pid in entries:
            run = None if entry.failure else measured(entry, work, sink, pid, home)
            if run is not None and count:
                entry.runs.append(run)


def measured(entry: Entry, work: Work, sink: Sink, pid: int, home: Path) -> Run | None:
    """Run a client once, again if it fails. After `RUNS_THAT_MAY_FAIL` it has failed for good: None."""
    while True:
        try:
            return measure(entry.client, sink, pid, work.path, entry.settings, home / entry.client.name)
        except RunError as error:
            _say(f"  {entry.name}: {error}")
            entry.failed_runs += 1
            if entry.failed_runs > RUNS_THAT_MAY_FAIL:
                entry.failure = str(error)
                return None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- what is printed ---------------------------------------------------------------------------------------------------


def row(entry: Entry, work: Work) -> dict[str, Any]:
    """The medians of an entry, with the spread of rate and CPU."""
    found: dict[str, Any] = {"client": entry.client.name, "kind": entry.kind, "settings": entry.settings}
    if entry.failure or not entry.runs:
        return {**found, "failure": entry.failure or "no run"}
    runs = entry.runs
    per_cpu = [work.size / run.cpu_seconds / 1e6 for run in runs]
    rate = [work.size / run.seconds / 1e6 for run in runs]
    median = _report.median
    return {
        **found,
        "MB/s": median(rate),
        "MB/s spread": _report.spread(rate),
        "MB/cpu-s": median(per_cpu),
        "MB/cpu-s spread": _report.spread(per_cpu),
        "cpu-s/GB": 1000 / median(per_cpu),
        "objects/s": work.files / median([run.seconds for run in runs]),
        "objects/cpu-s": work.files / median([run.cpu_seconds for run in runs]),
        "seconds": median([run.seconds for run in runs]),
        "anonymous MiB": median([run.anonymous_bytes for run in runs]) / MIB,
        "total MiB": median([run.total_bytes for run in runs]) / MIB,
        "sink cores": median([run.sink_cores for run in runs]),
        "client cores": median([run.cpu_seconds / run.seconds for run in runs]),
        "failed runs": entry.failed_runs,
    }


def table(comparison: Comparison) -> str:
    work = comparison.work
    title = f"{work.name} over {comparison.protocol}: {work.files} files, {work.size / 1e6:.0f} MB"
    objects = work.files > 1
    heads = (
        "MB/s",
        "±",
        "MB/cpu-s",
        "±",
        *(("obj/s", "obj/cpu-s") if objects else ("s",)),
        "anon",
        "total",
        "client",
        "sink",
    )
    lines = [title, f"{'':46}" + "".join(f"{head:>10}" for head in heads)]
    for entry in comparison.entries:
        found = row(entry, work)
        if "failure" in found:
            lines.append(f"{entry.name:46} failed: {found['failure'][-200:]}")
            continue
        counts = ("objects/s", "objects/cpu-s") if objects else ("seconds",)
        values = [
            f"{found['MB/s']:.0f}", f"{found['MB/s spread']:.0%}", f"{found['MB/cpu-s']:.0f}",
            f"{found['MB/cpu-s spread']:.0%}",
            *(f"{found[count]:.{0 if objects else 2}f}" for count in counts),
            f"{found['anonymous MiB']:.0f}", f"{found['total MiB']:.0f}", f"{found['client cores']:.2f}",
            f"{found['sink cores']:.2f}",
        ]  # fmt: skip
        repeated = f"  {entry.failed_runs} failed and repeated" if entry.failed_runs else ""
        lines.append(f"{entry.name:46}" + "".join(f"{value:>10}" for value in values) + repeated)
    lines.append(verdict(comparison))
    return "\n".join(lines)


def verdict(comparison: Comparison) -> str:
    """Say whether the sink was the bound: it was if it used its core nearly all of the time."""
    cores = os.cpu_count() or 1
    rows = [row(entry, comparison.work) for entry in comparison.entries]
    worst = max((each for each in rows if "failure" not in each), key=lambda each: each["sink cores"], default=None)
    if worst is None:
        return "no client worked"
    both = worst["sink cores"] + worst["client cores"]
    text = f"the sink used at most {worst['sink cores']:.2f} cores (with {worst['client']}), of {cores}"
    if worst["sink cores"] > 0.9:
        text += f"; client and sink together {both:.2f}: MB/s of this client is bound by the sink, MB/cpu-s is not"
    elif both > 0.9 * cores:
        text += f"; client and sink together {both:.2f}: the machine is the bound of MB/s there, not the sink"
    return text


def ratios(comparison: Comparison) -> list[_report.Figure]:
    """cosxfer's best against each other client's best, by CPU, by wall time; from medians within rounds."""
    chosen: dict[str, Entry] = {}
    for entry in comparison.entries:
        if entry.runs and not entry.failure:
            chosen[entry.client.name] = entry  # "best" follows "defaults"
    figures = []
    label = f"{comparison.work.name} {comparison.protocol}"
    for ours in ("cosxfer", "cosxfer cp"):
        if ours not in chosen:
            continue
        for name, peer in chosen.items():
            if name.startswith("cosxfer"):
                continue
            mine = chosen[ours].runs
            figures.append(
                _report.ratio(
                    f"{label}: {ours} / {name}, per cpu-s",
                    [run.cpu_seconds for run in peer.runs],
                    [run.cpu_seconds for run in mine],
                )
            )
            figures.append(
                _report.ratio(
                    f"{label}: {ours} / {name}, rate", [run.seconds for run in peer.runs], [run.seconds for run in mine]
                )
            )
    return figures


def start_up(clients: list[Client], sink: Sink, pid: int, home: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds and CPU seconds from the start of the process to a client that is ready (or a command's version)."""
    found: dict[str, dict[str, float]] = {}
    runs: dict[str, list[Run]] = {}
    for count in range(rounds + 1):
        for client in clients:
            try:
                run = measure(client, sink, pid, None, {}, home / client.name)
            except RunError as error:
                _say(f"  start-up of {client.name}: {error}")
                continue
            if count:
                runs.setdefault(client.name, []).append(run)
    for name, each in runs.items():
        found[name] = {
            "seconds": _report.median([run.seconds for run in each]),
            "cpu_seconds": _report.median([run.cpu_seconds for run in each]),
        }
    return found


# -- main --------------------------------------------------------------------------------------------------------------


def sinks(stack: ExitStack) -> dict[str, tuple[Sink, RunningServer]]:
    plain = stack.enter_context(running(discard=True))
    secure = stack.enter_context(running(discard=True, tls=True))
    found = {}
    for protocol in PROTOCOLS:
        server = secure if protocol.startswith("tls") else plain
        sink = Sink(
            url=server.url,
            ca_file=None if server.ca_file is None else str(server.ca_file),
            http_version="2" if protocol in ("h2c", "tls2") else "1.1",
        )
        found[protocol] = (sink, server)
    return found


def main() -> None:
    parser = _report.arguments((__doc__ or "").splitlines()[0])
    parser.add_argument("--work", action="append", choices=WORKS, help="default: all")
    parser.add_argument(
        "--protocol", action="append", choices=PROTOCOLS, help="default: all for large, http1 for others"
    )
    parser.add_argument("--client", action="append", metavar="NAME", help="names from bench/_clients.py; default: all")
    parser.add_argument("--rounds", type=int, help="default: 5, with --quick 3")
    parser.add_argument("--no-search", action="store_true", help="the defaults only")
    parser.add_argument("--settings", help="JSON: settings of each client's name instead of a search")
    parser.add_argument("--folder", type=Path, help="where the files are made; default: the system's temporary folder")
    options = parser.parse_args()
    rounds = options.rounds or (3 if options.quick else 5)
    clients = [client for client in CLIENTS if not options.client or client.name in options.client]
    missing = {client.name: client.missing for client in clients if client.missing}
    for name, what in missing.items():
        _say(f"missing: {name} ({what}); run bench/clients/install.sh")
    clients = [client for client in clients if not client.missing]
    given: dict[str, Settings] = json.loads(options.settings) if options.settings else {}
    comparisons = []
    figures: list[_report.Figure] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        home = folder / "home"
        found = sinks(stack)
        ready, server = found["http1"]
        starts = start_up(clients, ready, server.pid, home, rounds)
        for name in options.work or WORKS:
            with tempfile.TemporaryDirectory(dir=folder) as place:
                work = make_work(name, Path(place), quick=options.quick)
                probe = work
                if name == "large" and not (options.no_search or given):
                    (Path(place) / "probe").mkdir()
                    probe = make_work(name, Path(place) / "probe", quick=True)
                protocols = options.protocol or (PROTOCOLS if name == "large" else ("http1",))
                for protocol in protocols:
                    sink, server = found[protocol]
                    some = [client for client in clients if able(client, protocol)]
                    _say(f"{name} over {protocol}: {', '.join(client.name for client in some)}")
                    if given:
                        some = [_fixed(client, given) for client in some]
                    one = compare(
                        work, probe, protocol, sink, server.pid, some, home, rounds=rounds,
                        best=not options.no_search,
                    )  # fmt: skip
                    comparisons.append(one)
                    if not options.json:
                        print(table(one), end="\n\n", flush=True)
                for client in clients:
                    if client.name == "cosxfer" and name == "large":
                        figures += between_protocols(work, protocols, found, client, home, rounds=rounds)
    figures = [figure for one in comparisons for figure in ratios(one)] + figures
    if options.json:
        print(json.dumps(_document(comparisons, figures, starts, missing), indent=1))
        return
    print(
        "start-up: " + ", ".join(f"{n} {s['seconds']:.3f} s ({s['cpu_seconds']:.3f} cpu-s)" for n, s in starts.items())
    )
    print("verified: " + "; ".join(f"{client.name}: {client.verifies}" for client in clients))
    _report.publish(figures, as_json=False)


def _fixed(client: Client, given: dict[str, Settings]) -> Client:
    """The client with ``given`` settings as its defaults."""
    from dataclasses import replace

    return replace(client, base={**(client.base or {}), **given.get(client.name, {})}, large=(), tree=())


def _document(
    comparisons: list[Comparison], figures: list[_report.Figure], starts: dict[str, Any], missing: dict[str, str]
) -> dict[str, Any]:
    return {
        "machine": _report.machine(),
        "figures": [asdict(figure) for figure in figures],
        "missing": missing,
        "start_up": starts,
        "verifies": {client.name: client.verifies for client in CLIENTS},
        "comparisons": [
            {
                "work": one.work.name,
                "protocol": one.protocol,
                "files": one.work.files,
                "bytes": one.work.size,
                "rows": [row(entry, one.work) for entry in one.entries],
                "search": one.search,
                "sink": verdict(one),
            }
            for one in comparisons
        ],
    }


if __name__ == "__main__":
    main()
