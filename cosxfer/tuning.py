"""How many requests a client keeps in flight. Pure: counters and the time in, a level and its reason out.

The controller looks for the smallest number of requests in flight (the level) that gives the best goodput. It sees
nothing but counters: bytes acknowledged, requests finished, requests in flight, refusals.

**Goodput** counts work: bytes, and `REQUEST_WORK_BYTES` more for each request that has finished, so that tiny objects
register. It is measured over windows. A window is long against the round trip, which is estimated by the time from the
first request to the first acknowledged byte. After each change of the level a window is thrown away (*settling*): new
connections start slowly, and requests beyond a lower level have to end first.

**Elasticity** compares two levels: e = ln(goodput ratio) / ln(level ratio). It is 1 if each request brings its own
goodput, 0 on the plateau. On a link that another client fills too, it is the other's share of the link. A higher level
must have an elasticity above the *price* of a slot, otherwise the lower one wins. The price rises with the level. Two
clients that share a link therefore settle: the one with more slots sees the lower elasticity and pays the higher price.
The price of the first slots is small but not zero: it is the dead band for noise, and gives ties to the lower level.

1. **Ramp.** Start from the seed. Double after each short window (half of the time to the first byte, at least 0.1 s),
   without settling, as long as goodput rises by a tenth; two windows without a rise end the ramp. Goodput rises by
   itself while connections are in slow start. The ramp may therefore overshoot. The search corrects that.
2. **Search.** Measure the level, then probe. A probe up that pays its price is kept, and so is a probe down that loses
   less than the price. Successful probes continue in their direction in larger steps. A failed probe returns, measures
   again, and the next one takes the other direction. A level that was measured worse bounds the steps. When there is
   nothing left to probe, the level is *held*, longer each time. A lasting change of the goodput ends the hold at once.
3. **Collapse guard.** Some networks punish too many connections silently. If goodput stays below half of the best for
   two windows, the level falls to the highest one that was good, else to a quarter. It waits there, because a penalty
   may outlast its cause, and is halved until goodput is what so many requests should have. If that is much more than
   during the collapse, three quarters of the level that collapsed become a ceiling for ten minutes, which rises
   slowly after a while. Otherwise the link
   itself has become slower: no ceiling, search again.
4. **Back-off.** A refusal (503, SlowDown) or a time-out reduces the level at once by 0.7, but only once a dead band. If
   refusals go on after it, Little's law says how many slots the accepted requests keep busy. `Retry-After` becomes
   `Decision.hold_until`: no request starts before. The refused level becomes a ceiling, and later rises in small steps.
5. **No evidence.** If the client had fewer requests in flight than the level because it had no more, the window says
   nothing and changes nothing. If more wait (a byte budget, a limit of a transfer), what was in flight is the level.
6. **Cancelling.** Requests beyond a lower level usually end by themselves. `Decision.abandon` asks to cancel and
   resend them if they would take too long: after a collapse, or if they have sent next to nothing (a slow line).

Sources: M. Arifuzzaman and E. Arslan, "Online Optimization of File Transfers in High-Speed Networks" (SC 2021): a price
per stream makes competing tuners settle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SEED_LEVEL = 32
"""Where a client starts that knows nothing of its endpoint."""
MAX_LEVEL = 256
REQUEST_WORK_BYTES = 64 * 1024
"""What a finished request counts for beside its bytes."""

RAMP_WINDOW_SECONDS = 0.1
RAMP_GAIN = 1.1
RAMP_FLAT_WINDOWS = 2
"""Windows without a gain that end the ramp: the first may end before new connections have brought anything."""
WINDOW_SECONDS = 0.6
SETTLE_SECONDS = 0.2
FIRST_HOLD_SECONDS = 10.0
LONGEST_HOLD_SECONDS = 80.0
LASTING_CHANGE = 0.25
"""A goodput that differs by this much from the held level's, in two windows, ends the hold."""
SMALLEST_STEP = 1.15
"""Levels closer than this are not told apart."""

LEAST_PRICE = 0.06
PRICE_PER_SLOT = 1 / 800
LARGEST_PRICE = 0.8

BUSY_SHARE = 0.85
"""A window counts only if at least this share of the level was in flight."""

FRESH = 3
"""Requests beyond a lower level are cancelled if those in flight have this many times the bytes that were ever sent:
little is lost, and a slow line would need long to end them."""
SHORT_DRAIN_SECONDS = 3.0
"""Requests that end within this time are never cancelled for that reason."""

DRAIN_SECONDS = 1.0
LONG_DRAIN_SECONDS = 15.0
"""Until the first hold, requests beyond the level are cancelled if they need longer than this."""
ENDLESS_SHARE = 0.1
"""Requests beyond the level are cancelled if goodput falls below this share of the best while they end."""

COLLAPSE_SHARE = 0.5
COLLAPSE_WINDOWS = 2
COLLAPSE_SECONDS = 1.0
"""The windows of the ramp are short: a client that has no CPU for a moment looks like a collapse in two of them."""
CEILING_SECONDS = 600.0
CEILING_REST_SECONDS = 30.0
"""How long a first ceiling stays where it is; after that it rises at the end of each hold."""
CEILING_SHARE = 0.75
"""The ceiling after a collapse, of the level that collapsed."""
CAREFUL_STEP = 1.4
"""The largest step upwards below a ceiling."""
FIRST_PATIENCE_SECONDS = 4.0
PATIENCE_SECONDS = 2.0
"""How long a collapsed client waits at a level for its goodput: a penalty may outlast its cause."""

BACK_OFF = 0.7
SMALLEST_BACK_OFF = 0.25
DEAD_BAND_SECONDS = 0.5
FEW_REFUSALS = 0.02
"""A smaller share of refusals means that the level is hardly above what the server allows."""
REFUSAL_MEMORY_SECONDS = 30.0
"""The level that was refused is a ceiling for so long; then it rises slowly."""
QUIET_SECONDS = 3.0
"""Without a refusal for so long, the level rises again after a back-off."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do until the next observation."""

    level: int
    """How many requests may be in flight."""
    reason: str
    """Why, in words, for the trace."""
    hold_until: float = 0.0
    """No request starts before this time (Retry-After)."""
    abandon: bool = False
    """Cancel the youngest requests beyond the level and send them again: they would take too long to end."""
    changed: bool = False
    """Whether the level differs from the last decision's."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a client knows of an endpoint: the next one starts from it."""

    level: int
    stream_bytes_per_second: float
    """Goodput of one request in flight, for the part size."""
    ceiling: int | None = None
    """The level must stay at or below it, because more collapsed."""


def price(level: int) -> float:
    """The elasticity of goodput that the slots up to ``level`` must bring."""
    return min(LARGEST_PRICE, max(LEAST_PRICE, level * PRICE_PER_SLOT))


def elasticity(goodput: float, level: float, base_goodput: float, base_level: float) -> float:
    """How goodput follows the level between two of them: 1 is in proportion, 0 not at all."""
    if goodput <= 0 or base_goodput <= 0:
        return 0.0 if goodput <= base_goodput else math.inf
    return math.log(goodput / base_goodput) / math.log(level / base_level)


class _Window:
    """Counters since a moment, and the mean of the requests in flight."""

    def __init__(self, now: float, work: float, requests: float) -> None:
        self.start = now
        self.work = work
        self.requests = requests
        self.slot_seconds = 0.0


class Tuner:
    """Decides the level of one client. Call `observe` about every 100 ms, and after each refusal.

    ``most`` and ``least`` are walls (``concurrency=4`` is both). ``learned`` is an earlier run's `learned`.
    """

    def __init__(self, *, least: int = 1, most: int = MAX_LEVEL, learned: Learned | None = None) -> None:
        self._least = max(1, least)
        self._most = max(self._least, most)
        self._ceiling: int | None = None
        self._ceiling_rises_at = 0.0
        self._ceiling_rest_seconds = CEILING_REST_SECONDS
        self._wall: int | None = None
        self._refusal_ceiling: int | None = None
        self._ceiling_until = 0.0
        if learned is not None and learned.ceiling is not None:
            self._ceiling, self._ceiling_until = learned.ceiling, CEILING_SECONDS
        self.level = self._clamp(SEED_LEVEL if learned is None else learned.level)
        self._phase = "ramp"
        self._reason = "start from the default" if learned is None else "start from what was learned"
        # Time and windows.
        self._started: float | None = None
        self._round_trip: float | None = None
        self._last = 0.0
        self._window: _Window | None = None
        self._settled_at = 0.0
        self._draining = False
        self._drain: _Window | None = None
        # Ramp and search.
        self._ramp_goodput: float | None = None
        self._flat_windows = 0
        self._base = self.level
        self._base_goodput = 0.0
        self._up = False
        self._worse_above: int | None = None
        self._worse_below: int | None = None
        self._step = 2.0
        self._hold_seconds = FIRST_HOLD_SECONDS
        self._hold_ends = 0.0
        self._held = False
        self._strange = 0
        # Collapse.
        self._good: dict[int, float] = {}
        self._best = 0.0
        self._low_windows = 0
        self._low_since = 0.0
        self._best_level = 1
        self._collapsed_at = 0
        self._collapse_goodput = 0.0
        self._patience_ends = 0.0
        self._abandon = False
        self._fresh = False
        self._goodput = 0.0
        # Refusals.
        self._refused = 0.0
        self._refused_mark = 0.0
        self._dead_until = 0.0
        self._hold_until = 0.0
        self._last_refusal = -math.inf
        self._refusal_mark: _Window | None = None
        self._service_seconds = math.inf
        self._refusal_level: int | None = None
        self._refusal_memory_seconds = REFUSAL_MEMORY_SECONDS

    # --- what the caller uses ---

    def observe(
        self,
        now: float,
        *,
        bytes_acked: float,
        requests_done: float,
        in_flight: int,
        bytes_in_flight: float = 0,
        waiting: bool = False,
        refused: float = 0,
        retry_after_seconds: float = 0.0,
    ) -> Decision:
        """Take the counters at time ``now`` and return the level to use from now on.

        ``bytes_acked``, ``requests_done`` and ``refused`` (throttled or timed out) count from the client's start.
        ``bytes_in_flight`` is the size of the requests in flight; ``waiting`` says whether more would start if they
        could. ``retry_after_seconds`` is the server's wish in the last refusal, else 0.
        """
        before = self.level
        self._abandon = False
        self._fresh = bytes_in_flight >= max(FRESH * bytes_acked, SHORT_DRAIN_SECONDS * self._goodput)
        work = bytes_acked + REQUEST_WORK_BYTES * requests_done
        if self._started is None:
            if not in_flight:
                return Decision(level=self.level, reason="nothing is in flight")
            self._started = self._last = now
            self._window = _Window(now, work, requests_done)
        if self._round_trip is None and work > self._window_of(now, work, requests_done).work:
            self._round_trip = max(1e-3, now - self._started)
        window = self._window_of(now, work, requests_done)
        window.slot_seconds += in_flight * (now - self._last)
        self._last = now
        if self._ceiling is not None and now >= self._ceiling_until:
            self._ceiling = None
        if self._refusal_ceiling is not None and now >= self._last_refusal + self._refusal_memory_seconds:
            # Up by a twentieth at a time: a level that the server refuses shows in few refusals.
            self._refusal_ceiling += max(1, self._refusal_ceiling // 20)
            self._refusal_memory_seconds += FIRST_HOLD_SECONDS
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
        return Learned(level=level, stream_bytes_per_second=self._good[level] / level, ceiling=self._ceiling)

    # --- windows ---

    def _window_of(self, now: float, work: float, requests: float) -> _Window:
        if self._window is None:
            self._window = _Window(now, work, requests)
        return self._window

    def _length(self) -> float:
        """Seconds that the present window must last."""
        trip = self._round_trip or 0.0
        if self._phase == "ramp":
            return max(RAMP_WINDOW_SECONDS, trip / 2)
        return max(WINDOW_SECONDS, 2 * trip)

    def _ready(
        self, now: float, in_flight: int, window: _Window, work: float, requests: float, bytes_in_flight: float
    ) -> bool:
        """Whether the window says something: settled, long enough."""
        if self._round_trip is None:
            return False
        if self._draining and in_flight <= self.level:
            self._draining = False
            self._settled_at = max(self._settled_at, now + max(SETTLE_SECONDS / 2, self._round_trip / 2))
        if self._draining:
            self._watch_drain(now, work, bytes_in_flight)
        if self._draining or now < self._settled_at:
            self._window = _Window(now, work, requests)
            return False
        return now - window.start >= self._length() - 1e-9

    def _watch_drain(self, now: float, work: float, bytes_in_flight: float) -> None:
        """Cancel requests beyond the level that would take too long to end."""
        if self._drain is None:
            self._drain = _Window(now, work, 0.0)
        seconds = now - self._drain.start
        if seconds < DRAIN_SECONDS:
            return
        goodput = (work - self._drain.work) / seconds
        collapsed = goodput < ENDLESS_SHARE * self._best
        if collapsed or (not self._held and bytes_in_flight > LONG_DRAIN_SECONDS * goodput):
            self._abandon, self._drain = True, None

    def _move(self, now: float, level: int, reason: str, *, settle: bool = True) -> None:
        level = self._clamp(level)
        self._reason = reason
        if level != self.level and settle:
            self._settled_at = now + max(SETTLE_SECONDS, self._round_trip or 0.0)
        self._draining, self._drain = level < self.level, None
        self._abandon = self._abandon or (self._draining and self._fresh)
        self.level = level

    def _clamp(self, level: int) -> int:
        most = min(
            self._most,
            *(limit for limit in (self._ceiling, self._wall, self._refusal_ceiling) if limit is not None),
            self._most,
        )
        return max(self._least, min(level, most))

    # --- decisions ---

    def _judge(self, now: float, window: _Window, work: float, requests: float, *, waiting: bool) -> None:
        """A window is complete: act on its goodput."""
        seconds = now - window.start
        goodput = (work - window.work) / seconds
        mean_in_flight = window.slot_seconds / seconds
        finished = requests - window.requests
        self._goodput = goodput
        self._window = _Window(now, work, requests)
        if mean_in_flight < BUSY_SHARE * self.level:
            if not waiting or now - self._last_refusal < QUIET_SECONDS:
                self._reason = "too few requests in flight to judge the level"
                return
            self._wall = max(1, round(mean_in_flight))
            self._move(now, self._wall, "another limit keeps requests from starting", settle=False)
            if self._phase in ("base", "probe", "hold"):
                self._search(now, up=False, step=CAREFUL_STEP, reason=self._reason)
                return
        if finished > 0 and now - self._last_refusal > QUIET_SECONDS:
            self._service_seconds = min(self._service_seconds, mean_in_flight * seconds / finished)
        if self._collapsed(now, goodput):
            return
        self._good[self.level] = goodput
        if goodput > self._best:
            self._best, self._best_level = goodput, self.level
        if self._phase == "ramp":
            self._ramp(now, goodput)
        elif self._phase == "base":
            self._base, self._base_goodput = self.level, goodput
            self._probe(now)
        elif self._phase == "probe":
            self._compare(now, goodput)
        elif self._phase == "recover":
            self._recover(now)
        else:
            self._hold(now, goodput)

    def _ramp(self, now: float, goodput: float) -> None:
        rises = self._ramp_goodput is None or goodput >= RAMP_GAIN * self._ramp_goodput
        self._flat_windows = 0 if rises else self._flat_windows + 1
        self._ramp_goodput = max(goodput, self._ramp_goodput or 0.0)
        if rises and self._clamp(2 * self.level) > self.level:
            self._move(now, 2 * self.level, "ramp: goodput still rises", settle=False)
            return
        if self._flat_windows < RAMP_FLAT_WINDOWS:
            self._reason = "ramp: wait for the connections that are new"
            return
        # Levels of the ramp were measured before their connections were up to speed: one that was as good is better.
        enough = (1 - LEAST_PRICE) * goodput
        level = min(level for level, known in self._good.items() if known >= enough)
        self._move(now, level, "ramp ended: goodput rises no more")
        self._search(now, up=level < self.level, step=1.4, reason=self._reason)

    def _search(self, now: float, *, up: bool, step: float, reason: str) -> None:
        self._phase, self._up, self._step = "base", up, step
        self._worse_above = self._worse_below = None
        self._reason = reason

    def _candidate(self, *, up: bool) -> int | None:
        """The next level to probe in a direction; None if there is nothing left to learn there."""
        base = self._base
        if up:
            level = self._clamp(max(base + 1, round(base * self._step)))
            if self._worse_above is not None:
                level = min(level, round(math.sqrt(base * self._worse_above)))
        else:
            level = self._clamp(min(base - 1, round(base / self._step)))
            if self._worse_below is not None:
                level = max(level, round(math.sqrt(base * self._worse_below)))
        bounds = (self._worse_above, self._worse_below)
        if level == base or level in bounds or (up and level < base) or (not up and level > base):
            return None
        if max(level, base) / min(level, base) < SMALLEST_STEP and abs(level - base) > 1:
            return None
        return level

    def _probe(self, now: float) -> None:
        for up in (self._up, not self._up):
            level = self._candidate(up=up)
            if level is not None:
                self._up, self._phase = up, "probe"
                self._move(now, level, f"probe {'up' if up else 'down'} from {self._base}")
                return
        self._phase, self._held = "hold", True
        self._hold_ends = now + self._hold_seconds
        self._hold_seconds = min(LONGEST_HOLD_SECONDS, 2 * self._hold_seconds)
        self._strange = 0
        self._reason = "hold: neither more nor fewer requests are better"

    def _compare(self, now: float, goodput: float) -> None:
        level, base = self.level, self._base
        gained = elasticity(goodput, level, self._base_goodput, base)
        accepted = gained > price(level) if self._up else gained < price(base)
        if accepted:
            if self._up:
                self._worse_below = base
            else:
                self._worse_above = base
            self._base, self._base_goodput = level, goodput
            careful = self._up and self._ceiling is not None
            self._step = min(CAREFUL_STEP if careful else 2.0, self._step * 1.5)
            self._hold_seconds = FIRST_HOLD_SECONDS
            self._probe(now)
            return
        if self._up:
            self._worse_above = level
        else:
            self._worse_below = level
        self._up = not self._up
        self._phase = "base"
        self._move(now, base, f"back to {base}: {level} was not better")

    def _hold(self, now: float, goodput: float) -> None:
        self._strange = (
            self._strange + 1 if abs(goodput - self._base_goodput) > LASTING_CHANGE * self._base_goodput else 0
        )
        if self._strange >= 2:
            self._hold_seconds = FIRST_HOLD_SECONDS
            self._search(now, up=True, step=2.0, reason="search again: the goodput has changed")
        elif now >= self._hold_ends:
            self._wall = None
            if self._ceiling is not None and now >= self._ceiling_rises_at:
                # It may be wrong: another client's start looks like a penalty. Each collapse doubles the time to here.
                self._ceiling = math.ceil(1.25 * self._ceiling)
            self._search(now, up=True, step=1.4, reason="search again: the hold is over")

    # --- collapse ---

    def _collapsed(self, now: float, goodput: float) -> bool:
        if self._phase == "collapsed":
            return self._after_collapse(now, goodput)
        if goodput >= COLLAPSE_SHARE * self._best or now - self._last_refusal < QUIET_SECONDS:
            self._low_windows = 0
            return False
        self._low_windows += 1
        if self._low_windows == 1:
            self._low_since = now - self._length()
        if self._low_windows < COLLAPSE_WINDOWS or now - self._low_since < COLLAPSE_SECONDS:
            return self._phase != "probe" or self.level > self._base
        good = [level for level, known in self._good.items() if level < self.level and known >= 0.7 * self._best]
        target = max(good, default=self.level // 4)
        self._phase, self._collapsed_at, self._abandon = "collapsed", self.level, True
        self._collapse_goodput = goodput
        self._patience_ends = now + FIRST_PATIENCE_SECONDS
        self._move(now, target, f"collapse: goodput below half of the best at {self.level}")
        return True

    def _after_collapse(self, now: float, goodput: float) -> bool:
        """Wait for the goodput that this many requests should have; without it, halve the level."""
        expected = self._best * min(1.0, self.level / max(1, self._best_level))
        if goodput >= COLLAPSE_SHARE * expected:
            self._low_windows = 0
            reason = "the link has become slower: search again"
            if goodput > 2 * self._collapse_goodput:
                # Fewer requests bring much more: it was their number.
                self._ceiling = max(self.level, round(CEILING_SHARE * self._collapsed_at))
                self._ceiling_until = now + CEILING_SECONDS
                self._ceiling_rises_at = now + self._ceiling_rest_seconds
                self._ceiling_rest_seconds *= 2
                reason = "recovered from the collapse"
            self._best, self._best_level, self._good = goodput, self.level, {self.level: goodput}
            self._search(now, up=True, step=CAREFUL_STEP, reason=reason)
        elif now < self._patience_ends:
            pass
        elif self.level > max(self._least, self._collapsed_at // 16):
            self._abandon = True
            self._patience_ends = now + PATIENCE_SECONDS
            self._move(now, self.level // 2, "collapse: goodput is not back yet")
        else:
            self._best, self._good, self._low_windows = goodput, {}, 0
            self._phase, self._ramp_goodput = "ramp", None
            self._reason = "the link has changed: start again"
        return True

    # --- refusals ---

    def _refuse(self, now: float, work: float, requests: float, in_flight: int, retry_after_seconds: float) -> None:
        self._last_refusal = now
        if retry_after_seconds:
            self._hold_until = max(self._hold_until, now + retry_after_seconds)
            self._settled_at = max(self._settled_at, self._hold_until + SETTLE_SECONDS)
        if now < self._dead_until:
            return
        share = BACK_OFF
        if self._phase == "ramp":
            # Nothing shows that the last two doublings were right. What was refused has sent nothing: cancel it.
            share, self._abandon = 0.25, True
        mark = self._refusal_mark
        if mark is not None and now - mark.start < 4 * DEAD_BAND_SECONDS and self._service_seconds < math.inf:
            # Little's law: the requests that the server accepts keep so many slots busy.
            accepted = (requests - mark.requests) / max(1e-9, now - mark.start)
            few = self._refused - self._refused_mark < FEW_REFUSALS * (requests - mark.requests)
            share = 0.95 * accepted * self._service_seconds / self.level
            share = min(0.93 if few else BACK_OFF, max(SMALLEST_BACK_OFF, share))
        self._refusal_mark, self._refused_mark = _Window(now, work, requests), self._refused
        self._refusal_level = self.level
        self._refusal_ceiling = max(self._least, int(0.95 * self.level))
        self._refusal_memory_seconds = REFUSAL_MEMORY_SECONDS
        self._good, self._best, self._low_windows = {}, 0.0, 0
        self._dead_until = now + max(DEAD_BAND_SECONDS, retry_after_seconds)
        self._phase = "recover"
        self._move(now, int(self.level * share), f"back off: the server refuses requests at {self.level}")
        self._window = _Window(now, work, requests)

    def _recover(self, now: float) -> None:
        if now - self._last_refusal < QUIET_SECONDS:
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
