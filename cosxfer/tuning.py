"""How many requests a client keeps in flight. Pure: counters and the time in, a level and its reason out.

The controller looks for the smallest number of requests in flight (the level) that gives the best goodput. It sees
nothing but counters: bytes acknowledged, requests finished, requests in flight, refusals, and what is left to send.

`tuning_rules.py` says what goodput, time left, elasticity and price are. After each change of the level a window is
thrown away (*settling*): new connections start slowly, and requests beyond a lower level have to end first.

1. **Ramp.** Start from the seed (a smaller one near the server), or with all requests if they are hardly more. If there
   is time, look whether a quarter is enough (`tuning_sounding.py`). If much is left, wait for a steady goodput. Double
   after each short window if goodput rose by a tenth and no thread of the client is busy; two other windows end it.
   Small requests to a far server go up by four, without a wait (`tuning_ramp.py`).
2. **Search.** Measure the level, then probe (`tuning_probes.py`). The first probe goes down to a quarter. A probe up
   that pays its price is kept, and so is a probe down that loses less than the price. The next one goes further in its
   direction, or in the other one after a failed probe. When there is nothing left to probe, the level is *held*, longer
   each time. A lasting change of the goodput ends the hold. While a thread is busy, nothing is probed upwards.
3. **Collapse guard** (`tuning_guard.py`). If goodput stays far below the best, the level falls to what was endured, or
   to a few requests, until goodput is back. If the number of requests was the cause, the client goes on at a level that
   is worth its risk (`tuning_risk.py`), which is a ceiling until it was endured. Otherwise it ramps again.
4. **Refusals** (503, SlowDown) and time-outs. Small requests start at the rate that the server accepts from then on
   (`tuning_rate.py`). For others the level falls at once by 0.7, once a dead band (`tuning_refusals.py`). The refused
   level becomes a ceiling, and rises later.
5. **No evidence.** If the client had no more requests to fill the level, the window changes nothing. If more wait (a
   byte budget, a limit of a transfer), the most that were in flight are the level. A mean would fall with each level.
6. **Cancelling.** Requests beyond a lower level usually end by themselves. `Decision.abandon` asks to cancel and
   resend them after a collapse, or if they have sent next to nothing (a slow line).
7. **The last requests** start together if a lower level was worse, or if they take long and a probe shows that it pays.
"""

from __future__ import annotations

import math

import cosxfer.tuning_rules as rule
from cosxfer.tuning_best import Best
from cosxfer.tuning_bounds import Bounds
from cosxfer.tuning_guard import Guard, Next
from cosxfer.tuning_levels import Levels
from cosxfer.tuning_pace import Drain, Pace
from cosxfer.tuning_probes import affordable_requests, affordable_step, all_left, higher, lower
from cosxfer.tuning_ramp import Ramp, waits_for_latency
from cosxfer.tuning_refusals import Refusals
from cosxfer.tuning_risk import is_nearly_done
from cosxfer.tuning_rules import Decision, Learned, Window, elasticity, price
from cosxfer.tuning_size import RequestSize
from cosxfer.tuning_sounding import Found, Sounding


class Tuner:
    """Decides the level of one client. Call `observe` about every 100 ms, and after each refusal.

    ``most`` and ``least`` are walls (``concurrency=4`` is both). ``learned`` is an earlier run's `learned`.
    """

    def __init__(self, *, least: int = 1, most: int = rule.MAX_LEVEL, learned: Learned | None = None) -> None:
        ceiling = None if learned is None else learned.ceiling
        self._bounds = Bounds(least=least, most=most, ceiling=ceiling)
        self.level = self._bounds.clamp(rule.SEED_LEVEL if learned is None else learned.level)
        self._unknown = learned is None
        self._phase = "ramp"
        self._reason = "start from the default" if learned is None else "start from what was learned"
        # Time and windows.
        self._began = math.nan
        self._pace, self._drain = Pace(), Drain()
        self._window: Window | None = None
        self._last = self._settled_at = self._moved_at = 0.0
        self._sounding = Sounding(needed=self._unknown)
        # Ramp and search.
        self._upwards = Ramp()
        self._base, self._base_goodput, self._step = self.level, 0.0, 2.0
        self._up = self._probed_down = self._fell = False
        self._worse_above: int | None = None
        self._worse_below: int | None = None
        self._hold_seconds = rule.FIRST_HOLD_SECONDS
        self._held, self._strange, self._hold_ends = False, 0, 0.0
        # What was seen, and the collapse guard.
        self._levels, self._best, self._guard = Levels(), Best(), Guard()
        self._goodput = self._request_rate = self._acked = self._sent = 0.0
        # What is left to do.
        self._requests_left = self._work_left = math.inf
        self._abandon = self._fresh = self._busy = self._finishing = self._stays = False
        self._size, self._refusals = RequestSize(), Refusals()

    # --- what the caller uses ---

    def seed(self, latency_seconds: float, round_trip_seconds: float = 0.0, *, stays: bool = False) -> int:
        """Choose the first level by the distance of the server, once (0: not known), and return the level.

        One that ``stays`` is not reduced before it was reached: parts from the page cache come in batches.
        """
        self._stays = self._stays or stays
        if not self._pace.latency and (self._window is None or self._window.most_in_flight < 2):
            self._pace.latency = latency_seconds or round_trip_seconds
            if self._unknown and not self._stays and self._phase == "ramp" and not self._levels:
                self.level = self._bounds.clamp(rule.seed_level(self._pace.latency, round_trip_seconds))
        return self.level

    def observe(
        self,
        now: float,
        *,
        bytes_acked: float,
        requests_done: float,
        in_flight: int,
        most_in_flight: int | None = None,
        bytes_in_flight: float = 0,
        sent_in_flight: float = 0,
        waiting: bool = False,
        bytes_left: float = math.inf,
        requests_left: float = math.inf,
        latency_seconds: float = 0.0,
        busy_seconds: float = 0.0,
        refused: float = 0,
        retry_after_seconds: float = 0.0,
    ) -> Decision:
        """Take the counters at time ``now`` and return the level to use from now on.

        ``bytes_acked``, ``requests_done`` and ``refused`` (throttled or timed out) count from the client's start.
        ``most_in_flight`` is the largest number in flight since the last call (None: ``in_flight``): short requests are
        often over when this looks. ``bytes_in_flight`` is the size of the requests in flight, and ``sent_in_flight``
        is how much of it was acknowledged. ``waiting`` says whether more would start if they could. ``busy_seconds`` is
        the CPU time of the client's busiest thread since the last call. ``retry_after_seconds`` is the server's wish in
        the last refusal, else 0.
        """
        before = self.level
        # Requests that could not be cancelled at once, for example because they had not begun, are asked for again.
        self._abandon = self._abandon and self._drain.is_running and in_flight > self.level
        self._requests_left, self._acked, self._sent = requests_left, bytes_acked, sent_in_flight
        self._work_left = bytes_left + rule.REQUEST_WORK_BYTES * requests_left
        self._fresh = bytes_in_flight >= max(rule.FRESH * bytes_acked, rule.SHORT_DRAIN_SECONDS * self._goodput)
        work = bytes_acked + rule.REQUEST_WORK_BYTES * requests_done
        if math.isnan(self._began):
            self.seed(latency_seconds)
            if not in_flight:
                return Decision(level=self.level, reason="nothing is in flight")
            self._began = self._last = now
            if self._unknown:
                self.level = self._bounds.clamp(rule.all_at_once(self.level, requests_left, bytes_left))
            self._window = Window(now, work, requests_done)
        window = self._window = self._window or Window(now, work, requests_done)
        if not self._pace.first_response and work > window.work:
            self._pace.first_response = max(1e-3, now - self._began)
        most = max(in_flight, most_in_flight or 0)
        window.add(now - self._last, in_flight=in_flight, most=most, busy_seconds=busy_seconds)
        self._last = now
        self._guard.watch(now, most, low=self._best.low_windows > 0, waits=self._phase == "collapsed")
        self._bounds.pass_time(now)
        self._keep_pace(now, requests_done)
        if in_flight and bytes_in_flight:
            self._watch_work(now, rule.REQUEST_WORK_BYTES + bytes_in_flight / in_flight)
        self._finish(now)
        backs_off = self._refuse(now, refused, requests_done, waiting, retry_after_seconds)
        if not backs_off and self._ready(now, in_flight, window, work, requests_done, bytes_in_flight):
            self._judge(now, window, work, requests_done, waiting=waiting)
        return Decision(
            level=self.level,
            reason=self._reason,
            hold_until=self._refusals.hold_until,
            requests_per_second=self._refusals.rate.limit,
            abandon=self._abandon,
            changed=self.level != before,
        )

    def learned(self) -> Learned | None:
        """What the next client may start from; None if no window was measured."""
        if not self._levels:
            return None
        level = self._levels.best(preferred=self._base)
        return Learned(level=level, stream_bytes_per_second=self._levels[level] / level, ceiling=self._bounds.ceiling)

    # --- what is left ---

    def _seconds_left(self, goodput: float) -> float:
        return rule.seconds_left(self._work_left, goodput)

    def _finish(self, now: float) -> None:
        last = self._requests_left < rule.FINISH_SHARE * self._base
        if self._phase not in ("base", "probe", "hold") or last == self._finishing:
            return
        if not last:
            self._finishing, self._phase = False, "base"
            self._move(now, self._base, "more work has come")
        elif self._worse_below and self._may_finish():
            self._finishing = True
            self._move(now, math.ceil(self._requests_left), "the last requests start together", settle=False)

    def _may_finish(self) -> bool:
        """Whether to start the last requests together: soon over, or more requests bring more than their number."""
        left = self._seconds_left(self._base_goodput)
        close = self._worse_below is not None and rule.CAREFUL_STEP * self._worse_below > self._base
        return left > rule.COLD_TRIPS * self._pace.first_response and (close or left < rule.FINISH_SECONDS)

    def _watch_work(self, now: float, size: float) -> None:
        """If the requests have another size than before, what was measured says nothing."""
        before = self._size.bytes
        if self._size.has_changed(now, size, known=self._phase in ("base", "probe", "hold", "paced")):
            self._refusals.rate.forget()
            self._best.forget()
            self._guard.forget()
            self._bounds.wall = None
            self._levels.forget()
            reason = "search again: the requests have another size"
            if size < before:
                self._restart(reason)
            else:
                self._search(up=True, step=2.0, reason=reason)

    # --- windows ---

    def _length(self) -> float:
        """Seconds that the present window must last."""
        best = self._upwards.goodput
        ramp_seconds = rule.RAMP_SHARE * self._seconds_left(best) if best else 0.0
        return self._pace.window_seconds(self._phase, ramp_seconds=ramp_seconds)

    def _ready(
        self, now: float, in_flight: int, window: Window, work: float, requests: float, bytes_in_flight: float
    ) -> bool:
        """Whether the window says something: settled, long enough."""
        if not self._pace.first_response:
            return False
        drain = self._drain
        if drain.is_running and in_flight <= self.level:
            drain.is_running = False
            self._settled_at = max(self._settled_at, now + max(rule.SETTLE_SECONDS, self._pace.first_response) / 2)
        cheap = not self._held and self._is_cheap(self._acked)
        if drain.is_running and drain.is_slow(now, work, bytes_in_flight, best=self._best.goodput, cheap=cheap):
            self._abandon = True
        if drain.is_running or now < self._settled_at:
            self._window = Window(now, work, requests)
            return False
        return now - window.start >= self._length() - 1e-9

    def _move(self, now: float, level: int, reason: str, *, settle: bool = True) -> None:
        level = self._bounds.clamp(level)
        self._reason, self._moved_at = reason, now
        if level != self.level and settle:
            self._settled_at = now + max(rule.SETTLE_SECONDS, self._start_seconds(level))
        self._drain = Drain(level < self.level)
        cheap = self._fresh and self._is_cheap(self._acked * (1 - level / self.level))
        self._abandon = self._abandon or (self._drain.is_running and cheap)
        self.level = level

    def _is_cheap(self, wasted_bytes: float) -> bool:
        return wasted_bytes <= rule.WASTED_SHARE * self._work_left

    def _start_seconds(self, level: int) -> float:
        """How long it takes until this level brings what it can."""
        if level < self.level:
            return self._pace.first_response
        return self._pace.start_seconds(level, goodput=self._goodput, request_bytes=self._size.bytes)

    # --- decisions ---

    def _judge(self, now: float, window: Window, work: float, requests: float, *, waiting: bool) -> None:
        """A window is complete: act on its goodput."""
        seconds = now - window.start
        goodput = (work - window.work) / seconds
        mean_in_flight = window.slot_seconds / seconds
        finished = requests - window.requests
        self._busy = window.busy_seconds > rule.BUSY_THREAD_SHARE * seconds
        self._goodput, self._request_rate = goodput, finished / seconds
        self._window = Window(now, work, requests)
        if self._phase == "paced":
            self._levels.restart(self.level, goodput)
            return
        if mean_in_flight < rule.BUSY_SHARE * self.level:
            low = goodput < rule.COLLAPSE_SHARE * self._best.goodput * mean_in_flight / self.level
            if (low or self._phase == "collapsed") and self._collapsed(now, goodput):
                return
            if not waiting or (self._stays and self._phase == "ramp") or self._refusals.is_recent(now):
                self._reason = "too few requests in flight to judge the level"
                return
            # If the level was reached, requests are so short that the time between two of them counts.
            if window.most_in_flight < rule.BUSY_SHARE * self.level:
                self._bounds.wall = max(1, window.most_in_flight)
                self._move(now, self._bounds.wall, "another limit keeps requests from starting", settle=False)
                if self._phase in ("base", "probe", "hold"):
                    self._search(up=False, step=rule.CAREFUL_STEP, reason=self._reason)
                    return
        if finished > 0:
            self._refusals.see_service(now, mean_in_flight * seconds / finished)
        if self._collapsed(now, goodput) or self._finishing:
            return
        if self._best.is_part(self.level, goodput):
            self._guard.endure(now)
        self._levels.note(self.level, goodput, hasty=self._phase == "ramp")
        trust = rule.RAMP_TRUST if self._phase == "ramp" else 1.0
        self._best.see(self.level, goodput, self._request_rate, trust=trust)
        if self._phase == "ramp":
            self._ramp(now, goodput)
        elif self._phase == "sound":
            self._sound(now, goodput)
        elif self._phase == "base":
            slow = self.level == self._base and goodput < rule.SLOW_START_SHARE * self._base_goodput
            fell, self._fell = self._fell and goodput < rule.BACK_SHARE * self._base_goodput, False
            if slow and fell and self._guard.is_about_number(self.level):
                self._give_way(now, goodput, self.level)
                return
            if slow and now - self._moved_at < rule.SLOW_START_SECONDS:
                self._reason = "connections are still speeding up"
                return
            self._lifted(goodput)
            self._base, self._base_goodput = self.level, goodput
            self._probe(now)
        elif self._phase == "probe":
            self._compare(now, goodput)
        elif self._phase == "recover":
            self._recover(now)
        else:
            self._hold(now, goodput)

    def _ramp(self, now: float, goodput: float) -> None:
        ramp, earlier = self._upwards, self._upwards.see(goodput)
        left, trip, size = self._seconds_left(goodput), self._pace.first_response, self._size.bytes
        far = waits_for_latency(self._pace, level=self.level, request_bytes=size, goodput=goodput)
        far = far and self._bounds.ceiling is None
        if not far and left > rule.UNHURRIED_SECONDS and goodput > rule.RAMP_GAIN * earlier:
            self._reason = "ramp: connections are still speeding up"
            return
        if self._sounding.is_affordable(level=self.level, seconds_left=left, trip=trip, flat=False):
            seconds, steady = now - self._began, self._sounding.is_steady
            if not steady(self._pace, seconds, goodput, earlier, level=self.level, request_bytes=size):
                self._reason = "ramp: connections are still speeding up"
                return
            if self._look_below(now, goodput):
                return
        rises = ramp.rises(goodput, busy=self._busy)
        if rises and (left < rule.RAMP_TRIPS * trip or self._requests_left < rule.RAMP_ROUNDS * self.level):
            self._reason = "ramp: the last requests are left to the connections that are open"
            return
        warm = now - self._began > rule.RAMP_TRIPS * self._pace.trip
        level = self._bounds.clamp((rule.FAR_STEP if far else 2) * self.level)
        if warm and self.level * size > rule.SLOW_SECONDS * goodput:
            ramp.end()
        elif rises and level > self.level:
            waits_until = now + self._start_seconds(level) + 2 * self._length()
            ramp.begin_step(self.level, level, goodput, earlier=earlier, waits_until=waits_until)
            self._move(now, level, "ramp: goodput still rises", settle=False)
            return
        if not ramp.is_over or now < ramp.waits_until:
            self._reason = "ramp: wait for the connections that are new"
            return
        too_few = ramp.too_few(self.level, goodput)
        looks = self._sounding.is_affordable(level=self.level, seconds_left=left, trip=trip, flat=True)
        if looks and not too_few and self._look_below(now, goodput):
            return
        # Levels of the ramp were measured before their connections were up to speed: one that was as good is better.
        level, measured = self._levels.fewest(goodput), self.level
        self._move(now, level, "ramp ended: goodput rises no more")
        self._search(up=False, step=rule.FIRST_STEP, reason=self._reason)
        self._worse_below = too_few
        if level == measured and left > rule.DOWN_SECONDS:
            self._base, self._base_goodput = level, goodput
            self._probe(now)

    def _look_below(self, now: float, goodput: float) -> bool:
        """Look at a lower level, if there is one."""
        level = self._bounds.clamp(self._sounding.lower(self.level, goodput))
        if level >= self.level:
            return False
        self._phase = "sound"
        self._move(now, level, f"see whether {level} are enough")
        return True

    def _sound(self, now: float, goodput: float) -> None:
        sounding, level = self._sounding, self.level
        found, needed = sounding.judge(level, goodput)
        if found is not Found.ENOUGH and self._waits_lower(now, sounding.goodput_above):
            return
        if found is Found.ENOUGH:
            if not self._look_below(now, goodput):
                self._base, self._base_goodput = level, goodput
                self._search(up=False, step=2.0, reason=f"{level} are enough")
                self._worse_above = sounding.enough_above
            return
        self._base, self._base_goodput = sounding.above, sounding.goodput_above
        if found is Found.FAR:
            self._restart(f"ramp: {level} are far from enough")
            self._upwards.goodput = self._base_goodput
            self._upwards.waits_until = now + self._start_seconds(2 * needed) + 2 * self._length()
            self._move(now, 2 * needed, self._reason, settle=False)
            return
        self._search(up=False, step=2.0, reason="")
        self._worse_below, self._worse_above, self._probed_down = level, sounding.enough_above, True
        if found is Found.NEEDED:
            self._worse_above = None
            if now - self._moved_at < rule.STALE_SECONDS:  # else what was measured above says nothing any more
                self._phase = "probe"
        self._move(now, needed, f"{level} are not enough, and {needed} may be")

    def _restart(self, reason: str) -> None:
        """Ramp again, from this level on."""
        self._phase, self._reason, self._upwards = "ramp", reason, Ramp()

    def _search(self, *, up: bool, step: float, reason: str) -> None:
        self._phase, self._up, self._step = "base", up, step
        self._worse_above, self._worse_below, self._fell = None, None, False
        self._reason = reason

    def _candidate(self, *, up: bool) -> int | None:
        """The next level to probe in a direction; None if there is nothing left to learn there."""
        base, goodput = self._base, self._base_goodput
        if up:
            if self._requests_left < rule.FINISH_SHARE * base:
                return self._last_requests()
            more = affordable_requests(goodput, self._size.bytes, seconds_left=self._seconds_left(goodput))
            return higher(base, step=self._step, more=more, worse=self._worse_above, clamp=self._bounds.clamp)
        cancels = self._fresh and self._is_cheap(self._acked * (1 - 1 / self._step))
        drain = 0.0 if cancels else base * self._size.bytes / max(1.0, goodput)
        seconds = self._length() + min(drain, rule.LONG_DRAIN_SECONDS)
        step = min(self._step, affordable_step(seconds, seconds_left=self._seconds_left(goodput)))
        worse = self._worse_below
        # After a collapse all levels of the ramp were measured with connections that were up to speed.
        known = self._levels.lower_bounds(worse, every=self._bounds.ceiling is not None)
        return lower(base, goodput, step=step, worse=worse, known=known, clamp=self._bounds.clamp)

    def _last_requests(self) -> int | None:
        brief = self._seconds_left(self._base_goodput) < rule.LAST_PROBE_TRIPS * self._pace.first_response
        return None if brief or self._worse_above else all_left(self._base, self._requests_left, self._bounds.clamp)

    def _lifted(self, goodput: float) -> None:
        """If so many requests bring much more than before, a penalty has ended: look at higher levels again."""
        if self.level <= self._base and goodput > rule.LIFT * self._base_goodput > 0:
            self._worse_above, self._up, self._step = None, True, 2.0

    def _probe(self, now: float) -> None:
        left = self._seconds_left(self._base_goodput)
        for up in (self._up, not self._up):
            level = self._candidate(up=up)
            if up and not self._up and self._worse_above and left < rule.MORE_DOWN_SECONDS:
                break  # more requests were not better, and there is no time to look closer
            least = rule.UP_SECONDS if up else (rule.MORE_DOWN_SECONDS if self._probed_down else rule.DOWN_SECONDS)
            if level is not None and not (up and self._busy) and left > least:
                self._up, self._phase = up, "probe"
                self._probed_down = self._probed_down or not up
                self._move(now, level, f"probe {'up' if up else 'down'} from {self._base}")
                return
        self._phase, self._held = "hold", True
        self._hold_ends = now + self._hold_seconds
        self._hold_seconds = min(rule.LONGEST_HOLD_SECONDS, 2 * self._hold_seconds)
        self._strange = 0
        self._reason = "hold: neither more nor fewer requests are better"

    def _compare(self, now: float, goodput: float) -> None:
        level, base = self.level, self._base
        if not self._up and goodput < rule.BACK_SHARE * self._base_goodput * level / base:
            # Fewer requests bring far less than their part: it is not their number.
            self._give_way(now, goodput, base)
            return
        gained = elasticity(goodput, level, self._base_goodput, base)
        stale = now - self._moved_at > rule.STALE_SECONDS + 2 * self._length()
        if not self._up and gained < rule.CLEAR_ELASTICITY and stale:
            self._base, self._base_goodput = level, goodput
            self._search(up=True, step=2.0, reason="the last measurement is too old to compare with")
            self._probe(now)
            return
        if self._levels.is_outdated(self._worse_above, level, goodput):
            self._worse_above = None
        accepted = gained > price(level) if self._up else gained < price(base)
        if accepted:
            self._guard.waits_lower(now, 0.0, base)  # no longer
            if self._up:
                self._worse_below = base
            else:
                self._worse_above = base
                self._lifted(goodput)
            self._base, self._base_goodput = level, goodput
            careful = self._up and self._bounds.ceiling is not None
            self._step = min(rule.CAREFUL_STEP if careful else 2.0, self._step * 1.5) if self._up else 2.0
            self._hold_seconds = rule.FIRST_HOLD_SECONDS
            self._probe(now)
            return
        if not self._up and self._waits_lower(now, goodput):
            return
        self._fell = self._up and goodput < rule.BACK_SHARE * self._base_goodput
        if self._up:
            self._worse_above = level
        else:
            self._worse_below = level
        self._up = not self._up
        self._step = min(self._step, 2.0)
        self._phase = "base"
        self._move(now, base, f"back to {base}: {level} was not better")

    def _waits_lower(self, now: float, goodput: float) -> bool:
        self._reason = Next.WAIT_LOWER.value
        return self._guard.waits_lower(now, self._seconds_left(goodput), self._base)

    def _hold(self, now: float, goodput: float) -> None:
        strange = abs(goodput - self._base_goodput) > rule.LASTING_CHANGE * self._base_goodput
        self._strange = self._strange + 1 if strange else 0
        if self._strange >= 2 and goodput < self._base_goodput and self._is_suspect():
            self._give_way(now, goodput, self.level)
        elif self._strange >= 2:
            self._hold_seconds = rule.FIRST_HOLD_SECONDS
            self._search(up=True, step=2.0, reason="search again: the goodput has changed")
        elif self._guard.climbs(self._bounds, work_left=self._work_left):
            self._search(up=True, step=rule.CAREFUL_STEP, reason="search again: so many are safe, and more may be")
        elif now >= self._hold_ends:
            self._bounds.wall = None
            self._guard.raise_ceiling(now, self._bounds, work_left=self._work_left, goodput=goodput)
            self._search(up=True, step=1.4, reason="search again: the hold is over")

    # --- collapse ---

    def _collapsed(self, now: float, goodput: float) -> bool:
        if self._phase == "collapsed":
            return self._after_collapse(now, goodput)
        share = rule.SUSPECT_SHARE if self._is_suspect() else rule.COLLAPSE_SHARE
        looks = self._phase == "sound" and self._sounding.is_part(self.level, goodput)
        far = self._best.is_far(goodput, self._request_rate, share) and not looks
        if not far or self._refusals.is_recent(now):
            self._best.low_windows = 0
            return False
        if not self._best.stays_low(now, self._length()):
            return self._phase != "probe" or self.level > self._base
        self._give_way(now, goodput, self.level)
        return True

    def _is_suspect(self) -> bool:
        """Whether more requests have collapsed before, and so many were never endured."""
        return self._bounds.ceiling is not None and self._guard.endured < self.level

    def _give_way(self, now: float, goodput: float, level: int) -> None:
        """Goodput has collapsed at this level: go down and wait."""
        if not self._guard.is_about_number(level):
            self._bounds.ceiling = None
            self._ramp_again(goodput, Next.SLOWER.value)
        elif is_nearly_done(goodput, self._best.goodput, work_left=self._work_left, sent=self._sent):
            self._reason = "collapse: what is left is nearly sent"
        else:
            since = min(now - 2 * self._length(), self._best.low_since if self._best.low_windows else now)
            target = self._guard.fall(now, goodput, level, self._levels, least=self._bounds.least, since=since)
            self._phase, self._abandon, self._finishing = "collapsed", True, False
            self._sounding.is_done, self._hold_seconds = True, rule.FIRST_HOLD_SECONDS
            self._move(now, target, f"collapse: goodput is far below the best at {self._guard.collapsed_at}")

    def _ramp_again(self, goodput: float, reason: str) -> None:
        self._best.restart(self.level, goodput)
        self._levels.restart(self.level, goodput)
        self._restart(reason)

    def _after_collapse(self, now: float, goodput: float) -> bool:
        guard = self._guard
        step = guard.after_window(now, goodput, self.level, self._best)
        if step is Next.TRY_MORE:
            self._move(now, 2 * self.level, step.value)
        elif step is Next.TRY_FEWER:
            self._abandon = True
            self._move(now, guard.safe_level, step.value)
        elif step is not Next.WAIT:
            self._ramp_again(goodput, step.value)
            if step is not Next.SLOWER:
                ceiling = max(self.level, guard.level_to_try(self._work_left))
                self._bounds.after_collapse(now, ceiling, collapsed_at=guard.collapsed_at)
                self._best.restart(ceiling, rule.RAMP_TRUST * guard.expected(ceiling))
                self._move(now, ceiling, step.value)
        return True

    # --- refusals ---

    def _refuse(self, now: float, refused: float, requests: float, waiting: bool, retry_after: float) -> bool:
        """Back off if the server has refused more; returns whether it has."""
        refusals, more = self._refusals, refused > self._refusals.count
        first = refusals.see(now, refused, retry_after_seconds=retry_after)
        if more and retry_after:
            self._settled_at = max(self._settled_at, refusals.hold_until + rule.SETTLE_SECONDS)
        if not first:
            return more
        # A client that sends few requests is not refused for their rate.
        small = waiting and 0 < self._size.bytes < rule.SMALL_BYTES and self._bounds.least < self._bounds.most
        answer = refusals.answer(now, requests, self.level, small=small, in_ramp=self._phase == "ramp")
        self._phase, self._abandon = answer.phase, self._abandon or answer.abandon
        self._best.forget()
        self._levels.forget()
        if answer.ceiling is not None:
            self._bounds.after_refusal(now, answer.ceiling)
        self._move(now, answer.level, answer.reason)
        self._window = None
        return True

    def _keep_pace(self, now: float, requests: float) -> None:
        """Follow the rate that the server accepts, until it binds no more."""
        rate = self._refusals.rate
        rate.pass_time(now, requests)
        if self._phase == "paced" and rate.limit == math.inf:
            self._search(up=True, step=2.0, reason="search again: the server refuses no more")
        elif self._phase == "paced" and rate.slots > self.level:
            self._move(now, rate.slots, rate.reason, settle=False)

    def _recover(self, now: float) -> None:
        level = self._refusals.recovery(now, self.level)
        if level is not None:
            reason = "recover after a refusal" if level > self.level else "wait after a refusal"
            self._move(now, level, reason, settle=False)
            return
        self._base, self._base_goodput = self.level, self._levels[self.level]
        self._phase, self._hold_ends = "hold", now + self._hold_seconds
        self._reason = "hold below the level that was refused"
