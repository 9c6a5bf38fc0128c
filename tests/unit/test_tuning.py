"""The concurrency controller, rule by rule, against plants whose goodput follows a formula."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.tuning import Tuner
from cosxfer.tuning_rules import (
    CEILING_SECONDS,
    DEAD_BAND_SECONDS,
    LOCAL_SEED_LEVEL,
    MAX_LEVEL,
    NEAR_SEED_LEVEL,
    SEED_LEVEL,
    Decision,
    Learned,
    Window,
    elasticity,
    price,
)

MB = 1e6
TICK = 0.05
PART = 4 * MB


class Plant:
    """A client whose goodput is a function of the requests in flight (and the time), without delay or noise."""

    def __init__(self, tuner: Tuner, goodput: Callable[[int, float], float], *, part_bytes: float = PART) -> None:
        self.tuner = tuner
        self.goodput = goodput
        self.part_bytes = part_bytes
        self.now = 100.0
        self.acked = 0.0
        self.bytes_left = 1e15
        self.refused = 0
        self.retry_after = 0.0
        self.most_in_flight = MAX_LEVEL
        self.busy_share = 0.0
        self.decisions: list[tuple[float, Decision]] = []

    @property
    def in_flight(self) -> int:
        return min(self.tuner.level, self.most_in_flight)

    def observe(self) -> Decision:
        decision = self.tuner.observe(
            self.now,
            bytes_acked=self.acked,
            requests_done=self.acked // self.part_bytes,
            in_flight=self.in_flight,
            bytes_in_flight=self.in_flight * self.part_bytes,
            bytes_left=self.bytes_left,
            requests_left=self.bytes_left / self.part_bytes,
            busy_seconds=self.busy_share * TICK,
            refused=self.refused,
            retry_after_seconds=self.retry_after,
        )
        self.decisions.append((self.now, decision))
        return decision

    def run(self, seconds: float) -> int:
        """Run for so long; returns the level at the end."""
        for _ in range(round(seconds / TICK)):
            self.observe()
            self.acked += TICK * self.goodput(self.in_flight, self.now)
            self.now += TICK
        return self.tuner.level

    def refuse(self, count: int = 1, *, retry_after: float = 0.0) -> Decision:
        self.refused += count
        self.retry_after = retry_after
        return self.observe()

    def mean_level(self, seconds: float) -> float:
        """The mean level over the last seconds: a probe may be under way at any one moment."""
        levels = [decision.level for at, decision in self.decisions if at >= self.now - seconds]
        return sum(levels) / len(levels)


def capped(knee: int, per_stream: float = 10 * MB) -> Callable[[int, float], float]:
    """Each request brings the same goodput, up to the knee."""
    return lambda level, now: per_stream * min(level, knee)


def test_the_first_level_is_the_seed_and_nothing_changes_before_something_was_acknowledged() -> None:
    plant = Plant(Tuner(), lambda level, now: 0.0)
    assert plant.run(30) == SEED_LEVEL


def test_the_ramp_doubles_within_a_second_as_long_as_goodput_rises() -> None:
    plant = Plant(Tuner(), capped(1000))
    plant.bytes_left = 3e9  # seconds: too little for a look at a lower level
    assert plant.run(1.0) == MAX_LEVEL


def test_with_much_time_left_a_quarter_is_tried_first_and_the_ramp_goes_on() -> None:
    plant = Plant(Tuner(), capped(1000))
    plant.bytes_left = 1e11
    assert plant.run(3.0) == MAX_LEVEL
    levels = [decision.level for _, decision in plant.decisions]
    assert min(levels) == SEED_LEVEL // 4
    assert levels.count(SEED_LEVEL // 4) * TICK < 0.6


@pytest.mark.parametrize("needed", [3, 10, 20, 40])
def test_few_requests_that_are_enough_are_found_within_two_seconds(needed: int) -> None:
    """Before most networks punish the many of the seed."""
    plant = Plant(Tuner(), capped(needed))
    plant.bytes_left = 50.0 * 10 * MB * needed
    plant.run(2.0)
    assert needed / 2 <= plant.tuner.level <= 2 * needed


@pytest.mark.parametrize("knee", [1, 2, 5, 12, 20, 48, 100, 200])
def test_the_search_settles_near_the_knee_of_a_capped_link(knee: int) -> None:
    plant = Plant(Tuner(), capped(knee))
    plant.run(60)
    assert 0.9 * knee <= plant.mean_level(30) <= max(1.4 * knee, knee + 1)
    assert plant.goodput(round(plant.mean_level(30)), 0) >= 0.9 * plant.goodput(knee, 0)


def test_ties_go_to_the_lower_level() -> None:
    plant = Plant(Tuner(), lambda level, now: 100 * MB)
    plant.run(60)
    assert plant.mean_level(20) < 3


def test_empty_objects_register_by_the_cost_of_their_requests() -> None:
    tuner, now, done = Tuner(), 0.0, 0.0
    levels = []
    for _ in range(round(60 / TICK)):
        levels.append(tuner.observe(now, bytes_acked=0, requests_done=done, in_flight=tuner.level).level)
        done += TICK * 20 * min(tuner.level, 150)
        now += TICK
    assert 120 < sum(levels[-400:]) / 400 < 210


def test_walls_are_kept_and_a_fixed_level_never_moves() -> None:
    plant = Plant(Tuner(least=4, most=4), capped(100))
    plant.run(30)
    assert {decision.level for _, decision in plant.decisions} == {4}
    plant = Plant(Tuner(least=3, most=10), lambda level, now: 100 * MB)
    plant.run(30)
    assert {decision.level for _, decision in plant.decisions} <= set(range(3, 11))


def test_a_level_that_is_not_filled_is_no_evidence() -> None:
    plant = Plant(Tuner(), capped(1000))
    plant.most_in_flight = 5
    assert plant.run(30) == SEED_LEVEL


@pytest.mark.parametrize("local", [True, False])
def test_batches_of_hashed_parts_do_not_reduce_the_first_level_on_this_machine(local: bool) -> None:
    tuner = Tuner()
    tuner.seed(0.05, stays=local)
    for tick in range(20):  # 16 parts are in flight, others wait for the next batch
        acked = tick * MB
        tuner.observe(
            tick * TICK, bytes_acked=acked, requests_done=tick, in_flight=16, bytes_in_flight=MB, waiting=True
        )
    assert tuner.level == SEED_LEVEL if local else tuner.level <= 16


@pytest.mark.parametrize("limit", [8, MAX_LEVEL])
def test_short_requests_that_are_over_when_it_looks_do_not_lower_the_level(limit: int) -> None:
    """Files that are opened and hashed first: a slot is idle most of the time, but all of them are used."""
    tuner, now, acked = Tuner(), 0.0, 0.0
    levels = []
    for number in range(round(30 / TICK)):
        most = min(tuner.level, limit)
        decision = tuner.observe(
            now, bytes_acked=acked, requests_done=acked // 1e4, in_flight=number % 2, most_in_flight=most, waiting=True
        )
        levels.append(decision.level)
        acked += TICK * MB * min(tuner.level, limit, 24)
        now += TICK
    wanted = min(limit, 24)
    assert 0.8 * wanted <= sum(levels[-300:]) / 300 <= 2 * wanted
    # The first windows see next to nothing. Probes, which go lower for a moment, come later.
    assert min(levels[:5]) >= wanted


def test_the_wall_of_another_limit_is_forgotten_with_the_size_of_the_requests() -> None:
    tuner, now, acked = Tuner(), 0.0, 0.0

    def run(seconds: float, size: float, limit: int) -> int:
        nonlocal now, acked
        for _ in range(round(seconds / TICK)):
            flying = min(tuner.level, limit)
            tuner.observe(
                now,
                bytes_acked=acked,
                requests_done=acked // size,
                in_flight=flying,
                bytes_in_flight=flying * size,
                waiting=True,
            )
            acked += TICK * MB * flying
            now += TICK
        return tuner.level

    assert run(3.5, 64 * MB, 4) <= 4
    assert run(5, MB, 100) > 8


def test_a_refusal_reduces_the_level_once_a_dead_band() -> None:
    plant = Plant(Tuner(), capped(1000))
    plant.run(5)
    before = plant.tuner.level
    first = plant.refuse().level
    assert 0.6 * before <= first <= 0.75 * before
    assert plant.refuse().level == first
    plant.now += DEAD_BAND_SECONDS / 2
    assert plant.refuse().level == first
    plant.now += DEAD_BAND_SECONDS
    assert plant.refuse().level < first


def test_retry_after_holds_new_requests_back() -> None:
    plant = Plant(Tuner(), capped(1000))
    plant.run(5)
    assert plant.refuse(retry_after=7.0).hold_until == plant.now + 7.0


def test_the_level_rises_again_after_a_refusal_but_stays_below_what_was_refused() -> None:
    plant = Plant(Tuner(), capped(1000))
    plant.run(5)
    refused_at = plant.tuner.level
    reduced = plant.refuse().level
    plant.run(25)
    assert reduced < plant.tuner.level < refused_at


def penalised(
    beyond: int, *, hold: float = 2.0, onset: float = 0.0, share: float = 0.01
) -> Callable[[int, float], float]:
    """10 MB/s a request. A share of it while and after more than so many were in flight, if that was so long enough."""
    until = began = -1.0

    def goodput(level: int, now: float) -> float:
        nonlocal until, began
        began = -1.0 if level <= beyond else now if began < 0 else began
        if 0 <= began <= now - onset:
            until = now + hold
        return 10 * MB * (beyond * share if now < until and beyond * share < level else level)

    return goodput


def test_a_collapse_cancels_requests_and_leaves_a_ceiling() -> None:
    plant = Plant(Tuner(), penalised(40))
    plant.run(150)
    assert any(decision.abandon for _, decision in plant.decisions)
    assert 24 <= plant.mean_level(30) <= 40
    learned = plant.tuner.learned()
    assert learned is not None
    assert learned.ceiling is not None
    assert learned.ceiling < 64


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
@pytest.mark.parametrize("beyond", [9, 24, 60])
def test_a_penalty_is_remembered_however_mild_it_is(beyond: int, share: float) -> None:
    """What it lets through may be more than a few requests bring, and is no collapse for itself."""
    plant = Plant(Tuner(), penalised(beyond, onset=1.5, share=share))
    plant.run(200)
    before = plant.acked
    plant.run(100)
    assert plant.acked - before > 0.75 * 100 * 10 * MB * beyond


def test_the_ceiling_is_forgotten_after_ten_minutes() -> None:
    healed_at = 130.0
    cruel = penalised(40)
    plant = Plant(Tuner(), lambda level, now: cruel(level, now) if now < healed_at else 10 * MB * min(level, 100))
    plant.run(20)
    learned = plant.tuner.learned()
    assert learned is not None
    assert learned.ceiling is not None
    plant.run(CEILING_SECONDS + 200)
    learned = plant.tuner.learned()
    assert learned is not None
    assert learned.ceiling is None
    assert plant.mean_level(50) > 80


def test_a_link_that_has_become_slower_is_searched_anew_and_leaves_no_ceiling() -> None:
    plant = Plant(Tuner(), lambda level, now: min(level, 50) * (10 * MB if now < 130 else 1 * MB))
    plant.run(120)
    learned = plant.tuner.learned()
    assert learned is not None
    assert learned.ceiling is None
    assert plant.mean_level(30) > 40


def test_a_link_that_has_become_faster_is_found_within_seconds_however_long_the_hold() -> None:
    plant = Plant(Tuner(), lambda level, now: min(level, 10) * (10 * MB if now < 350 else 20 * MB))
    plant.run(249)
    assert plant.decisions[-1][1].reason.startswith("hold")
    plant.run(5)
    assert any(decision.reason.endswith("the goodput has changed") for _, decision in plant.decisions[-80:])


def test_what_was_learned_is_where_the_next_client_starts() -> None:
    plant = Plant(Tuner(), capped(12))
    plant.run(30)
    learned = plant.tuner.learned()
    assert learned is not None
    assert 10 <= learned.level <= 16
    assert 7 * MB < learned.stream_bytes_per_second < 13 * MB
    assert Tuner(learned=learned).level == learned.level
    assert Tuner(learned=Learned(level=40, stream_bytes_per_second=1.0, ceiling=20)).level == 20


def test_two_clients_settle_at_equal_shares_whoever_came_first() -> None:
    """Both want all of 200 MB/s; a share goes by the requests in flight."""
    levels = [1, 1]
    tuners = [Tuner(), Tuner()]

    def share(own: int) -> Callable[[int, float], float]:
        def goodput(level: int, now: float) -> float:
            levels[own] = level
            return min(20 * MB * level, 200 * MB * level / sum(levels))

        return goodput

    plants = [Plant(tuner, share(own)) for own, tuner in enumerate(tuners)]
    plants[0].run(20)
    for _ in range(6000):
        for plant in plants:
            plant.run(TICK)
    means = [plant.mean_level(100) for plant in plants]
    assert 0.4 <= means[0] / sum(means) <= 0.6


def test_decisions_depend_on_the_numbers_alone() -> None:
    first, second = Plant(Tuner(), penalised(40)), Plant(Tuner(), penalised(40))
    first.run(30)
    second.run(30)
    assert first.decisions == second.decisions


def first_look(latency: float) -> int:
    decision = Tuner().observe(0.0, bytes_acked=0, requests_done=0, in_flight=0, latency_seconds=latency)
    return decision.level


def test_a_short_round_trip_needs_fewer_requests_at_the_start() -> None:
    assert first_look(0.2) == first_look(0.0) == SEED_LEVEL
    assert first_look(0.002) == NEAR_SEED_LEVEL < SEED_LEVEL


@pytest.mark.parametrize(
    ("latency", "round_trip", "level"),
    [
        (0.0, 0.0, SEED_LEVEL),
        (0.0, 0.05, SEED_LEVEL),
        (0.0, 0.002, NEAR_SEED_LEVEL),
        (0.02, 0.002, SEED_LEVEL),
        (0.002, 0.00003, LOCAL_SEED_LEVEL),
        (0.0, 0.00003, LOCAL_SEED_LEVEL),
    ],
)
def test_the_distance_of_the_server_decides_the_first_level(latency: float, round_trip: float, level: int) -> None:
    assert Tuner().seed(latency, round_trip) == level
    assert Tuner(most=1).seed(latency, round_trip) == 1
    assert Tuner(learned=Learned(level=17, stream_bytes_per_second=MB)).seed(latency, round_trip) == 17


def test_the_distance_counts_once_and_before_anything_was_measured() -> None:
    tuner = Tuner()
    assert tuner.seed(0.0) == SEED_LEVEL
    observe_nothing(tuner, in_flight=1)  # for example the first range of a download, whose end tells how large it is
    assert tuner.seed(0.0, 0.00003) == LOCAL_SEED_LEVEL
    assert tuner.seed(0.05, 0.05) == LOCAL_SEED_LEVEL
    observe_nothing(tuner, in_flight=1, latency_seconds=0.05)
    assert tuner.level == LOCAL_SEED_LEVEL
    busy = Tuner()
    observe_nothing(busy, in_flight=2)
    assert busy.seed(0.0, 0.00003) == SEED_LEVEL


def observe_nothing(tuner: Tuner, *, in_flight: int, latency_seconds: float = 0.0) -> None:
    tuner.observe(0.0, bytes_acked=0, requests_done=0, in_flight=in_flight, latency_seconds=latency_seconds)


@pytest.mark.parametrize(("busy_share", "opens_more"), [(0.0, True), (0.7, True), (0.9, False)])
def test_no_connections_are_added_while_a_thread_of_the_client_is_busy(busy_share: float, opens_more: bool) -> None:
    """Goodput rises a little with the level, for example because other processes get less of the processor."""
    plant = Plant(Tuner(), lambda level, now: 640 * MB * (level / SEED_LEVEL) ** 0.25)
    plant.busy_share, plant.bytes_left = busy_share, 10_000 * PART
    plant.run(10.0)
    assert (max(decision.level for _, decision in plant.decisions) > SEED_LEVEL) is opens_more
    plant.busy_share = 0.0
    plant.run(60.0)
    assert max(decision.level for _, decision in plant.decisions) > SEED_LEVEL


def test_a_busy_thread_at_the_start_alone_does_not_end_the_ramp() -> None:
    """Handshakes need it, before the first bytes."""
    plant = Plant(Tuner(), capped(1000))
    plant.busy_share, plant.bytes_left = 1.0, 10_000 * PART
    plant.run(2 * TICK)
    plant.busy_share = 0.0
    plant.run(1.0)
    assert max(decision.level for _, decision in plant.decisions) > SEED_LEVEL


@pytest.mark.parametrize(("parts", "opens_more"), [(200, False), (10_000, True)])
def test_the_ramp_opens_no_connections_for_the_last_requests(parts: int, opens_more: bool) -> None:
    plant = Plant(Tuner(), capped(1000))
    plant.bytes_left = parts * PART
    plant.run(1.0)
    assert (plant.tuner.level > SEED_LEVEL) is opens_more


@pytest.mark.parametrize(
    ("parts", "part_bytes", "latency", "level"),
    [
        (100, PART, 0.05, 100),
        (112, PART, 0.05, 112),
        (113, PART, 0.05, SEED_LEVEL),
        (60, PART, 0.05, SEED_LEVEL),
        (100, 16_000, 0.05, SEED_LEVEL),
        (100, PART, 0.001, NEAR_SEED_LEVEL),
    ],
    ids=["hardly more", "the most", "more", "fewer", "small files", "a near server"],
)
def test_requests_that_are_hardly_more_than_the_seed_start_together(
    parts: int, part_bytes: float, latency: float, level: int
) -> None:
    plant = Plant(Tuner(), capped(1000), part_bytes=part_bytes)
    plant.bytes_left = parts * part_bytes
    plant.tuner.seed(latency)
    plant.observe()
    assert plant.tuner.level == level


def test_all_at_once_keeps_the_walls_and_what_was_learned() -> None:
    learned = Learned(level=SEED_LEVEL, stream_bytes_per_second=MB)
    for tuner in (Tuner(most=SEED_LEVEL), Tuner(learned=learned)):
        plant = Plant(tuner, capped(1000))
        plant.bytes_left = 100 * PART
        plant.observe()
        assert plant.tuner.level == SEED_LEVEL


def test_a_level_that_was_measured_too_early_is_no_limit_for_long() -> None:
    def goodput(level: int, now: float) -> float:
        # The connections of the first requests are slow at first: 64 seem to bring no more than 38 would.
        return min(level, 38) * MB if level >= SEED_LEVEL and now < 101 else level * MB

    plant = Plant(Tuner(), goodput)
    plant.bytes_left = 2_000 * PART
    plant.run(4.0)
    assert max(decision.level for at, decision in plant.decisions if at < 101) == SEED_LEVEL
    assert min(decision.level for _, decision in plant.decisions) < 38
    assert plant.tuner.level > 2 * SEED_LEVEL


def after_a_probe_upwards(tuner: Tuner, *, base: int, probed: float, then: float) -> None:
    """A level that brought 10 was doubled, which brought ``probed``. Back at it, the goodput is ``then``."""
    tuner._phase, tuner._up, tuner.level = "probe", True, 2 * base
    tuner._base, tuner._base_goodput = base, 10.0
    tuner._levels.note(base, 10.0)
    tuner._guard.watch(100.0, 2 * base, low=False, waits=False)
    tuner._compare(100.0, probed)
    window = Window(101.0, 0.0, 0.0)
    window.add(1.0, in_flight=base, most=base, busy_seconds=0.0)
    tuner._judge(102.0, window, then, 0.0, waiting=True)


@pytest.mark.parametrize(
    ("base", "probed", "then", "phase"),
    [
        (16, 4.0, 4.0, "collapsed"),
        (16, 6.0, 4.0, "base"),
        (16, 4.0, 8.6, "probe"),
        (2, 4.0, 4.0, "base"),  # so few are not to blame
    ],
)
def test_goodput_that_stays_low_after_a_probe_upwards_has_collapsed(
    base: int, probed: float, then: float, phase: str
) -> None:
    tuner = Tuner()
    after_a_probe_upwards(tuner, base=base, probed=probed, then=then)
    assert tuner._phase == phase


def test_a_new_search_does_not_blame_an_old_probe() -> None:
    """Requests of another size bring less work."""
    tuner = Tuner()
    tuner._fell = True
    tuner._search(up=True, step=2.0, reason="search again: the requests have another size")
    tuner._base, tuner._base_goodput, tuner.level = 16, 10.0, 16
    window = Window(101.0, 0.0, 0.0)
    window.add(1.0, in_flight=16, most=16, busy_seconds=0.0)
    tuner._guard.watch(100.0, 16, low=False, waits=False)
    tuner._judge(102.0, window, 4.0, 0.0, waiting=True)
    assert tuner._phase == "probe"


def test_the_cost_of_a_collapse_counts_the_windows_that_showed_it() -> None:
    tuner = Tuner()
    after_a_probe_upwards(tuner, base=16, probed=4.0, then=4.0)
    assert tuner._guard._fell_at <= 102.0 - 2 * tuner._length()


@pytest.mark.parametrize(("requests", "collapsed"), [(3.0, True), (5.0, False)])
def test_a_suspect_level_needs_a_lower_share_of_requests_too(requests: float, collapsed: bool) -> None:
    """With as many requests as before, goodput is low because they are smaller."""
    tuner = Tuner()
    tuner._phase, tuner._base, tuner.level = "hold", 32, 32
    tuner._levels.note(32, 100.0)
    tuner._best.see(32, 100.0, 10.0)
    tuner._request_rate = requests
    tuner._bounds.ceiling = 40
    tuner._guard.watch(100.0, 32, low=False, waits=False)
    for now in (100.0, 101.0, 102.0):
        tuner._collapsed(now, 30.0)
    assert (tuner._phase == "collapsed") is collapsed


def test_the_ceiling_is_not_below_the_level_that_has_recovered() -> None:
    tuner = Tuner()
    tuner._levels.note(64, 64.0)
    tuner._guard.fall(1.0, 2.0, 64, tuner._levels, least=1, since=0.0)
    tuner._phase, tuner.level, tuner._work_left = "collapsed", 20, 1.0
    tuner._guard._slower_at = 90.0
    tuner._after_collapse(100.0, 20.0)
    assert tuner._guard.level_to_try(1.0) < 20
    assert tuner._bounds.ceiling == 20


@pytest.mark.parametrize("hasty", [True, False])
def test_only_what_was_measured_in_the_ramp_is_doubted(hasty: bool) -> None:
    tuner = Tuner()
    tuner._phase, tuner._up, tuner.level = "probe", True, 40
    tuner._base, tuner._base_goodput, tuner._worse_above = 32, 9.0, 64
    tuner._levels.note(32, 9.0)
    tuner._levels.note(64, 10.0, hasty=hasty)
    tuner._compare(100.0, 12.0)
    assert (tuner._worse_above is None) is hasty


class Bucket:
    """A server that accepts ``rate`` small requests a second and a burst of as many, and refuses the others."""

    def __init__(self, tuner: Tuner, rate: float, *, service_seconds: float = 0.02) -> None:
        self.tuner, self.rate, self.service_seconds = tuner, rate, service_seconds
        self.tokens = rate
        self.now = 100.0
        self.done = self.may_start = 0.0
        self.refused = 0.0
        self.decision = Decision(level=tuner.level, reason="")

    def run(self, seconds: float) -> float:
        """Run for so long; returns how many requests were accepted in a second."""
        before = self.done
        for _ in range(round(seconds / TICK)):
            self.tokens = min(self.rate, self.tokens + self.rate * TICK)
            wanted = 0.0
            if self.now >= self.decision.hold_until:
                wanted = self.tuner.level / self.service_seconds * TICK
                if self.decision.requests_per_second < float("inf"):
                    self.may_start = min(wanted, self.may_start + TICK * self.decision.requests_per_second)
                    wanted, self.may_start = self.may_start, 0.0
            accepted = min(wanted, self.tokens)
            self.tokens -= accepted
            self.done += accepted
            self.refused += wanted - accepted
            self.now += TICK
            self.decision = self.tuner.observe(
                self.now,
                bytes_acked=self.done * 16e3,
                requests_done=self.done,
                in_flight=self.tuner.level if wanted else 0,
                bytes_in_flight=self.tuner.level * 16e3,
                waiting=True,
                refused=self.refused,
            )
        return (self.done - before) / seconds


@pytest.mark.parametrize("rate", [50.0, 300.0, 2_000.0])
def test_small_requests_use_nearly_all_that_the_server_accepts_and_few_are_refused(rate: float) -> None:
    bucket = Bucket(Tuner(), rate)
    bucket.run(15.0)  # finds the rate
    refused = bucket.refused
    assert bucket.run(120.0) > 0.9 * rate
    assert bucket.refused - refused < 0.01 * 120 * rate


def test_a_rate_that_the_server_raises_is_found_again() -> None:
    bucket = Bucket(Tuner(), 100.0)
    bucket.run(30.0)
    bucket.rate = 1_000.0
    assert bucket.run(1.0) < 200.0
    bucket.run(180.0)
    assert bucket.run(10.0) > 500.0


def test_a_rate_that_never_binds_is_forgotten_and_the_level_is_searched_again() -> None:
    bucket = Bucket(Tuner(), 100.0)
    bucket.run(30.0)
    assert bucket.decision.requests_per_second < 150
    bucket.rate = 1e9
    bucket.run(300.0)
    assert bucket.decision.requests_per_second == float("inf")
    assert bucket.tuner._phase != "paced"


def test_after_a_time_in_which_everything_is_refused_the_rate_comes_back() -> None:
    bucket = Bucket(Tuner(), 200.0)
    bucket.run(20.0)
    bucket.rate = bucket.tokens = 0.0
    bucket.run(60.0)
    bucket.rate = 200.0
    bucket.run(30.0)
    assert bucket.run(20.0) > 150.0


def test_a_client_that_sends_few_small_requests_keeps_no_rate() -> None:
    """A chance refusal would hold back all that comes later."""
    tuner = Tuner()
    for second in range(100):
        decision = tuner.observe(
            100.0 + second, bytes_acked=second * 1e3, requests_done=second, in_flight=1, bytes_in_flight=1e3, refused=0
        )
    decision = tuner.observe(
        200.0, bytes_acked=1e5, requests_done=100, in_flight=1, bytes_in_flight=1e3, refused=1, waiting=False
    )
    assert decision.requests_per_second == float("inf")


def test_requests_of_unknown_size_keep_no_rate() -> None:
    tuner = Tuner()
    tuner.observe(100.0, bytes_acked=0, requests_done=0, in_flight=tuner.level)
    decision = tuner.observe(100.1, bytes_acked=0, requests_done=0, in_flight=0, refused=3, waiting=True)
    assert decision.requests_per_second == float("inf")
    assert decision.level < SEED_LEVEL


def test_the_level_of_a_rate_is_what_the_next_client_starts_from() -> None:
    bucket = Bucket(Tuner(), 300.0)
    bucket.run(15.0)
    learned = bucket.tuner.learned()
    assert learned is not None
    assert learned.level == bucket.tuner.level < SEED_LEVEL


def test_a_fixed_level_keeps_no_rate() -> None:
    bucket = Bucket(Tuner(least=8, most=8), 50.0)
    bucket.run(10.0)
    assert bucket.refused > 0
    assert bucket.decision.requests_per_second == float("inf")
    assert bucket.tuner.level == 8


def test_large_requests_that_come_after_small_ones_keep_no_rate() -> None:
    bucket = Bucket(Tuner(), 100.0)
    bucket.run(20.0)
    acked = bucket.done * 16e3
    for _ in range(60):
        bucket.now, acked = bucket.now + TICK, acked + 10 * MB * TICK
        decision = bucket.tuner.observe(
            bucket.now,
            bytes_acked=acked,
            requests_done=bucket.done,
            in_flight=bucket.tuner.level,
            bytes_in_flight=bucket.tuner.level * 8 * MB,
            refused=bucket.refused,
        )
    assert decision.requests_per_second == float("inf")


@pytest.mark.parametrize(("seconds", "probes"), [(4.0, False), (400.0, True)])
def test_a_transfer_that_ends_soon_is_not_probed(seconds: float, probes: bool) -> None:
    plant = Plant(Tuner(), lambda level, now: 100 * MB)
    plant.bytes_left = seconds * 100 * MB
    plant.run(3.0)
    assert any(decision.level < SEED_LEVEL for _, decision in plant.decisions) is probes


def test_a_probe_costs_a_small_share_of_the_time_that_is_left() -> None:
    """On a link that needs all of the requests, the first probe down loses goodput for a window."""
    lowest = {}
    for seconds in (10, 200):
        plant = Plant(Tuner(), capped(64))
        plant.bytes_left = seconds * 640 * MB
        plant.run(4.0)
        lowest[seconds] = min(decision.level for _, decision in plant.decisions)
    assert lowest[200] <= SEED_LEVEL / 3
    assert lowest[10] > SEED_LEVEL / 3


def test_the_last_requests_start_together_if_fewer_were_worse() -> None:
    plant = Plant(Tuner(), capped(20), part_bytes=4 * PART)
    while not plant.observe().reason.startswith("hold"):
        plant.run(TICK)
    settled = plant.tuner.level
    plant.bytes_left = 1.5 * settled * plant.part_bytes
    decision = plant.observe()
    assert decision.level == pytest.approx(1.5 * settled, abs=1)
    assert "together" in decision.reason


def test_after_a_penalty_it_goes_on_at_a_ceiling_below_the_level_that_collapsed() -> None:
    plant = Plant(Tuner(), penalised(40))
    while plant.observe().reason != "recovered from the collapse":
        plant.run(TICK)
        assert plant.now < 200
    learned = plant.tuner.learned()
    assert learned is not None
    assert learned.ceiling is not None
    assert 4 < plant.tuner.level == learned.ceiling <= 40


def recovered(**penalty: float) -> Plant:
    """A client that goes on after a penalty for more than 40 requests."""
    plant = Plant(Tuner(), penalised(40, **penalty))
    plant.bytes_left = 60_000 * MB
    while plant.observe().reason != "recovered from the collapse" or plant.tuner.level > 40:
        plant.run(TICK)
        assert plant.now < 200
    return plant


def test_a_level_that_was_safe_for_long_enough_is_left_before_the_hold_is_over() -> None:
    """The penalty strikes after a second and a half, so a level that lasts for some seconds is safe."""
    plant = recovered(onset=1.5)
    ceiling = plant.tuner.level
    plant.run(9)
    assert plant.tuner.level > ceiling
    assert "search again: so many are safe, and more may be" in [decision.reason for _, decision in plant.decisions]


def test_after_a_penalty_the_new_connections_are_not_judged_before_they_are_up_to_speed() -> None:
    """The server is far, and a connection needs some round trips until it brings anything."""
    plant = recovered()
    assert plant.tuner._settled_at > plant.now


def test_other_requests_have_another_goodput() -> None:
    plant = recovered()
    assert plant.tuner._guard.expected(10) > 0
    plant.run(3)
    plant.part_bytes = PART / 100
    plant.run(3)
    assert plant.tuner._guard.expected(10) == 0


def in_hold(level: int, goodput: float) -> Tuner:
    """A tuner that has held its level for long. A request of it ends in a second."""
    tuner = Tuner()
    tuner._phase, tuner.level, tuner._base, tuner._base_goodput = "hold", level, level, goodput
    tuner._best.see(level, goodput, level)
    tuner._levels.note(level, goodput)
    tuner._guard.watch(100.0, level, low=False, waits=False)
    return tuner


def test_after_a_collapse_it_does_not_look_whether_far_fewer_are_enough() -> None:
    """What a request brings is known. A look would be taken for another collapse."""
    tuner = in_hold(64, 100.0)
    assert not tuner._sounding.is_done
    tuner._give_way(102.0, 1.0, 64)
    assert tuner._sounding.is_done


def test_a_level_is_not_endured_while_it_brings_less_than_it_should() -> None:
    for goodput, endured in ((30.0, 0), (60.0, 32)):
        tuner = in_hold(32, 100.0)
        tuner._guard.watch(120.0, 32, low=False, waits=False)
        window = Window(119.0, 0.0, 0.0)
        window.add(1.0, in_flight=32, most=32, busy_seconds=0.0)
        tuner._judge(120.0, window, goodput, 32.0, waiting=True)
        assert tuner._guard.endured == endured


def test_a_burst_in_the_ramp_is_no_measure_of_a_collapse() -> None:
    plant = Plant(Tuner(), lambda level, now: (100 if now < 100.5 else 13) * MB)
    plant.run(12)
    assert not [decision for _, decision in plant.decisions if decision.reason.startswith("collapse")]


def test_a_collapse_at_the_new_level_is_seen_although_nothing_was_measured_there() -> None:
    """It is expected to bring its part of what so many brought before."""
    plant = recovered()
    level, plant.goodput = plant.tuner.level, lambda level, now: 25 * MB
    plant.run(4)
    assert plant.tuner.level < level / 2


def test_a_look_at_a_lower_level_that_brings_its_part_is_no_collapse() -> None:
    tuner = Tuner()
    tuner._best.see(32, 100.0, 10.0)
    tuner._sounding.lower(32, 100.0)
    tuner._phase, tuner.level = "sound", 4
    for now in (100.0, 101.0, 102.0):
        assert not tuner._collapsed(now, 10.0)
    assert tuner._collapsed(103.0, 5.0)


def test_the_same_goodput_is_a_collapse_if_the_level_was_kept() -> None:
    tuner = in_hold(4, 100.0)
    tuner._sounding.lower(32, 100.0)
    tuner._guard.watch(110.0, 32, low=False, waits=False)
    tuner._best.see(32, 100.1, 10.0)
    for now in (110.0, 111.0, 112.0):
        tuner._collapsed(now, 10.0)
    assert tuner._phase == "collapsed"


def test_parts_that_are_nearly_sent_are_not_cancelled() -> None:
    """100 parts began together, and 95 % of each were sent when goodput fell to a tenth."""
    for sent, stays in ((95.0, True), (50.0, False)):
        tuner = in_hold(64, 100.0)
        tuner._work_left, tuner._sent = 100.0 - sent, sent
        for now in (100.0, 101.0, 102.0):
            tuner._collapsed(now, 10.0)
        assert (tuner.level == 64) is stays
        assert tuner._abandon is not stays


def test_requests_that_could_not_be_cancelled_at_once_are_asked_for_again() -> None:
    """Some had not begun when the level fell: they are still beyond it at the next look."""
    plant = Plant(Tuner(), lambda level, now: 1 * MB)
    plant.run(0.1)
    while not plant.observe().abandon:
        plant.run(TICK)
    level = plant.tuner.level
    still = plant.tuner.observe(
        plant.now + TICK, bytes_acked=plant.acked, requests_done=0, in_flight=level + 1, bytes_in_flight=PART
    )
    assert still.abandon
    done = plant.tuner.observe(
        plant.now + 2 * TICK, bytes_acked=plant.acked, requests_done=0, in_flight=level, bytes_in_flight=PART
    )
    assert not done.abandon


def test_elasticity_and_price() -> None:
    assert elasticity(200.0, 20, 100.0, 10) == pytest.approx(1.0)
    assert elasticity(100.0, 20, 100.0, 10) == 0.0
    assert 0 < price(1) <= price(64) < price(256) < 1


steps = st.tuples(
    st.floats(0, 5), st.floats(0, 1e9), st.integers(0, 1000), st.integers(0, 300), st.integers(0, 3), st.booleans()
)


@given(st.lists(steps, max_size=200), st.integers(0, 50), st.integers(1, 300))
def test_whatever_the_counters_say_the_level_keeps_its_walls(
    of: list[tuple[float, float, int, int, int, bool]], least: int, most: int
) -> None:
    tuner = Tuner(least=least, most=most)
    now = acked = 0.0
    done = refused = 0
    for passed, sent, finished, in_flight, refusals, waiting in of:
        now, acked, done, refused = now + passed, acked + sent, done + finished, refused + refusals
        decision = tuner.observe(
            now,
            bytes_acked=acked,
            requests_done=done,
            in_flight=in_flight,
            bytes_in_flight=in_flight * 1e6,
            waiting=waiting,
            refused=refused,
            retry_after_seconds=float(refusals),
        )
        assert max(1, least) <= decision.level <= max(1, least, most)
        assert decision.reason


# -- all that are left ------------------------------------------------------------------------------------------------


def _held_at_a_plateau(*, slots: int, rate: float) -> Plant:
    """A tuner that has found ``slots``, more than half of the requests that are left. Each had ``rate`` bytes/s."""
    plant = Plant(Tuner(learned=Learned(level=slots, stream_bytes_per_second=rate)), lambda n, _: min(n, slots) * rate)
    plant.bytes_left = 60 * slots * rate  # seconds
    plant.run(8)
    plant.bytes_left = 1.6 * slots * PART
    return plant


def test_all_that_are_left_start_together_if_they_take_long_and_bring_more() -> None:
    plant = _held_at_a_plateau(slots=32, rate=0.2 * MB)
    plant.goodput = lambda n, _: n * 0.05 * MB  # a rival takes its share by the number of connections
    assert plant.run(12) == 52


def test_if_all_that_are_left_bring_no_more_they_are_left_to_the_connections_that_are_open() -> None:
    plant = _held_at_a_plateau(slots=32, rate=0.2 * MB)
    plant.goodput = lambda n, _: min(n, 32) * 0.05 * MB
    plant.run(12)
    assert max(decision.level for at, decision in plant.decisions if at > 108) == 52
    assert plant.tuner.level <= 32


def test_requests_that_are_soon_over_are_left_to_the_connections_that_are_open() -> None:
    plant = _held_at_a_plateau(slots=32, rate=8 * MB)
    plant.goodput = lambda n, _: n * 3.7 * MB  # less than two seconds are left, forty times the first response
    before = plant.tuner.level
    plant.run(8)
    assert max(decision.level for at, decision in plant.decisions if at > 108) <= before
