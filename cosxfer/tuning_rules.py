"""The numbers of the controller in `tuning.py`, its records, and how it compares two levels. Pure.

**Goodput** counts work: bytes, and `REQUEST_WORK_BYTES` more for each request that has finished, so that tiny objects
register. It is measured over windows, which are long against the round trip.

**Time left** is the work that is left, divided by the goodput. If it is short, probes are small or left out, because
one that fails costs goodput. A transfer of a second ends at the level at which it began.

**Elasticity** compares two levels: e = ln(goodput ratio) / ln(level ratio). It is 1 if each request brings its own
goodput, 0 on the plateau. On a link that another client fills too, it is the other's share of the link. A higher level
must have an elasticity above the *price* of a slot, otherwise the lower one wins. The price rises with the level. Two
clients that share a link therefore settle: the one with more slots sees the lower elasticity and pays the higher price.
The price of the first slots is small but not zero: it is the dead band for noise, and gives ties to the lower level.

Source: M. Arifuzzaman and E. Arslan, "Online Optimization of File Transfers in High-Speed Networks" (SC 2021): a price
per stream makes competing tuners settle.
"""

from __future__ import annotations

import math

from cosxfer.records import dataclass

SEED_LEVEL = 64
"""Where a client starts that knows nothing of its endpoint."""
NEAR_SEED_LEVEL = 32
"""The same, if a request without a body takes less than `NEAR_SECONDS`."""
NEAR_SECONDS = 0.01
LOCAL_SEED_LEVEL = 2
"""The same for a large download, if the round trip of TCP takes less than `LOCAL_SECONDS`: the peer is on this machine,
or on the next one. The processor is the limit there. More connections cost it time and bring nothing."""
LOCAL_SECONDS = 0.0001
LOCAL_UPLOAD_SECONDS = 0.0003
"""The same for an upload, which starts with many connections and large parts then."""
LOCAL_RESPONSE_SECONDS = 0.02
"""The same holds only if the first response came so soon. A proxy on this machine (a sidecar) may connect to a server
that is far away."""
LOCAL_STREAM_BYTES_PER_SECOND = 13 * 2**20
"""What one of its requests brings at least. It makes the parts larger than on a link that is not known."""
ALL_AT_ONCE = 1.75
ALL_AT_ONCE_BYTES = 10**6
"""If all requests are not more than so many times the seed, and have so many bytes each, they start together: otherwise
the last ones would wait for the first ones, and double the time."""
MAX_LEVEL = 256
FIRST_WINDOW_BYTES = 14_600
"""What a new connection sends in its first round trip."""
COLD_TRIPS = 20
"""Round trips until a new connection pays: handshake and slow start."""
FINISH_SHARE = 2
"""The last requests start together when so many times the level are left."""
FINISH_SECONDS = 4.0
"""They do so if less time is left, or if a level just below was worse."""
LAST_PROBE_TRIPS = 2 * COLD_TRIPS
"""With more round trips left, it is probed whether all that are left should start together."""
OTHER_SIZE = 3
OTHER_SECONDS = 1.0
"""If the mean size of the requests in flight has changed by this factor for so long, the work is another one."""
UNKNOWN_SECONDS = 100.0
"""What is taken for the time left if it is not known."""
RAMP_SHARE = 0.03
"""A window of the ramp lasts at least this share of the time that is left."""
RAMP_TRUST = 0.6
"""What a window of the ramp counts for in the best goodput: it is short, and new connections send in bursts."""
PROBE_COST = 0.05
"""The share of the time left that a probe may cost if it fails altogether."""
LONGEST_PROBE_SECONDS = 60.0
"""What a probe upwards adds may take so long to end, at most."""
RAMP_ROUNDS = 4
"""With fewer requests left for each slot, the ramp opens no more connections."""
SLOW_SECONDS = 5.0
"""If the requests in flight need longer than this, the ramp goes no further: fewer are tried first."""
WASTED_SHARE = 0.04
"""The share of the work left that cancelled requests may have sent in vain."""
RAMP_TRIPS = 10
"""With fewer round trips left, the ramp opens no more connections."""
CLEAR_ELASTICITY = 0.5
FIRST_STEP = 4.0
"""The first probe after the ramp goes down by this: if few requests are enough, it is found at once."""
UP_SECONDS = 1.5
DOWN_SECONDS = 6.0
MORE_DOWN_SECONDS = 20.0
"""With less time left, a probe up or down costs more than it can bring."""
REQUEST_WORK_BYTES = 64 * 1024
"""What a finished request counts for beside its bytes."""

SOUND_COST = 0.04
"""The share of the time left that a look at a lower level may cost, if all requests are needed."""
FLAT_SOUND_COST = 0.1
"""The same, if goodput has stopped to rise."""
SOUND_TRIPS = 10
FLAT_SOUND_TRIPS = 3
"""So many round trips are lost as well, because connections that were idle start slowly."""
SOUND_WINDOW_SECONDS = 0.2
SOUND_FROM = 16
"""So few requests are not a risk, and there is no look from below this level."""
LEAST_SOUNDED = 4
"""No look goes below this level."""
WARM_BYTES = 256 * 1024
"""A connection is taken to be up to speed when it has sent so much in a round trip, or all that it can."""
STEADY_SHARE = 0.8
UNSTEADY_SECONDS = 2.0
"""Goodput that changes by more between two windows may be that of slow start. It is waited for so long at most."""
ROOM = 1.06
"""So many times the requests that seem to be needed are used."""
RAMP_WINDOW_SECONDS = 0.1
RAMP_LONGEST_SECONDS = 0.2
RAMP_GAIN = 1.1
UNHURRIED_SECONDS = 15.0
"""With more time left, the ramp waits until the goodput of a level is steady before it doubles."""
IN_PROPORTION = 0.9
"""If a step of the ramp brings such a share of what its requests would bring in proportion, fewer are not tried."""
FAR_SECONDS = 0.25
SMALL_BYTES = 1024 * 1024
SHORT_SECONDS = 0.5
FAR_STEP = 4
"""The ramp goes up by this factor if the first response took longer than `FAR_SECONDS`, a request has less than
`SMALL_BYTES`, and all in flight have less than is sent in `SHORT_SECONDS`."""
RAMP_FLAT_WINDOWS = 2
"""Windows without a gain that end the ramp: the first may end before new connections have brought anything."""
WINDOW_SECONDS = 0.6
SETTLE_SECONDS = 0.2
SLOW_START_SHARE = 0.85
SLOW_START_SECONDS = 3.0
"""So long after a change, a level that brings less than this share of what it brought may be in slow start again."""
FIRST_HOLD_SECONDS = 10.0
LONGEST_HOLD_SECONDS = 80.0
STALE_SECONDS = 3.0
"""If requests beyond a lower level took longer than this to end, the link may be another one than before."""
LASTING_CHANGE = 0.25
"""A goodput that differs by this much from the held level's, in two windows, ends the hold."""
SMALLEST_STEP = 1.15
"""Levels closer than this are not told apart."""

LEAST_PRICE = 0.06
PRICE_PER_SLOT = 1 / 800
LARGEST_PRICE = 0.8

BUSY_THREAD_SHARE = 0.8
"""If a thread of the client computes for a larger share of a window, more requests in flight can bring little."""
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
ENDLESS_SHARE = 0.25
"""Requests beyond the level are cancelled if goodput falls below this share of the best while they end."""

COLLAPSE_SHARE = 0.15
SUSPECT_SHARE = 0.4
"""The same for a level that was never endured, after a collapse. Few requests lose less by a penalty."""
BACK_SHARE = 0.5
"""Goodput is back if it is at least this share of what so many requests had before."""
COLLAPSE_WINDOWS = 2
COLLAPSE_SECONDS = 1.0
"""The windows of the ramp are short: a client that has no CPU for a moment looks like a collapse in two of them."""
SAME_SHARE = 0.7
"""After a collapse more requests are tried only if each still brings at least this share of what it had."""
LEAST_COST_SECONDS = 3.0
"""A collapse costs at least so long: it has to be seen, and the penalty has to end."""
LIFT = 1.5
RECOVERY = 1.3
"""Goodput so many times that of the collapse shows that the number of requests was its cause."""
SAFE_LEVEL = 4
"""So many requests are hardly ever punished: a collapsed client waits there if it knows of nothing better."""
FIRST_TRY_SECONDS = 1.5
"""How long a collapsed client waits after it has tried more requests in vain. Each time it is twice as long."""
MEAN_SECONDS = 2.0
"""The requests in flight before a collapse are a mean over about so long: a step upwards is brief."""
PEAK_SECONDS = 7.0
"""A penalty strikes within this time."""
FEW_REQUESTS = 6
"""A collapse of so few is not about their number: another client may have begun."""
ENDURED_SECONDS = 10.0
"""A level that was kept for so long without a collapse is safe, if no collapse shows how soon a penalty strikes."""
LEAST_ENDURED_SECONDS = 2.0
STRIKE_FACTOR = 1.5
"""A level is safe if it was kept for so many times as long as the slowest penalty took to strike; at least for
`LEAST_ENDURED_SECONDS`, and at most for `ENDURED_SECONDS`."""
AGAIN_SECONDS = 120.0
"""A second collapse within this time is blamed on the number of requests."""
RISK_FACTOR = 3.0
LEAST_RISK_SECONDS = 8.0
RISK_SECONDS = 30.0
"""With less time left, the ceiling does not rise. After a collapse it is `RISK_FACTOR` times what that has cost."""
CEILING_SECONDS = 600.0
CEILING_REST_SECONDS = 8.0
"""How long a first ceiling stays where it is; after that it rises at the end of each hold."""
CAREFUL_STEP = 1.4
"""The largest step upwards below a ceiling."""
PATIENCE_SECONDS = 10.0
"""How long a collapsed client waits for its goodput: a penalty may outlast its cause."""
FIRST_PATIENCE_SECONDS = 6.0
"""How long a first probe down waits for more goodput, for the same reason."""
PATIENT_SECONDS = 300.0
"""With more time left, the first probe down lasts `FIRST_PATIENCE_SECONDS`: the client may have been penalised from the
start."""

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
    requests_per_second: float = math.inf
    """So many requests may start in a second. Infinite: the server has refused none."""
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


def seed_level(latency_seconds: float, round_trip_seconds: float) -> int:
    """Where a client starts that knows only how far the server is. 0: it does not know that either."""
    if 0 < round_trip_seconds < LOCAL_SECONDS:
        return LOCAL_SEED_LEVEL
    return NEAR_SEED_LEVEL if 0 < latency_seconds < NEAR_SECONDS else SEED_LEVEL


def all_at_once(level: int, requests_left: float, bytes_left: float) -> int:
    """The first level for a client that has so much to send: the seed, or all requests if they are hardly more."""
    large = bytes_left >= ALL_AT_ONCE_BYTES * requests_left
    hardly_more = level == SEED_LEVEL < requests_left <= ALL_AT_ONCE * level
    return math.ceil(requests_left) if hardly_more and large else level


def price(level: int) -> float:
    """The elasticity of goodput that the slots up to ``level`` must bring."""
    return min(LARGEST_PRICE, max(LEAST_PRICE, level * PRICE_PER_SLOT))


def seconds_left(work_left: float, goodput: float) -> float:
    """How long the work that is left takes."""
    return UNKNOWN_SECONDS if work_left == math.inf or goodput <= 0 else work_left / goodput


def elasticity(goodput: float, level: float, base_goodput: float, base_level: float) -> float:
    """How goodput follows the level between two of them: 1 is in proportion, 0 not at all."""
    if goodput <= 0 or base_goodput <= 0:
        return 0.0 if goodput <= base_goodput else math.inf
    return math.log(goodput / base_goodput) / math.log(level / base_level)


def accepted_share(*, accepted: float, refused: float, seconds: float, wanted_per_second: float) -> float:
    """The share of the level to keep if refusals go on after a back-off.

    Little's law: what the server accepts in a second keeps so much of the level busy that could send
    ``wanted_per_second`` requests.
    """
    share = 0.95 * accepted / max(1e-9, seconds) / wanted_per_second
    return min(0.93 if refused < FEW_REFUSALS * accepted else BACK_OFF, max(SMALLEST_BACK_OFF, share))


class Window:
    """Counters since a moment, the mean and the most of the requests in flight, CPU time of the busiest thread."""

    def __init__(self, now: float, work: float, requests: float) -> None:
        self.start = now
        self.work = work
        self.requests = requests
        self.slot_seconds = 0.0
        self.most_in_flight = 0
        self.busy_seconds = 0.0

    def add(self, seconds: float, *, in_flight: int, most: int, busy_seconds: float) -> None:
        """So much time has passed with ``in_flight`` requests, and with ``most`` at a moment."""
        self.slot_seconds += in_flight * seconds
        self.most_in_flight = max(self.most_in_flight, most)
        self.busy_seconds += busy_seconds
