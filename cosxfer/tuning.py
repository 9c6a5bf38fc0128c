"""How many requests a client keeps in flight. Pure: counters and the time in, a level and its reason out.

The controller looks for the smallest number of requests in flight (the level) that gives the best goodput. It sees
nothing but counters: bytes acknowledged, requests finished, requests in flight, refusals, and what is left to send.

**Goodput** counts work: bytes, and `REQUEST_WORK_BYTES` more for each request that has finished, so that tiny objects
register. It is measured over windows. A window is long against the round trip, which is estimated by the time from the
first request to the first acknowledged byte. After each change of the level a window is thrown away (*settling*): new
connections start slowly, and requests beyond a lower level have to end first.

**Elasticity** compares two levels: e = ln(goodput ratio) / ln(level ratio). It is 1 if each request brings its own
goodput, 0 on the plateau. On a link that another client fills too, it is the other's share of the link. A higher level
must have an elasticity above the *price* of a slot, otherwise the lower one wins. The price rises with the level. Two
clients that share a link therefore settle: the one with more slots sees the lower elasticity and pays the higher price.
The price of the first slots is small but not zero: it is the dead band for noise, and gives ties to the lower level.

**Time left** is the work that is left, divided by the goodput. A probe costs goodput if it fails. Probes are therefore
small, or left out, if little time is left: a transfer of a second ends at the level at which it began.

1. **Ramp.** Start from the seed, a smaller one if the round trip is short. Double after each short window as long as
   goodput rises by a tenth; two windows without a rise, in which new connections could have come up to speed, end the
   ramp. If much time is left, double only after the goodput of a level is steady: it rises by itself in slow start.
2. **Search.** Measure the level, then probe. The first probe goes down to a quarter. A probe up that pays its price is
   kept, and so is a probe down that loses less than the price. Successful probes continue in their direction in larger
   steps. A failed probe returns, measures again, and the next one takes the other direction. A level that was measured
   worse bounds the steps. When there is nothing left to probe, the level is *held*, longer each time. A lasting change
   of the goodput ends the hold at once. If the requests get another size, the search begins again.
3. **Collapse guard.** Some networks punish too many connections silently. If goodput stays far below the best for two
   windows, the level falls to one that was held for long, else to a quarter. It waits there, because a penalty may
   outlast its cause, and falls to a quarter again until goodput is what so many requests should have. If that is much
   more than during the collapse, the level becomes a ceiling for ten minutes. After a rest it rises, if enough time is
   left. Otherwise the link itself has become slower: no ceiling, search again.
4. **Back-off.** A refusal (503, SlowDown) or a time-out reduces the level at once by 0.7, but only once a dead band. If
   refusals go on after it, Little's law says how many slots the accepted requests keep busy. `Retry-After` becomes
   `Decision.hold_until`: no request starts before. The refused level becomes a ceiling, and later rises in small steps.
5. **No evidence.** If the client had fewer requests in flight than the level because it had no more, the window says
   nothing and changes nothing. If more wait (a byte budget, a limit of a transfer), the most that were in flight are
   the level. Their mean is not: files have to be opened and hashed, and a mean would fall with each lower level.
6. **Cancelling.** Requests beyond a lower level usually end by themselves. `Decision.abandon` asks to cancel and
   resend them if they would take too long: after a collapse, or if they have sent next to nothing (a slow line).
7. **The last requests** start together if a lower level was worse: no slot then waits for one that began late.

Sources: M. Arifuzzaman and E. Arslan, "Online Optimization of File Transfers in High-Speed Networks" (SC 2021): a price
per stream makes competing tuners settle.
"""

from __future__ import annotations

import math

import cosxfer.tuning_rules as rule
from cosxfer.tuning_bounds import Bounds
from cosxfer.tuning_rules import Decision, Learned, Window, elasticity, price


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
        self._started: float | None = None
        self._round_trip: float | None = None
        self._latency = self._last = 0.0
        self._window: Window | None = None
        self._settled_at = self._moved_at = 0.0
        self._draining = False
        self._drain: Window | None = None
        # Ramp and search.
        self._ramp_goodput: float | None = None
        self._flat_windows = 0
        self._window_goodput = self._ramp_waits_until = 0.0
        self._base, self._base_goodput = self.level, 0.0
        self._up = False
        self._worse_above: int | None = None
        self._worse_below: int | None = None
        self._step = 2.0
        self._probed_down, self._patient_until = False, 0.0
        self._hold_seconds = rule.FIRST_HOLD_SECONDS
        self._hold_began, self._hold_ends = math.inf, 0.0
        self._endured, self._safe_level = 0, 1
        self._slower_at = self._last_refusal = -math.inf
        self._held, self._strange = False, 0
        # Collapse.
        self._good: dict[int, float] = {}
        self._goodput = self._best = 0.0
        self._request_rate = self._best_request_rate = 0.0
        self._low_windows, self._low_since = 0, 0.0
        self._best_level = 1
        self._collapsed_at, self._collapse_goodput = 0, 0.0
        self._patience_ends = 0.0
        self._abandon = self._fresh = False
        # What is left to do.
        self._requests_left = self._work_left = math.inf
        self._acked = self._request_bytes = 0.0
        self._finishing = False
        self._other_since: float | None = None
        # Refusals.
        self._refused = self._refused_mark = 0.0
        self._dead_until = self._hold_until = 0.0
        self._refusal_mark: Window | None = None
        self._service_seconds = math.inf
        self._refusal_level: int | None = None

    # --- what the caller uses ---

    def observe(
        self,
        now: float,
        *,
        bytes_acked: float,
        requests_done: float,
        in_flight: int,
        most_in_flight: int | None = None,
        bytes_in_flight: float = 0,
        waiting: bool = False,
        bytes_left: float = math.inf,
        requests_left: float = math.inf,
        latency_seconds: float = 0.0,
        refused: float = 0,
        retry_after_seconds: float = 0.0,
    ) -> Decision:
        """Take the counters at time ``now`` and return the level to use from now on.

        ``bytes_acked``, ``requests_done`` and ``refused`` (throttled or timed out) count from the client's start.
        ``most_in_flight`` is the largest number in flight since the last call (None: ``in_flight``): short requests are
        often over when this looks. ``bytes_in_flight`` is the size of the requests in flight; ``waiting`` says whether
        more would start if they could. ``retry_after_seconds`` is the server's wish in the last refusal, else 0.
        """
        before = self.level
        # Requests that could not be cancelled at once, for example because they had not begun, are asked for again.
        self._abandon = self._abandon and self._draining and in_flight > self.level
        self._requests_left, self._acked = requests_left, bytes_acked
        self._work_left = bytes_left + rule.REQUEST_WORK_BYTES * requests_left
        self._fresh = bytes_in_flight >= max(rule.FRESH * bytes_acked, rule.SHORT_DRAIN_SECONDS * self._goodput)
        work = bytes_acked + rule.REQUEST_WORK_BYTES * requests_done
        if self._started is None:
            self._latency = latency_seconds
            if latency_seconds and self._unknown:
                self.level = self._bounds.clamp(
                    rule.NEAR_SEED_LEVEL if latency_seconds < rule.NEAR_SECONDS else rule.SEED_LEVEL
                )
            if not in_flight:
                return Decision(level=self.level, reason="nothing is in flight")
            self._started = self._last = now
            self._window = Window(now, work, requests_done)
        if self._round_trip is None and work > self._window_of(now, work, requests_done).work:
            self._round_trip = max(1e-3, now - self._started)
        window = self._window_of(now, work, requests_done)
        window.slot_seconds += in_flight * (now - self._last)
        window.most_in_flight = max(window.most_in_flight, in_flight, most_in_flight or 0)
        self._last = now
        self._bounds.pass_time(now)
        if in_flight and bytes_in_flight:
            self._watch_work(now, rule.REQUEST_WORK_BYTES + bytes_in_flight / in_flight)
        self._finish(now)
        if refused > self._refused:
            self._refused = refused
            self._refuse(now, work, requests_done, in_flight, retry_after_seconds)
        elif self._ready(now, in_flight, window, work, requests_done, bytes_in_flight):
            self._judge(now, window, work, requests_done, waiting=waiting)
        return Decision(
            level=self.level,
            reason=self._reason,
            hold_until=self._hold_until,
            abandon=self._abandon,
            changed=self.level != before,
        )

    def learned(self) -> Learned | None:
        """What the next client may start from; None if no window was measured."""
        if not self._good:
            return None
        level = self._base if self._base in self._good else max(self._good, key=lambda known: self._good[known])
        return Learned(level=level, stream_bytes_per_second=self._good[level] / level, ceiling=self._bounds.ceiling)

    # --- what is left ---

    def _seconds_left(self, goodput: float) -> float:
        unknown = self._work_left == math.inf or goodput <= 0
        return rule.UNKNOWN_SECONDS if unknown else self._work_left / goodput

    def _finish(self, now: float) -> None:
        """Start the last requests together, so that no slot waits for one that began late."""
        last = self._requests_left < rule.FINISH_SHARE * self._base
        if self._phase not in ("base", "probe", "hold") or last == self._finishing:
            return
        if not last:
            self._finishing, self._phase = False, "base"
            self._move(now, self._base, "more work has come")
        elif self._worse_below and self._seconds_left(self._base_goodput) > rule.COLD_TRIPS * (self._round_trip or 0.0):
            self._finishing = True
            self._move(now, math.ceil(self._requests_left), "the last requests start together", settle=False)

    def _watch_work(self, now: float, size: float) -> None:
        """If the requests have another size than before, what was measured says nothing."""
        if not self._request_bytes or self._phase not in ("base", "probe", "hold"):
            self._request_bytes = size
        alike = max(size, self._request_bytes) <= rule.OTHER_SIZE * min(size, self._request_bytes)
        self._other_since = None if alike else self._other_since or now
        if self._other_since is not None and now - self._other_since > rule.OTHER_SECONDS:
            smaller, self._request_bytes = size < self._request_bytes, size
            self._best, self._good, self._low_windows = 0.0, {}, 0
            self._bounds.wall = None
            reason = "search again: the requests have another size"
            if smaller:
                self._phase, self._ramp_goodput, self._flat_windows, self._reason = "ramp", None, 0, reason
            else:
                self._search(now, up=True, step=2.0, reason=reason)

    # --- windows ---

    def _window_of(self, now: float, work: float, requests: float) -> Window:
        if self._window is None:
            self._window = Window(now, work, requests)
        return self._window

    def _length(self) -> float:
        """Seconds that the present window must last."""
        trip = self._round_trip or 0.0
        if self._phase == "ramp":
            left = rule.RAMP_SHARE * self._seconds_left(self._ramp_goodput or 0.0)
            return max(
                rule.RAMP_WINDOW_SECONDS, trip / 2, min(left, rule.RAMP_LONGEST_SECONDS) if self._ramp_goodput else 0.0
            )
        return max(rule.WINDOW_SECONDS, 2 * trip)

    def _ready(
        self, now: float, in_flight: int, window: Window, work: float, requests: float, bytes_in_flight: float
    ) -> bool:
        """Whether the window says something: settled, long enough."""
        if self._round_trip is None:
            return False
        if self._draining and in_flight <= self.level:
            self._draining = False
            self._settled_at = max(self._settled_at, now + max(rule.SETTLE_SECONDS / 2, self._round_trip / 2))
        if self._draining:
            self._watch_drain(now, work, bytes_in_flight)
        if self._draining or now < self._settled_at:
            self._window = Window(now, work, requests)
            return False
        return now - window.start >= self._length() - 1e-9

    def _watch_drain(self, now: float, work: float, bytes_in_flight: float) -> None:
        """Cancel requests beyond the level that would take too long to end."""
        if self._drain is None:
            self._drain = Window(now, work, 0.0)
        seconds = now - self._drain.start
        if seconds < rule.DRAIN_SECONDS:
            return
        goodput = (work - self._drain.work) / seconds
        collapsed = goodput < rule.ENDLESS_SHARE * self._best
        cheap = not self._held and self._is_cheap(self._acked)
        if collapsed or (cheap and bytes_in_flight > rule.LONG_DRAIN_SECONDS * goodput):
            self._abandon = True
        self._drain = None

    def _move(self, now: float, level: int, reason: str, *, settle: bool = True) -> None:
        level = self._bounds.clamp(level)
        self._reason, self._moved_at = reason, now
        if level != self.level and settle:
            self._settled_at = now + max(rule.SETTLE_SECONDS, self._start_seconds(level))
        self._draining, self._drain = level < self.level, None
        cheap = self._fresh and self._is_cheap(self._acked * (1 - level / self.level))
        self._abandon = self._abandon or (self._draining and cheap)
        self.level = level

    def _is_cheap(self, wasted_bytes: float) -> bool:
        return wasted_bytes <= rule.WASTED_SHARE * self._work_left

    def _start_seconds(self, level: int) -> float:
        """How long new connections take to come up to speed: handshakes, and doublings of the window."""
        trip = self._round_trip or 0.0
        if level < self.level:
            return trip
        window = min(self._goodput * trip / level, self._request_bytes)
        rounds = 2 + math.log2(max(1.0, window / rule.FIRST_WINDOW_BYTES))
        return max(trip, rounds * self._trip())

    def _trip(self) -> float:
        """The round trip of a connection that is open."""
        trip = self._round_trip or 0.0
        # Without an earlier request, the first byte took a handshake too: about two round trips more.
        return min(trip, self._latency) or trip / 3

    # --- decisions ---

    def _judge(self, now: float, window: Window, work: float, requests: float, *, waiting: bool) -> None:
        """A window is complete: act on its goodput."""
        seconds = now - window.start
        goodput = (work - window.work) / seconds
        mean_in_flight = window.slot_seconds / seconds
        finished = requests - window.requests
        self._goodput, self._request_rate = goodput, finished / seconds
        self._window = Window(now, work, requests)
        if mean_in_flight < rule.BUSY_SHARE * self.level:
            low = goodput < rule.COLLAPSE_SHARE * self._best * mean_in_flight / self.level
            if (low or self._phase == "collapsed") and self._collapsed(now, goodput):
                return
            if not waiting or now - self._last_refusal < rule.QUIET_SECONDS:
                self._reason = "too few requests in flight to judge the level"
                return
            # If the level was reached, requests are so short that the time between two of them counts.
            if window.most_in_flight < rule.BUSY_SHARE * self.level:
                self._bounds.wall = max(1, window.most_in_flight)
                self._move(now, self._bounds.wall, "another limit keeps requests from starting", settle=False)
                if self._phase in ("base", "probe", "hold"):
                    self._search(now, up=False, step=rule.CAREFUL_STEP, reason=self._reason)
                    return
        if finished > 0 and now - self._last_refusal > rule.QUIET_SECONDS:
            self._service_seconds = min(self._service_seconds, mean_in_flight * seconds / finished)
        if self._collapsed(now, goodput) or self._finishing:
            return
        self._good[self.level] = goodput
        trusted = rule.RAMP_TRUST * goodput if self._phase == "ramp" else goodput
        if trusted > self._best:
            self._best, self._best_level = trusted, self.level
            self._best_request_rate = trusted / goodput * self._request_rate
        if self._phase == "ramp":
            self._ramp(now, goodput)
        elif self._phase == "base":
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
        earlier, self._window_goodput = self._window_goodput, goodput
        if self._seconds_left(goodput) > rule.UNHURRIED_SECONDS and goodput > rule.RAMP_GAIN * earlier:
            self._reason = "ramp: connections are still speeding up"
            return
        rises = self._ramp_goodput is None or goodput >= rule.RAMP_GAIN * self._ramp_goodput
        self._flat_windows = 0 if rises else self._flat_windows + 1
        self._ramp_goodput = max(goodput, self._ramp_goodput or 0.0)
        soon = self._seconds_left(goodput) < rule.RAMP_TRIPS * (self._round_trip or 0.0)
        if rises and (soon or self._requests_left < rule.RAMP_ROUNDS * self.level):
            self._reason = "ramp: the last requests are left to the connections that are open"
            return
        warm = now - (self._started or now) > rule.RAMP_TRIPS * self._trip()
        slow = warm and self.level * self._request_bytes > rule.SLOW_SECONDS * goodput
        if slow:
            self._flat_windows = rule.RAMP_FLAT_WINDOWS
        elif rises and self._bounds.clamp(2 * self.level) > self.level:
            self._ramp_waits_until = now + self._start_seconds(2 * self.level) + 2 * self._length()
            self._move(now, 2 * self.level, "ramp: goodput still rises", settle=False)
            return
        if self._flat_windows < rule.RAMP_FLAT_WINDOWS or now < self._ramp_waits_until:
            self._reason = "ramp: wait for the connections that are new"
            return
        # Levels of the ramp were measured before their connections were up to speed: one that was as good is better.
        enough = (1 - rule.LEAST_PRICE) * goodput
        level = min(level for level, known in self._good.items() if known >= enough)
        measured = self.level
        self._move(now, level, "ramp ended: goodput rises no more")
        self._search(now, up=False, step=rule.FIRST_STEP, reason=self._reason)
        if level == measured and self._seconds_left(goodput) > rule.DOWN_SECONDS:
            self._base, self._base_goodput = level, goodput
            self._probe(now)

    def _search(self, now: float, *, up: bool, step: float, reason: str) -> None:
        self._phase, self._up, self._step = "base", up, step
        self._worse_above = self._worse_below = None
        self._reason = reason

    def _candidate(self, *, up: bool) -> int | None:
        """The next level to probe in a direction; None if there is nothing left to learn there."""
        base = self._base
        if up:
            if self._requests_left < rule.FINISH_SHARE * base:
                return None
            # What a failed probe adds has to end first.
            more = max(1.0, self._drain_seconds_allowed() * self._base_goodput / max(1.0, self._request_bytes))
            level = self._bounds.clamp(max(base + 1, round(min(base * min(2.0, self._step), base + more))))
            if self._worse_above is not None:
                level = min(level, round(math.sqrt(base * self._worse_above)))
        else:
            cancels = self._fresh and self._is_cheap(self._acked * (1 - 1 / self._step))
            drain = 0.0 if cancels else base * self._request_bytes / max(1.0, self._base_goodput)
            seconds = self._length() + min(drain, rule.LONG_DRAIN_SECONDS)
            affordable = rule.PROBE_COST * self._seconds_left(self._base_goodput) / seconds
            step = min(self._step, 1 / (1 - affordable) if affordable < 1 else math.inf)
            level = self._bounds.clamp(min(base - 1, round(base / step)))
            if self._worse_below is not None:
                level = max(level, round(math.sqrt(base * self._worse_below)))
        bounds = (self._worse_above, self._worse_below)
        if level == base or level in bounds or (up and level < base) or (not up and level > base):
            return None
        if max(level, base) / min(level, base) < rule.SMALLEST_STEP and abs(level - base) > 1:
            return None
        return level

    def _lifted(self, goodput: float) -> None:
        """If so many requests bring much more than before, a penalty has ended: look at higher levels again."""
        if self.level <= self._base and goodput > rule.LIFT * self._base_goodput > 0:
            self._worse_above, self._up, self._step = None, True, 2.0

    def _drain_seconds_allowed(self) -> float:
        return max(rule.DRAIN_SECONDS, min(60.0, rule.PROBE_COST * self._seconds_left(self._base_goodput)))

    def _probe(self, now: float) -> None:
        for up in (self._up, not self._up):
            level = self._candidate(up=up)
            if (
                up
                and not self._up
                and self._worse_above
                and self._seconds_left(self._base_goodput) < rule.MORE_DOWN_SECONDS
            ):
                break  # more requests were not better, and there is no time to look closer
            least = rule.UP_SECONDS if up else (rule.MORE_DOWN_SECONDS if self._probed_down else rule.DOWN_SECONDS)
            if level is not None and self._seconds_left(self._base_goodput) > least:
                self._up, self._phase = up, "probe"
                self._probed_down = self._probed_down or not up
                self._move(now, level, f"probe {'up' if up else 'down'} from {self._base}")
                return
        self._phase, self._held, self._hold_began = "hold", True, now
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
        if (
            not self._up
            and gained < rule.CLEAR_ELASTICITY
            and now - self._moved_at > rule.STALE_SECONDS + 2 * self._length()
        ):
            self._base, self._base_goodput = level, goodput
            self._search(now, up=True, step=2.0, reason="the last measurement is too old to compare with")
            self._probe(now)
            return
        accepted = gained > price(level) if self._up else gained < price(base)
        if accepted:
            self._patient_until = self._patient_until or now
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
        if not self._up and now < self._patient_until:
            return
        if self._up:
            self._worse_above = level
        elif self._patient_until or self._seconds_left(goodput) < rule.PATIENT_SECONDS:
            self._worse_below = level
        else:
            self._patient_until = now + rule.FIRST_PATIENCE_SECONDS
            self._reason = "stay lower for a while: a penalty may outlast its cause"
            return
        self._up = not self._up
        self._step = min(self._step, 2.0)
        self._phase = "base"
        self._move(now, base, f"back to {base}: {level} was not better")

    def _hold(self, now: float, goodput: float) -> None:
        if now - self._hold_began >= rule.ENDURED_SECONDS and goodput > rule.RECOVERY * self._collapse_goodput:
            self._endured = max(self._endured, self.level)
        self._strange = (
            self._strange + 1 if abs(goodput - self._base_goodput) > rule.LASTING_CHANGE * self._base_goodput else 0
        )
        if self._strange >= 2:
            self._hold_seconds = rule.FIRST_HOLD_SECONDS
            self._search(now, up=True, step=2.0, reason="search again: the goodput has changed")
        elif now >= self._hold_ends:
            self._bounds.wall = None
            if self._seconds_left(goodput) > rule.RISK_SECONDS:
                self._bounds.rise(now)
            self._search(now, up=True, step=1.4, reason="search again: the hold is over")

    # --- collapse ---

    def _collapsed(self, now: float, goodput: float) -> bool:
        if self._phase == "collapsed":
            return self._after_collapse(now, goodput)
        other_work = self._best_request_rate > 0 and self._request_rate > rule.COLLAPSE_SHARE * self._best_request_rate
        few = goodput < rule.COLLAPSE_SHARE * self._best and not other_work
        if not few or now - self._last_refusal < rule.QUIET_SECONDS:
            self._low_windows = 0
            return False
        self._low_windows += 1
        if self._low_windows == 1:
            self._low_since = now - self._length()
        if self._low_windows < rule.COLLAPSE_WINDOWS or now - self._low_since < rule.COLLAPSE_SECONDS:
            return self._phase != "probe" or self.level > self._base
        self._give_way(now, goodput, self.level)
        return True

    def _give_way(self, now: float, goodput: float, collapsed_at: int) -> None:
        """Goodput has collapsed at this level: go to one that is known to be safe, at least to a quarter, and wait."""
        target = max(self._bounds.least, collapsed_at // 4, self._endured if self._endured < collapsed_at else 1)
        self._phase, self._collapsed_at, self._abandon, self._finishing = "collapsed", collapsed_at, True, False
        self._collapse_goodput, self._safe_level = goodput, target
        self._patience_ends = now + rule.FIRST_PATIENCE_SECONDS
        self._move(now, target, f"collapse: goodput below half of the best at {collapsed_at}")

    def _after_collapse(self, now: float, goodput: float) -> bool:
        """Wait for the goodput that this many requests should have; without it, halve the level."""
        expected = self._best * min(1.0, self.level / max(1, self._best_level))
        recovered = goodput > max(rule.RECOVERY * self._collapse_goodput, rule.BACK_SHARE * expected)
        in_proportion = goodput >= rule.BACK_SHARE * self._best * self.level / self._collapsed_at
        slower = in_proportion and self.level == self._safe_level and now >= self._patience_ends
        again = slower and now - self._slower_at < rule.RISK_SECONDS
        if recovered or slower:
            self._low_windows = 0
            if recovered:
                # Fewer requests bring much more: it was their number, and this one is safe.
                self._endured = self.level
                ceiling = self.level if self.level == self._safe_level else 2 * self.level
                self._bounds.after_collapse(now, ceiling, collapsed_at=self._collapsed_at)
                self._search(now, up=True, step=2.0, reason="recovered from the collapse")
            elif again:
                self._bounds.after_collapse(now, self._collapsed_at // 2, collapsed_at=self._collapsed_at)
                self._search(now, up=True, step=2.0, reason="collapsed again: try fewer requests")
            else:
                self._slower_at = now
                back = max(2.0, self._collapsed_at / self.level)
                self._search(now, up=True, step=back, reason="the link has become slower: search again")
            self._best, self._best_level, self._good = goodput, self.level, {self.level: goodput}
        elif now < self._patience_ends:
            pass
        elif self.level > max(self._bounds.least, self._collapsed_at // 64):
            self._abandon = True
            self._patience_ends = now + rule.PATIENCE_SECONDS
            self._move(now, self.level // 4, "collapse: goodput is not back yet")
        else:
            self._best, self._good, self._low_windows = goodput, {}, 0
            if now - self._slower_at < rule.RISK_SECONDS:
                self._bounds.after_collapse(now, self._collapsed_at // 2, collapsed_at=self._collapsed_at)
            self._slower_at = now
            self._phase, self._ramp_goodput = "ramp", None
            self._reason = "the link has changed: start again"
        return True

    # --- refusals ---

    def _refuse(self, now: float, work: float, requests: float, in_flight: int, retry_after_seconds: float) -> None:
        self._last_refusal = now
        if retry_after_seconds:
            self._hold_until = max(self._hold_until, now + retry_after_seconds)
            self._settled_at = max(self._settled_at, self._hold_until + rule.SETTLE_SECONDS)
        if now < self._dead_until:
            return
        share = rule.BACK_OFF
        if self._phase == "ramp":
            # Nothing shows that the last two doublings were right. What was refused has sent nothing: cancel it.
            share, self._abandon = 0.25, True
        mark = self._refusal_mark
        if mark is not None and now - mark.start < 4 * rule.DEAD_BAND_SECONDS and self._service_seconds < math.inf:
            share = rule.accepted_share(
                accepted=requests - mark.requests,
                refused=self._refused - self._refused_mark,
                seconds=now - mark.start,
                wanted_per_second=self.level / self._service_seconds,
            )
        self._refusal_mark, self._refused_mark = Window(now, work, requests), self._refused
        self._refusal_level = self.level
        self._bounds.after_refusal(now, int(0.95 * self.level))
        self._good, self._best, self._low_windows = {}, 0.0, 0
        self._dead_until = now + max(rule.DEAD_BAND_SECONDS, retry_after_seconds)
        self._phase = "recover"
        self._move(now, int(self.level * share), f"back off: the server refuses requests at {self.level}")
        self._window = Window(now, work, requests)

    def _recover(self, now: float) -> None:
        if now - self._last_refusal < rule.QUIET_SECONDS:
            self._reason = "wait after a refusal"
            return
        target = self._refusal_level or self.level
        if self.level < int(0.95 * target):
            self._move(now, max(self.level + 1, round(self.level * 1.1)), "recover after a refusal", settle=False)
            return
        self._base, self._base_goodput = self.level, self._good[self.level]
        self._phase = "hold"
        self._hold_ends = now + self._hold_seconds
        self._reason = "hold below the level that was refused"
