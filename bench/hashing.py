"""The cost of hashing: the native core against hashlib, in one run, interleaved.

One thread unless stated otherwise. Figures of one thread count the CPU time of that thread, so a busy machine disturbs
them less. Those of several threads count wall time. The data is in memory, in pages of the system's choice, or in a
file in the page cache.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import _report
from cosxfer import _native
from cosxfer._native import hashing
from cosxfer.engine.upload.hash_ahead import HashAhead
from cosxfer.planning import hash_batches, plan_parts
from cosxfer.sources import FileSource

MIB = 1 << 20
GB = 1e9
Speed = Callable[[], float]


def speed(work: Callable[[], object], size: int, clock: Callable[[], float] = time.thread_time) -> Speed:
    """Return the bytes per second of ``work``, which processes ``size`` bytes."""

    def once() -> float:
        start = clock()
        work()
        return size / (clock() - start)

    return once


def on(kernel: str, work: Callable[[], object]) -> Callable[[], object]:
    def forced() -> None:
        before = hashing.kernel()
        hashing.use_kernel(kernel)
        work()
        hashing.use_kernel(before)

    return forced


def each_md5(buffers: Sequence[memoryview]) -> None:
    for buffer in buffers:
        hashlib.md5(buffer, usedforsecurity=False).digest()


def lanes_beside_hashlib(memory: memoryview, rounds: int) -> list[_report.Figure]:
    """Measure 32 parts of 8 MiB with every kernel, against the promised speed of each."""
    parts = [memory[i * 8 * MIB : (i + 1) * 8 * MIB] for i in range(32)]
    size = 32 * 8 * MIB
    sides: dict[str, Speed] = {"hashlib": speed(lambda: each_md5(parts[:4]), size // 8)}
    for kernel in hashing.kernels():
        few = parts[: 4 if kernel == "scalar" else 32]
        sides[kernel] = speed(on(kernel, lambda few=few: hashing.md5_many(few)), len(few) * 8 * MIB)
        sides[f"{kernel} fused"] = speed(on(kernel, lambda few=few: hashing.hash_parts(few)), len(few) * 8 * MIB)
    got = _report.interleave(sides, rounds)
    promised = {"avx512": (12, 16), "avx2-vpclmul": (6, 8), "avx2": (6, 7), "portable": (3, 4)}
    figures = [_report.absolute("hashlib MD5", [v / GB for v in got["hashlib"]], "GB/s")]
    for kernel in hashing.kernels():
        must, aim = promised.get(kernel, (None, None))
        name = f"MD5 of 32 parts of 8 MiB, {kernel} / hashlib"
        figures.append(_report.ratio(name, got[kernel], got["hashlib"], must=must, aim=aim))
    for kernel in hashing.kernels():
        must, aim = {"avx512": (10, 13), "avx2-vpclmul": (5, 6)}.get(kernel, (None, None))
        name = f"MD5 + CRC64 fused, {kernel} / hashlib MD5 alone"
        figures.append(_report.ratio(name, got[f"{kernel} fused"], got["hashlib"], must=must, aim=aim))
    return figures


def single_streams(memory: memoryview, rounds: int) -> list[_report.Figure]:
    """Measure CRC64 against reading, one MD5 stream against hashlib, and a file's MD5 in the read of its parts."""
    words = np.frombuffer(memory, dtype=np.uint64)
    short = memory[: 32 * MIB]
    parts = [memory[i * 8 * MIB : (i + 1) * 8 * MIB] for i in range(4)]

    def whole() -> None:
        hashing.PartHasher(parts, whole=hashing.Md5()).advance(1 << 40)

    sides = {
        "read": speed(lambda: np.bitwise_xor.reduce(words), len(memory)),
        "crc": speed(lambda: hashing.crc64(memory), len(memory)),
        "hashlib": speed(lambda: each_md5([short]), len(short)),
        "scalar": speed(lambda: hashing.md5(short), len(short)),
        "whole": speed(whole, 32 * MIB),
    }
    got = _report.interleave(sides, rounds)
    return [
        _report.absolute("reading memory once", [v / GB for v in got["read"]], "GB/s"),
        _report.ratio("CRC64 / reading the same memory once", got["crc"], got["read"], must=0.9, aim=1.0),
        _report.ratio("one MD5 stream, scalar / hashlib", got["scalar"], got["hashlib"], must=1.0, aim=1.1),
        _report.ratio("a file's MD5 with its parts' MD5 and CRC64 / hashlib MD5 alone", got["whole"], got["hashlib"]),
    ]


def small_files(memory: memoryview, rounds: int) -> list[_report.Figure]:
    buffers = [memory[i * 16384 : (i + 1) * 16384] for i in range(10_000)]
    size = len(buffers) * 16384
    sides = {
        "hashlib": speed(lambda: each_md5(buffers), size),
        "lanes": speed(lambda: hashing.md5_many(buffers), size),
        "fused": speed(lambda: hashing.hash_parts(buffers), size),
    }
    got = _report.interleave(sides, rounds)
    return [
        _report.ratio("MD5 of 10,000 files of 16 KiB, lanes / hashlib", got["lanes"], got["hashlib"], must=6, aim=10),
        _report.ratio("the same with CRC64 / hashlib MD5 alone", got["fused"], got["hashlib"]),
    ]


def in_place(memory: memoryview, rounds: int, size: int) -> list[_report.Figure]:
    """Measure a file in the page cache, as an upload hashes it when all lanes are full, against parts in memory."""
    parts = [memory[i * 8 * MIB : (i + 1) * 8 * MIB] for i in range(32)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        with path.open("wb") as file:
            for offset in range(0, size, 8 * MIB):
                file.write(memory[offset % len(memory) :][: 8 * MIB])
        plan = plan_parts(size, part_size_bytes=8 * MIB)
        batches = list(hash_batches(plan, lanes=hashing.lanes(), concurrency=hashing.lanes()))

        async def hashed() -> None:
            source = FileSource.open(path)
            with ThreadPoolExecutor(1) as executor:
                ahead = HashAhead(source, executor=executor, on_hashed=lambda _: None)
                assert len([part async for part in ahead.hash(batches)]) == plan.count
            source.close()

        sides = {
            "file": speed(lambda: asyncio.run(hashed()), size, time.process_time),
            "memory": speed(lambda: hashing.hash_parts(parts), 32 * 8 * MIB, time.process_time),
        }
        got = _report.interleave(sides, rounds)
    name = "MD5 + CRC64 of a file in the page cache"
    return [
        _report.absolute(name, [v / GB for v in got["file"]], "GB/cpu-s"),
        _report.ratio(f"{name} / of parts in memory", got["file"], got["memory"], must=0.75, aim=0.9),
    ]


def threads(memory: memoryview, rounds: int) -> list[_report.Figure]:
    """Measure one call on two threads by wall time, and by CPU time, which a busy machine does not disturb.

    The figure by CPU time is that of two free cores: twice the cost on one thread divided by the cost on two.
    """
    parts = [memory[i * 8 * MIB : (i + 1) * 8 * MIB] for i in range(64)]
    size = 64 * 8 * MIB
    sides: dict[str, Speed] = {}
    for n in (1, 2):
        work = lambda n=n: hashing.hash_parts(parts, threads=n)  # noqa: E731  # two clocks on the same work
        sides[f"wall {n}"] = speed(work, size, time.perf_counter)
        sides[f"cpu {n}"] = speed(work, size, time.process_time)
    got = _report.interleave(sides, rounds)
    name = "MD5 + CRC64 of 64 parts, two threads / one"
    twice = [2 * value for value in got["cpu 2"]]
    return [
        _report.ratio(f"{name} (wall time)", got["wall 2"], got["wall 1"], must=1.7, aim=1.9),
        _report.ratio(f"{name} (by CPU time)", twice, got["cpu 1"]),
    ]


def cold_start(rounds: int) -> list[_report.Figure]:
    """Measure the CPU time of importing either package, minus that of an interpreter that imports nothing.

    Both load bytecode that the warm-up wrote, even if the environment forbids writing it. An installed package has
    bytecode, but a checkout has none.
    """
    bytecode = tempfile.TemporaryDirectory()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = bytecode.name

    def importing(statement: str) -> Speed:
        program = f"{statement}; import resource as r; u = r.getrusage(r.RUSAGE_SELF); print(u.ru_utime + u.ru_stime)"

        def once() -> float:
            root = Path(__file__).resolve().parents[1]
            command = [sys.executable, "-c", program]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root, env=environment)
            return float(done.stdout)

        return once

    # `import cosxfer` alone loads nothing, so measure the first client.
    names = ("pass", "import cosxfer.client", "import httpx")
    with bytecode:
        got = _report.interleave({name: importing(name) for name in names}, rounds)
    bare = _report.median(got["pass"])
    ours, theirs = ([v - bare for v in got[name]] for name in names[1:])
    name = "cold start: import cosxfer.client / import httpx"
    return [_report.ratio(name, ours, theirs, must=1.5, aim=1.2, better="lower")]


def plot(path: str, memory: memoryview, rounds: int) -> None:
    """Plot GB/s by part size and lane count, with the speed of memory."""
    from matplotlib import pyplot as plt

    sizes = [16 * 1024 << (2 * i) for i in range(6)]  # 16 KiB to 16 MiB
    figure, axes = plt.subplots(figsize=(8, 5))
    read = _report.interleave(
        {"read": speed(lambda: np.bitwise_xor.reduce(np.frombuffer(memory, np.uint64)), len(memory))}, 3
    )
    axes.axhline(_report.median(read["read"]) / GB, color="grey", linestyle="--", label="reading memory once")
    for count in (1, 2, 4, 8, 16, 32):
        speeds = []
        for size in sizes:
            parts = [memory[i * size : (i + 1) * size] for i in range(min(32, len(memory) // size))]
            hashing.limit_lanes(count)
            side = speed(lambda parts=parts: hashing.hash_parts(parts), len(parts) * size)
            speeds.append(_report.median(_report.interleave({"x": side}, rounds)["x"]) / GB)
        axes.plot(sizes, speeds, marker="o", label=f"{count} lane{'s' * (count > 1)}")
    hashing.limit_lanes(0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(sizes, [f"{size >> 20} MiB" if size >= MIB else f"{size >> 10} KiB" for size in sizes])
    axes.set_xlabel("part size, 32 parts")
    axes.set_ylabel("GB/s")
    axes.set_title(f"MD5 + CRC64 on one core, kernel {hashing.kernel()}")
    axes.legend(fontsize="small", ncol=2)
    figure.savefig(path, dpi=120, bbox_inches="tight")


def main() -> None:
    options = _report.arguments(__doc__.splitlines()[0]).parse_args()
    if not _native.COMPILED:
        sys.exit("bench/hashing.py compares the native kernels: they are not built, or COSXFER_KERNEL=pure is set")
    rounds = 3 if options.quick else 11
    noise = np.random.default_rng(1).integers(0, 1 << 63, 512 * MIB // 8, dtype=np.int64)
    memory = memoryview(noise).cast("B")
    figures = [
        *lanes_beside_hashlib(memory, rounds),
        *single_streams(memory, rounds),
        *small_files(memory, rounds),
        *in_place(memory, rounds, (256 if options.quick else 2048) * MIB),
        *threads(memory, rounds),
        *cold_start(rounds if options.quick else 2 * rounds),
    ]
    load = f"{os.getloadavg()[0]:.1f}"  # the load disturbs the figure by wall time
    _report.publish(
        figures, as_json=options.json, load=load, kernel_in_use=_native.KERNEL, kernels=" ".join(_native.KERNELS)
    )
    if options.plot:
        plot(options.plot, memory, 3)


if __name__ == "__main__":
    main()
