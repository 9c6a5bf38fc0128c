"""The link simulator: it keeps its conservation laws, is deterministic, and the scheduler reaches its bounds in it."""

from __future__ import annotations

import inspect
import math
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from _links import KINDS, MEBI, MIXED, WORKLOADS, items, links
from _network import Link, Simulation
from _simulated_client import Fixed, Item, SimulatedClient
from simulate import Tuned, against_serial, best_static, run_static, run_tuned, shares

from cosxfer.tuning import Tuner
from cosxfer.tuning_rules import Decision

MB = 1e6
PLAIN = Link(name="plain", capacity=100 * MB, rtt_seconds=0.02)
CAPPED = Link(name="capped", capacity=250 * MB, rtt_seconds=0.05, connection_rate=12.5 * MB)
"""The user-space link of the issue: 50 ms, 2 Gbit/s, 100 Mbit/s a connection."""


def run(link: Link, slots: int, of: list[Item]) -> tuple[Simulation, SimulatedClient]:
    simulation = Simulation(link, [SimulatedClient(Fixed(slots=slots), of)])
    client = simulation.run()
    assert client is not None
    return simulation, client


@pytest.mark.parametrize("link", links(5, share=0.05), ids=lambda link: link.name)
@pytest.mark.parametrize("files", [WORKLOADS["100 MiB"], MIXED], ids=["one", "mixed"])
def test_each_byte_and_each_request_is_sent_once_apart_from_cancelled_ones(
    link: Link, files: tuple[tuple[int, int], ...]
) -> None:
    client = SimulatedClient(Tuned(), items(files, lambda size: 2 * MEBI))
    simulation = Simulation(link, [client])
    assert simulation.run(limit_seconds=1e6) is client
    assert client.bytes_acked == pytest.approx(client.total_bytes + client.wasted, rel=1e-6)
    assert client.total_bytes == sum(size * count for size, count in files)
    assert (client.in_flight, client.requests_left) == (0, 0)
    assert client.bytes_in_flight == 0
    assert not client.waiting


@pytest.mark.parametrize("link", links(6, share=0.05), ids=lambda link: link.name)
def test_a_link_carries_no_more_than_its_capacity(link: Link) -> None:
    simulation, _ = run(replace(link, penalty_beyond=0), 8, [Item(request_bytes=4 * MEBI, count=100)])
    assert simulation.carried <= simulation.capacity_seconds * 1.001


def test_one_connection_takes_the_time_of_its_bytes_its_round_trips_and_its_start() -> None:
    link = replace(PLAIN, connection_rate=10 * MB, server_seconds=0.1)
    _, client = run(link, 1, [Item(request_bytes=10_000_000, count=20)])
    assert client.finished_at == pytest.approx(20 * (1.0 + 0.02 + 0.1), rel=0.02)


def test_more_connections_than_the_cap_needs_bring_nothing() -> None:
    of = [Item(request_bytes=4 * MEBI, count=500)]
    times = [run(CAPPED, slots, of)[1].finished_at or 0 for slots in (5, 10, 40, 60)]
    assert times[0] / times[1] == pytest.approx(2, rel=0.05)
    assert times[2] == pytest.approx(times[3], rel=0.1)
    assert times[3] >= 2000 * MEBI / CAPPED.capacity


def test_loss_limits_a_flow_as_mathis_says() -> None:
    link = replace(PLAIN, loss=0.001, rtt_seconds=0.1)
    assert link.flow_limit == pytest.approx(1.22 * 1460 / (0.1 * math.sqrt(0.001)))


def test_a_server_that_throttles_accepts_its_rate_and_refuses_the_rest() -> None:
    link = replace(PLAIN, requests_per_second=100.0)
    _, client = run(link, 64, [Item(request_bytes=16 * 1024, count=3_000)])
    assert client.finished_at == pytest.approx(3_000 / 100, rel=0.1)
    assert client.refused > 1_000


def test_a_penalty_strikes_beyond_its_number_of_connections_alone() -> None:
    link = replace(CAPPED, penalty_beyond=10)
    of = [Item(request_bytes=4 * MEBI, count=200)]
    free, struck = run(link, 10, of)[1].finished_at or 0, run(link, 11, of)[1].finished_at or 0
    assert struck > 10 * free


def test_a_penalty_starts_after_its_onset_and_ends_after_its_time() -> None:
    link = replace(CAPPED, penalty_beyond=10, penalty_onset_seconds=2.0, penalty_seconds=3.0)
    short, long = [Item(request_bytes=4 * MEBI, count=70)], [Item(request_bytes=4 * MEBI, count=400)]
    unpunished = replace(CAPPED, penalty_beyond=0)
    assert run(link, 20, short)[1].finished_at == run(unpunished, 20, short)[1].finished_at
    assert (run(link, 20, long)[1].finished_at or 0) > 5 * (run(unpunished, 20, long)[1].finished_at or 0)


def test_a_file_in_parts_takes_an_initiate_and_a_complete_more() -> None:
    of = [Item(request_bytes=MEBI, count=50)]
    seconds = []
    for multipart in (False, True):
        client = SimulatedClient(Fixed(slots=1), of, multipart=multipart)
        Simulation(replace(PLAIN, connection_rate=10 * MB, server_seconds=0.3), [client]).run()
        seconds.append(client.finished_at or 0)
    assert seconds[1] - seconds[0] == pytest.approx(2 * 0.32, abs=0.01)


def test_an_initiate_waits_in_the_queue_that_others_have_filled() -> None:
    """Greedy flows have filled the queue before: the client sees it in the time of its first request."""
    latencies = []
    for rivals in (0, 64):
        client = SimulatedClient(Fixed(slots=1), [Item(request_bytes=MEBI)], multipart=True)
        Simulation(replace(PLAIN, queue_seconds=0.2, rival_flows=rivals), [client]).run()
        latencies.append(client.latency_seconds)
    assert latencies[1] - latencies[0] == pytest.approx(0.2)


def test_at_the_end_of_a_full_link_the_last_responses_are_waited_for() -> None:
    of = [Item(request_bytes=16 * MEBI, count=8)]
    _, client = run(replace(PLAIN, server_seconds=0.5), 8, of)
    assert 0.2 < (client.finished_at or 0) - 8 * 16 * MEBI / PLAIN.capacity < 0.6


def test_the_second_request_of_a_connection_starts_with_the_window_that_the_first_has_reached() -> None:
    # Slow start has acknowledged 14,600 (2^6 - 1) bytes of 1 MiB when the rest is sent; 934,400 may be on the way then.
    link = Link(name="long", capacity=100 * MB, rtt_seconds=0.2)
    seconds = [0.0]
    for count in (1, 2, 3, 4):
        _, client = run(link, 1, [Item(request_bytes=MEBI, count=1) for _ in range(count)])
        seconds.append(client.finished_at or 0)
    first, second, third, fourth = (after - before for before, after in pairwise(seconds))
    assert first > second + 0.8  # two round trips of handshakes, and six of slow start in place of one
    assert second > third + 0.1
    assert third == pytest.approx(fourth, abs=0.02)


def test_connections_that_together_just_fill_the_line_lose_time_in_step() -> None:
    def lost(slots: int) -> float:
        _, client = run(replace(CAPPED, queue_seconds=0.0), slots, [Item(request_bytes=MEBI) for _ in range(640)])
        request = CAPPED.rtt_seconds + CAPPED.server_seconds + MEBI / CAPPED.connection_rate
        return (client.finished_at or 0) / max(640 * MEBI / CAPPED.capacity, 640 / slots * request)

    just, fewer, more = lost(32), lost(8), lost(128)
    assert just > fewer + 0.1
    assert just > more + 0.05


def test_transfers_of_different_sizes_take_turns_for_slots() -> None:
    client = SimulatedClient(
        Fixed(slots=4), [Item(request_bytes=8 * MEBI, count=20), Item(request_bytes=MEBI, count=2)]
    )
    assert [size // MEBI for size, _ in client.take()] == [8, 1, 8, 1]
    client.release(8 * MEBI)
    assert [size // MEBI for size, _ in client.take()] == [8]


def test_the_tuner_gets_every_counter_that_it_can_take() -> None:
    """As in a real client: a counter that is left out would be a simulation of something else."""
    names: set[str] = set()

    class Recorder(Tuner):
        def observe(self, now: float, **counters: Any) -> Decision:
            names.update(counters)
            return super().observe(now, **counters)

    run_tuned(PLAIN, WORKLOADS["100 MiB"], trace=Tuned(tuner=Recorder()))
    assert names == set(inspect.signature(Tuner.observe).parameters) - {"self", "now"}


def test_two_runs_are_equal_to_the_last_bit() -> None:
    for link in links(7, share=0.05):
        assert run_tuned(link, WORKLOADS["100 MiB"]) == run_tuned(link, WORKLOADS["100 MiB"])


def test_a_seed_gives_at_least_80_links_and_another_seed_gives_others() -> None:
    first, second = links(1), links(2)
    assert len(first) >= 80
    assert {link.name.rpartition(" ")[0] for link in first} == set(KINDS)
    assert not {link.capacity for link in first} & {link.capacity for link in second}
    assert links(1) == first


MATRIX = [
    PLAIN,
    CAPPED,
    Link(name="slow", capacity=1.25 * MB, rtt_seconds=0.03),
    Link(name="lossy", capacity=125 * MB, rtt_seconds=0.08, loss=1e-4),
    Link(name="long", capacity=500 * MB, rtt_seconds=0.15),
    Link(name="throttled", capacity=500 * MB, rtt_seconds=0.03, requests_per_second=400.0),
]


HARD = ("slow", "lossy", "long")
"""Links whose search takes a second or more."""
CASES = [(link, "10 GiB") for link in MATRIX[:5]] + [
    (link, "10,000 x 100 KiB") for link in (PLAIN, MATRIX[3], MATRIX[5])
]


@pytest.mark.parametrize(
    ("link", "workload"),
    [
        pytest.param(link, workload, id=f"{link.name} {workload}", marks=[pytest.mark.deep] * (link.name in HARD))
        for link, workload in CASES
    ],
)
def test_ours_takes_at_most_a_quarter_longer_than_the_best_static_setting(link: Link, workload: str) -> None:
    ours = run_tuned(link, WORKLOADS[workload])
    assert ours is not None
    assert best_static(link, WORKLOADS[workload])[0] / ours.seconds >= 0.8
    assert ours.refused <= 0.01 * ours.requests


PENALTIES = [(6, 0.0, 0.4), (20, 0.0, 0.4), (60, 0.0, 0.5), (6, 3.0, 0.45), (20, 3.0, 0.4), (60, 3.0, 0.75)]


@pytest.mark.parametrize(
    ("beyond", "onset", "least"),
    [PENALTIES[-1], *(pytest.param(*penalty, marks=pytest.mark.deep) for penalty in PENALTIES[:-1])],
)
def test_a_silent_penalty_is_escaped_from(beyond: int, onset: float, least: float) -> None:
    """A client that stayed penalised would reach a fiftieth. All these lie below what the link needs, or just above."""
    link = replace(CAPPED, penalty_beyond=beyond, penalty_onset_seconds=onset)
    ours = run_tuned(link, WORKLOADS["10 GiB"])
    assert ours is not None
    assert best_static(link, WORKLOADS["10 GiB"])[0] / ours.seconds >= least


@pytest.mark.parametrize("workload", ["100 MiB", "10 GiB"])
def test_a_line_that_one_connection_fills_is_as_fast_as_serial(workload: str) -> None:
    link = Link(name="single", capacity=12.5 * MB, rtt_seconds=0.01, server_seconds=0.005, connection_rate=12.5 * MB)
    assert against_serial(link, WORKLOADS[workload]) >= 0.97


@pytest.mark.parametrize("late", [0.0, 10.0])
def test_two_clients_share_a_link(late: float) -> None:
    assert 0.4 <= shares(replace(PLAIN, connection_rate=20 * MB), late_seconds=late) <= 0.6


def test_ours_beats_the_fixed_policies_of_others_on_the_link_of_the_issue() -> None:
    ours = run_tuned(CAPPED, WORKLOADS["10 GiB"])
    assert ours is not None
    for slots, mib in ((3, 1), (5, 1), (5, 32), (10, 8), (12, 5)):
        other = run_static(CAPPED, WORKLOADS["10 GiB"], slots=slots, part_bytes=mib * MEBI)
        assert other is not None
        assert other.seconds > ours.seconds
