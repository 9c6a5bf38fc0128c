"""The rules of the user-space link: rates, delay, windows, turns. In virtual time, without sockets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from _shaper import INITIAL_WINDOW_BYTES, MSS, Flow, Line, Shape, What

MB = 1_000_000


class Senders:
    """Flows with bytes to send, each as fast as the line takes them."""

    def __init__(self, shape: Shape, sizes: list[int]) -> None:
        self.line = Line(shape)
        self.flows = [self.line.open(number) for number in range(len(sizes))]
        self.left = list(sizes)
        self.sent: list[list[int]] = [[] for _ in sizes]
        self.arrived: list[list[float]] = [[] for _ in sizes]
        self.bytes_arrived = [0] * len(sizes)
        self.now = 0.0

    def pump(self, flow: Flow) -> None:
        number = flow.owner
        while self.left[number]:
            room = self.line.room(flow, self.now)
            if not room:
                return
            size = min(room, self.left[number])
            self.line.send(flow, size, self.now)
            self.left[number] -= size
            self.sent[number].append(size)

    def run(self, *, until: float = 1e9) -> None:
        for flow in self.flows:
            self.pump(flow)
        while (at := self.line.next_at()) < until:
            self.now = max(self.now, at)
            for what, flow in self.line.advance(self.now):
                if what is What.DELIVERED:
                    size = self.sent[flow.owner][len(self.arrived[flow.owner])]
                    self.arrived[flow.owner].append(self.now)
                    self.bytes_arrived[flow.owner] += size
                self.pump(flow)

    @property
    def ends(self) -> list[float]:
        return [times[-1] for times in self.arrived]


def test_a_byte_takes_half_a_round_trip() -> None:
    senders = Senders(Shape(rtt_seconds=0.05, capacity=100 * MB), [1])
    senders.run()
    assert senders.ends == [pytest.approx(0.025, abs=1e-6)]


@pytest.mark.parametrize("flows", [1, 3, 40])
@pytest.mark.parametrize("rtt", [0.0002, 0.01, 0.25])
@pytest.mark.parametrize("capacity", [MB, 250 * MB])
def test_all_connections_together_have_the_rate_of_the_line(flows: int, rtt: float, capacity: int) -> None:
    senders = Senders(Shape(rtt_seconds=rtt, capacity=capacity), [2 * capacity // flows] * flows)
    senders.run()
    assert max(senders.ends) == pytest.approx(2.0 + rtt / 2, rel=0.02)
    assert senders.left == [0] * flows


@pytest.mark.parametrize("rtt", [0.0002, 0.05, 0.25])
@pytest.mark.parametrize("rate", [100_000, 12_500_000])
def test_a_connection_has_its_own_rate(rtt: float, rate: int) -> None:
    senders = Senders(Shape(rtt_seconds=rtt, capacity=250 * MB, connection_rate=rate), [2 * rate] * 4)
    senders.run()
    assert senders.ends == pytest.approx([2.0 + rtt / 2] * 4, rel=0.02)


def test_a_late_look_does_not_lower_the_rate() -> None:
    shape = Shape(rtt_seconds=0.05, capacity=100 * MB, connection_rate=20 * MB)
    senders = Senders(shape, [40 * MB])
    senders.pump(senders.flows[0])
    while senders.line.next_at() < 1e9:
        senders.now += 0.015  # as a relay that wakes up every 15 ms
        for what, flow in senders.line.advance(senders.now):
            if what is What.DELIVERED:
                senders.arrived[0].append(senders.now)
            senders.pump(flow)
    assert senders.ends == [pytest.approx(2.0 + 0.025, rel=0.02)]


def test_connections_share_a_full_line_equally_whenever_they_start() -> None:
    senders = Senders(Shape(rtt_seconds=0.02, capacity=10 * MB), [100 * MB] * 4)
    senders.pump(senders.flows[0])
    senders.run(until=4.0)
    assert senders.bytes_arrived == pytest.approx([10 * MB] * 4, rel=0.05)


def test_a_slow_connection_leaves_its_share_to_the_others() -> None:
    shape = Shape(rtt_seconds=0.02, capacity=10 * MB, connection_rate=6 * MB)
    senders = Senders(shape, [100 * MB] * 2)
    senders.flows[0].held = 10**9  # its receiver takes nothing
    senders.run(until=4.0)
    assert senders.bytes_arrived == [0, pytest.approx(24 * MB, rel=0.05)]


def test_what_is_on_the_way_is_no_more_than_the_line_and_its_queue_hold() -> None:
    shape = Shape(rtt_seconds=0.1, capacity=100 * MB, queue_seconds=0.05)
    senders = Senders(shape, [50 * MB] * 30)
    for flow in senders.flows:
        senders.pump(flow)
    assert sum(sum(sent) for sent in senders.sent) == pytest.approx(15 * MB, rel=0.02)


def test_slow_start_doubles_the_window_every_round_trip() -> None:
    shape = Shape(rtt_seconds=0.1, capacity=1000 * MB, slow_start=True)
    senders = Senders(shape, [100 * MB])
    sent = []
    for trip in range(6):
        senders.run(until=0.1 * trip + 0.09)
        sent.append(sum(senders.sent[0]))
    assert sent == pytest.approx([INITIAL_WINDOW_BYTES * (2 ** (trip + 1) - 1) for trip in range(6)], rel=0.07)


def test_slow_start_begins_again_after_a_pause() -> None:
    shape = Shape(rtt_seconds=0.01, capacity=100 * MB, slow_start=True)
    senders = Senders(shape, [20 * MB])
    senders.run()
    flow = senders.flows[0]
    assert senders.line.room(flow, senders.now + 0.5) > INITIAL_WINDOW_BYTES
    assert senders.line.room(flow, senders.now + 2.0) <= INITIAL_WINDOW_BYTES


def test_a_mark_arrives_after_the_bytes_before_it() -> None:
    line = Line(Shape(rtt_seconds=0.02, capacity=MB))
    flow = line.open("a")
    line.send(flow, 10 * MSS, 0.0)
    line.send(flow, 0, 0.0)
    assert What.DELIVERED not in [what for what, _ in line.advance(0.01 + 10 * MSS / MB - 0.001)]
    delivered = [what for what, _ in line.advance(0.01 + 10 * MSS / MB + 0.001) if what is What.DELIVERED]
    assert delivered == [What.DELIVERED, What.DELIVERED]


def test_more_connections_than_allowed_are_penalized_until_some_time_after() -> None:
    shape = Shape(
        rtt_seconds=0.01,
        capacity=10 * MB,
        penalty_beyond=4,
        penalty_factor=0.1,
        penalty_seconds=2.0,
        queue_seconds=0.02,
    )
    few = Senders(shape, [2 * MB] * 4)
    few.run()
    assert max(few.ends) == pytest.approx(0.8, rel=0.05)
    many = Senders(shape, [100 * MB] * 5)
    many.run(until=2.0)
    assert sum(many.bytes_arrived) == pytest.approx(2 * MB, rel=0.3)
    many.line.close(many.flows[4])
    many.left[4] = 0
    before = sum(many.bytes_arrived)
    many.run(until=3.9)
    assert sum(many.bytes_arrived) - before == pytest.approx(2 * MB, rel=0.3)
    before = sum(many.bytes_arrived)
    many.run(until=5.2)
    assert sum(many.bytes_arrived) - before > 8 * MB


def test_turns_that_are_not_used_go_to_the_next() -> None:
    senders = Senders(Shape(rtt_seconds=0.02, capacity=10 * MB), [10 * MB] * 300)
    for flow in senders.flows:
        senders.pump(flow)
    assert all(flow.waiting for flow in senders.flows[1:])
    senders.left[:-1] = [0] * 299  # they asked, and have nothing to send after all
    senders.run()
    assert senders.left == [0] * 300
