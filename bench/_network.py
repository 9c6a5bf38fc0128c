"""A network link, its server and the clients on it, in virtual time: the model behind `simulate.py`.

The model is a fluid. A client sends requests (parts, or bundles of small files) over slots. A request in flight is a
flow with a rate; rates change only at events, and between two events all flows of a class (same client, same size)
advance alike, so one number per class, the work that each of its flows has done, stands for all of them. An event
costs microseconds, however many flows there are. Nothing reads a clock and all randomness comes from the link's seed:
two runs give the same result to the last bit.

What a flow gets:

- its own limit: the least of the cap per connection, the rate that loss allows (Mathis: 1.22 MSS / (RTT sqrt(loss)))
  and the capacity. The round trip and the server's time of each request lower it: bytes / (latency + bytes / limit).
- its share of the client's ceilings (CPU or disk: bytes/s; CPU: requests/s), and of the capacity, max-min fair. Flows
  that together just fill the line fall into step, so that the line pauses while they wait for responses.
- a start: a new connection costs 2 round trips (TCP and TLS), and slow start from 10 segments. The window that it
  reaches is kept for its next request, unless it was idle for longer than its time-out.

What the link does: the queue fills if flows ask for more than the capacity, and its delay adds to the round trip; with
less than two segments per flow in pipe and queue, retransmissions waste capacity. Requests beyond the request rate
(a token bucket of one second) are answered with 503, and their slots wait before they try again. Burst credits raise
the capacity until they are used up. Stragglers keep their slot for seconds. Capacity and caps may change at given
times, and the capacity may fluctuate. Rivals: fixed flows that never end, or a second client.

A silent penalty: a client that had more than `penalty_beyond` connections for `penalty_onset_seconds` falls to a
fraction of the capacity, without an error, until `penalty_seconds` after it has fewer. The onset is an assumption:
users of object stores report that goodput *falls*, from 2.3 GB/s to 1 MB/s. Something that counts over seconds, such
as a policer or a table of flows, does that; a limit at the first connection would not let 2.3 GB/s through at all.
Time below the number makes up for time above it, so a short dip does not start the onset afresh.

A file of several parts needs two more requests, which both take a round trip and the server's time: Initiate before the
first part, and Complete after the last one. The last parts are not faster than their round trips: while more parts
wait, the time that a part waits for its response is used by others, but at the end nothing else is sent.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from _simulated_client import INFINITE, Fixed, FlowClass, SimulatedClient

MSS = 1460
INITIAL_WINDOW_BYTES = 10 * MSS
HANDSHAKE_ROUND_TRIPS = 2
RETRY_SECONDS = 0.5
"""Mean delay before a refused request is sent again: full jitter below one second."""
STEP_SHARE, STEP_WIDTH = 0.6, 0.6
"""The share of the latency that flows in step lose if they just fill the line, and how far from that they still lose
some of it (in logarithms of what they ask for ÷ the capacity). Fitted to the link of `link.py`."""
TICK_SECONDS = 0.05
"""How often the controller looks, and the link's state moves."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """From ``at_seconds`` on, capacity and cap per connection are these multiples of the link's own."""

    at_seconds: float
    capacity: float = 1.0
    connection: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Link:
    """A way from a client to a server. Rates are in bytes per second."""

    name: str
    capacity: float
    rtt_seconds: float
    loss: float = 0.0
    connection_rate: float = INFINITE
    queue_seconds: float = 0.05
    server_seconds: float = 0.02
    requests_per_second: float = INFINITE
    retry_after_seconds: float = 0.0
    penalty_beyond: int = 0
    """Connections of one client above which it is penalised; 0: never."""
    penalty_onset_seconds: float = 0.0
    penalty_factor: float = 0.02
    penalty_seconds: float = 3.0
    credit_bytes: float = 0.0
    credit_factor: float = 1.0
    """While credits last, the capacity is multiplied by this. Unused capacity refills them."""
    stragglers: float = 0.0
    straggler_seconds: float = 5.0
    client_rate: float = INFINITE
    client_requests: float = 5_000.0
    connect_seconds: float = 0.001
    """CPU of the client for one TLS handshake; it has one core for them."""
    noise: float = 0.0
    changes: tuple[Change, ...] = ()
    rival_flows: int = 0
    clone: bool = False
    seed: int = 1

    @property
    def flow_limit(self) -> float:
        """What one connection can carry on the idle link."""
        mathis = INFINITE
        if self.loss:
            mathis = 1.22 * MSS / (self.rtt_seconds * math.sqrt(self.loss))
        return min(self.connection_rate, mathis, self.capacity)


class Simulation:
    """Clients on a link. `run` ends when the first client has sent everything."""

    def __init__(self, link: Link, clients: Sequence[SimulatedClient], *, starts: Sequence[float] = ()) -> None:
        self.link = link
        self.clients = list(clients)
        self.now = 0.0
        self.credits = link.credit_bytes
        self.bursting = link.credit_bytes > 0
        self.changed = Change(at_seconds=0.0)
        self.fluctuation = 1.0
        self.queue_delay = 0.0
        self.carried = 0.0
        """Bytes that the bottleneck has moved for the clients."""
        self.capacity_seconds = 0.0
        """Integral of the capacity: what it could have moved."""
        self._random = random.Random(link.seed)
        self._events: list[tuple[float, int, int, int, Any]] = []
        """(time, order, what, client, payload); what: 0 flow starts, 1 slot is free, 2 client starts, 3 its Initiate
        has ended, 4 bytes were acknowledged in slow start"""
        self._order = 0
        self._started = [False] * len(self.clients)
        self._last_noise = 0.0
        # Transfers that last for hours are looked at less often: it would take as long, and change nothing.
        ideal = self.clients[0].total_bytes / link.capacity
        fixed = all(isinstance(client.policy, Fixed) for client in self.clients)
        self._tick_seconds = max(4 * TICK_SECONDS, ideal / 2_000) if fixed else max(TICK_SECONDS, ideal / 10_000)
        if not fixed:
            # A controller needs bundles that are short against its windows.
            latency = link.rtt_seconds + link.server_seconds
            for client in self.clients:
                client.bundle = min(client.bundle, max(1, int(0.3 / latency)))
        self._noise_seconds = max(0.5, ideal / 2_000)
        self._flowing: list[int] | None = None
        self._moving = bool(link.noise or link.changes or link.credit_bytes) or link.requests_per_second < INFINITE
        self._dynamic = self._moving or link.penalty_beyond > 0
        for index, client in enumerate(self.clients):
            client.accepted_tokens = link.requests_per_second
            self._mark_stragglers(client)
            self._push(starts[index] if starts else 0.0, 2, index, 0)

    def run(self, *, limit_seconds: float = INFINITE) -> SimulatedClient | None:
        """Advance until the first client has finished, and return it; None if that is after ``limit_seconds``."""
        main = self.clients[0]
        next_tick = self._tick_seconds
        ticks = self._needs_ticks()
        self._set_rates()
        while main.finished_at is None:
            at, which = self._next_end()
            event = bool(self._events) and self._events[0][0] <= at
            if event:
                at = self._events[0][0]
            if ticks and next_tick < at:
                self._advance(next_tick)
                self._tick()
                next_tick += self._tick_seconds
                self._set_rates()
                continue
            if at > limit_seconds:
                return None
            self._advance(at)
            if event:
                self._event()
            elif which is not None:
                self._end(*which)
            self._set_rates()
        return main

    # --- what happens ---

    def _push(self, at: float, what: int, client: int, payload: Any) -> None:
        self._order += 1
        heapq.heappush(self._events, (at, self._order, what, client, payload))

    def _needs_ticks(self) -> bool:
        return self._moving or any(not isinstance(client.policy, Fixed) for client in self.clients)

    def _event(self) -> None:
        _, _, what, index, payload = heapq.heappop(self._events)
        client = self.clients[index]
        if what == 0:
            self._start_flow(client, *payload)
        elif what == 1:
            self._free_slot(index, *payload)
        elif what == 4:
            client.bytes_acked += payload
            self.carried += payload
        elif what == 2 and client.multipart:
            first = HANDSHAKE_ROUND_TRIPS * (self.link.rtt_seconds + self.queue_delay) + self.link.connect_seconds
            self._push(self.now + first + self._latency(), 3, index, 0)
        else:
            if client.multipart:
                client.idle.append((-INFINITE, 0.0))  # open, but it starts slowly
                client.latency_seconds = self._latency()
            self._started[index] = True
            client.policy.observe(self.now, client)
            self._fill(index)

    def _start_flow(self, client: SimulatedClient, size: int, count: int, sent: float, window: float) -> None:
        group = client.classes.get(size)
        if group is None:
            group = client.classes[size] = FlowClass(request_bytes=size)
        group.flows += 1
        self._order += 1
        heapq.heappush(group.ends, (group.done + size * count - sent, self._order, count, window))

    def _end(self, index: int, group: FlowClass) -> None:
        client = self.clients[index]
        goal, _, count, window = heapq.heappop(group.ends)
        group.done = max(group.done, goal)
        group.flows -= 1
        client.bytes_in_flight -= group.request_bytes
        client.done_bytes += group.request_bytes * count
        delay = self._straggles(client, group.request_bytes * count)
        if not client.requests_left and group.rate < group.own_rate:
            # Nothing else is sent while the last requests wait for their responses.
            delay += self._latency() * (1.0 - group.rate / group.own_rate)
        if delay:
            self._push(self.now + delay, 1, index, (group.request_bytes, window))
        else:
            self._free_slot(index, group.request_bytes, window)

    def _free_slot(self, index: int, size: int, window: float) -> None:
        client = self.clients[index]
        client.release(size)
        client.idle.append((self.now, window))
        self._fill(index)
        if not client.in_flight and not client.requests_left:
            client.finished_at = self.now + (self._latency() if client.multipart else 0.0)

    def _fill(self, index: int) -> None:
        for size, count in self.clients[index].take():
            self._begin(index, size, count)

    def _begin(self, index: int, size: int, count: int) -> None:
        """Start the requests of one slot: handshake and slow start first, unless a warm connection is idle."""
        client, rtt = self.clients[index], self.link.rtt_seconds + self.queue_delay
        at, burst = self.now, float(INITIAL_WINDOW_BYTES)
        if client.idle:
            used_at, reached = client.idle.pop()
            if self.now - used_at < max(4 * rtt, 1.0):
                burst = max(burst, reached)
        else:
            client.handshakes_until = max(client.handshakes_until, self.now) + self.link.connect_seconds
            at = client.handshakes_until + HANDSHAKE_ROUND_TRIPS * rtt
        window, sent = 0.0, 0.0
        if burst < size:
            flows = min(client.policy.level(), client.in_flight + client.requests_left)
            share = min(self._capacity(), self._ceiling(client)) / max(1, client.in_flight, flows)
            window = min(self._flow_limit(), share) * rtt
        while burst < window and sent + burst < size:
            # Each round trip of slow start acknowledges twice as much as the one before.
            at += rtt
            self._order += 1
            heapq.heappush(self._events, (at, self._order, 4, index, int(burst)))
            sent, burst = sent + int(burst), 2 * burst
        # The window grows while more than half of it is on the way: not at the end of a request.
        rest = size - sent if count == 1 else INFINITE
        burst += max(0.0, (2 * rest - burst) / 3)
        # The rest is charged its share of the latency as it flows, and the last byte has to wait for all of it.
        at += (rtt + self.link.server_seconds) * sent / size
        if at > self.now:
            self._push(at, 0, index, (size, count, sent, burst))
        else:
            self._start_flow(client, size, count, sent, burst)

    def _abandon(self, index: int) -> None:
        """Cancel the youngest flows beyond the level and put their requests back; what they have sent is wasted."""
        client = self.clients[index]
        for group in client.classes.values():
            excess = min(client.in_flight - client.policy.level(), group.flows)
            if excess <= 0:
                continue
            group.ends.sort()
            for goal, _, count, _ in group.ends[-excess:]:
                left = goal - group.done
                unsent = min(count, math.ceil(left / group.request_bytes))
                client.wasted += unsent * group.request_bytes - left
                client.done_bytes += (count - unsent) * group.request_bytes
                client.put_back(group.request_bytes, unsent)
                client.bytes_in_flight -= group.request_bytes
                client.release(group.request_bytes)
            del group.ends[-excess:]
            group.flows -= excess

    def _trim(self, index: int) -> None:
        """Let the youngest flows beyond the level end after the request that they are sending, not after its bundle."""
        client = self.clients[index]
        excess = client.in_flight - client.policy.level()
        for group in client.classes.values():
            if excess <= 0:
                return
            group.ends.sort()
            for at in range(len(group.ends) - 1, max(-1, len(group.ends) - 1 - excess), -1):
                goal, order, count, window = group.ends[at]
                unsent = min(count - 1, int((goal - group.done) / group.request_bytes))
                if unsent > 0:
                    group.ends[at] = (goal - unsent * group.request_bytes, order, count - unsent, window)
                    client.put_back(group.request_bytes, unsent)
            excess -= len(group.ends)
            heapq.heapify(group.ends)

    def _mark_stragglers(self, client: SimulatedClient) -> None:
        """Put the stragglers at places in the data, the same for every part size: expected one in 8 MiB or a file."""
        if not self.link.stragglers or not client.total_requests:
            return
        units = max(client.total_requests if client.bundle > 1 else 0, client.total_bytes / (8 << 20))
        step = client.total_bytes / (units * self.link.stragglers)
        draw = random.Random(self.link.seed + 17)
        at = draw.expovariate(1.0) * step
        while at < client.total_bytes:
            client.straggler_bytes.append(at)
            at += draw.expovariate(1.0) * step

    def _straggles(self, client: SimulatedClient, size: int) -> float:
        client.given_bytes += size
        delay = 0.0
        while client.straggler_bytes and client.straggler_bytes[0] < client.given_bytes:
            client.straggler_bytes.popleft()
            delay += self.link.straggler_seconds
        return delay

    def _tick(self) -> None:
        link = self.link
        for change in link.changes:
            if change.at_seconds <= self.now:
                self.changed = change
        if link.noise and self.now - self._last_noise >= self._noise_seconds - 1e-9:
            self._last_noise = self.now
            drift = self._random.gauss(0.0, link.noise)
            self.fluctuation = min(1.0, max(0.3, 1.0 + 0.6 * (self.fluctuation - 1.0) + drift))
        for index, client in enumerate(self.clients):
            if self._started[index]:
                if client.policy.observe(self.now, client):
                    self._abandon(index)
                elif client.bundle > 1:
                    self._trim(index)
                self._fill(index)

    # --- time and rates ---

    def _next_end(self) -> tuple[float, tuple[int, FlowClass] | None]:
        best, which = INFINITE, None
        now = self.now
        for index, client in enumerate(self.clients):
            for group in client.classes.values():
                if group.flows and group.rate > 0:
                    at = now + max(0.0, group.ends[0][0] - group.done) / group.rate
                    if at < best:
                        best, which = at, (index, group)
        if self.link.penalty_beyond:
            change = min(map(self._penalty_changes_at, self.clients))
            if change < best:
                return change, None
        return best, which

    def _penalty_changes_at(self, client: SimulatedClient) -> float:
        """When the penalty of a client starts or ends, if its requests in flight stay the same."""
        link = self.link
        if client.in_flight > link.penalty_beyond:
            left = link.penalty_onset_seconds - client.excess_seconds
            return self.now + left if left > 1e-9 else INFINITE
        return client.penalised_until if self.now < client.penalised_until else INFINITE

    def _advance(self, to: float) -> None:
        passed = to - self.now
        if passed <= 0:
            return
        link, used = self.link, 0.0
        for client in self.clients:
            rate = requests = 0.0
            for group in client.classes.values():
                if group.flows:
                    group.done += group.rate * passed
                    of_group = group.rate * group.flows
                    rate += of_group
                    requests += of_group / group.request_bytes
            client.bytes_acked += rate * passed
            client.requests_done += requests * passed
            used += rate
            if link.requests_per_second < INFINITE:
                tokens = client.accepted_tokens + (link.requests_per_second - requests) * passed
                client.accepted_tokens = min(link.requests_per_second, tokens)
                client.refused += client.refused_per_second * passed
            if link.penalty_beyond:
                excess = passed if client.in_flight > link.penalty_beyond else -passed
                client.excess_seconds = min(link.penalty_onset_seconds, max(0.0, client.excess_seconds + excess))
        self.carried += used * passed
        self.capacity_seconds += self._capacity() * passed
        if link.credit_bytes:
            # Only a link that is half idle earns.
            earned = link.capacity - used if used < link.capacity / 2 else min(0.0, link.capacity - used)
            self.credits = min(link.credit_bytes, max(0.0, self.credits + earned * passed))
            # A link that has used its credits up bursts again when a tenth of them is back.
            self.bursting = self.credits > (0.0 if self.bursting else 0.1 * link.credit_bytes)
        self.now = to

    def _latency(self) -> float:
        """What a request costs beside the time of its bytes."""
        return self.link.rtt_seconds + self.queue_delay + self.link.server_seconds

    def _capacity(self) -> float:
        capacity = self.link.capacity * self.changed.capacity * self.fluctuation
        if self.bursting:
            capacity *= self.link.credit_factor
        return capacity

    def _flow_limit(self) -> float:
        limit = min(self.link.flow_limit, self.link.connection_rate * self.changed.connection)
        return min(limit, self._capacity())

    def _set_rates(self) -> None:
        """Share the capacity: the clients' own ceilings first, then max-min over all flows."""
        link = self.link
        flowing = [group.flows for client in self.clients for group in client.classes.values()]
        if flowing == self._flowing and not self._dynamic:
            return
        self._flowing = flowing
        flows = link.rival_flows + sum(flowing)
        for client in self.clients:
            client.refused_per_second = 0.0
        if not flows:
            return
        limit, capacity = self._flow_limit(), self._capacity()
        self._set_queue(limit, capacity)
        if flows == link.rival_flows:
            return
        latency = self._latency()
        wants: list[tuple[float, int, FlowClass]] = []
        for client in self.clients:
            own = [
                (group.request_bytes / (latency + group.request_bytes / limit), group.flows, group)
                for group in client.classes.values()
                if group.flows
            ]
            for want, _, group in own:
                group.own_rate = want
            requests = sum(want * n / group.request_bytes for want, n, group in own)
            if requests > link.client_requests:
                own = [(want * link.client_requests / requests, n, group) for want, n, group in own]
            ceiling = self._ceiling(client)
            if ceiling < INFINITE and sum(want * n for want, n, _ in own) > ceiling:
                own = _fill_up(own, ceiling)
            wants += own
        if link.rival_flows:
            wants.append((limit, link.rival_flows, FlowClass(request_bytes=1)))
        if sum(want * n for want, n, _ in wants) > capacity:
            wants = _fill_up(wants, capacity * self._efficiency(flows))
        for want, _, group in wants:
            group.rate = want
        if flows > 1 and flows * limit > capacity:
            self._fall_into_step(limit, capacity)
        if link.requests_per_second < INFINITE:
            self._throttle()

    def _fall_into_step(self, limit: float, capacity: float) -> None:
        """Flows that together just fill the line tend to send at one time, and to wait for responses at one time."""
        latency = self.link.rtt_seconds + self.link.server_seconds  # a queue is no pause of the line
        groups = [group for client in self.clients for group in client.classes.values() if group.flows and group.rate]
        asked = sum(one.flows * one.request_bytes / (latency + one.request_bytes / limit) for one in groups)
        load = (asked + self.link.rival_flows * limit) / capacity
        lost = latency * STEP_SHARE * math.exp(-((math.log(load) / STEP_WIDTH) ** 2))
        for group in groups:
            group.rate = group.request_bytes / (group.request_bytes / group.rate + lost)

    def _ceiling(self, client: SimulatedClient) -> float:
        """Bytes per second of one client: its CPU or disk, and the silent penalty for too many connections."""
        link = self.link
        if link.penalty_beyond:
            if client.in_flight > link.penalty_beyond and client.excess_seconds >= link.penalty_onset_seconds - 1e-9:
                client.penalised_until = self.now + link.penalty_seconds
            if self.now < client.penalised_until:
                return min(link.client_rate, link.capacity * link.penalty_factor)
        return link.client_rate

    def _set_queue(self, limit: float, capacity: float) -> None:
        """Large bodies fill the queue if their flows can; of small requests, just those wait that do not fit."""
        link = self.link
        large, small = link.rival_flows * limit, []
        for client in self.clients:
            for group in client.classes.values():
                if group.request_bytes > 1 << 20:
                    large += group.flows * limit
                elif group.flows:
                    small.append((group.flows, group.request_bytes))

        def asked(delay: float) -> float:
            latency = link.rtt_seconds + link.server_seconds + delay
            return large + sum(n * size / (latency + size / limit) for n, size in small)

        low, high = 0.0, link.queue_seconds
        if large >= capacity:
            low = high = link.queue_seconds * min(1.0, max(0.0, large / capacity - 1.0))
        elif asked(high) >= capacity:
            low = high
        elif asked(low) <= capacity:
            high = low
        while high - low > 0.02 * link.queue_seconds:
            middle = (low + high) / 2
            low, high = (middle, high) if asked(middle) > capacity else (low, middle)
        self.queue_delay = high

    def _efficiency(self, flows: int) -> float:
        """Flows with less than two segments in pipe and queue run into retransmission time-outs."""
        room = self._capacity() * (self.link.rtt_seconds + self.link.queue_seconds)
        crowding = flows * 2 * MSS / room
        return 1.0 if crowding <= 1 else max(0.6, 1.0 / (1.0 + 0.15 * (crowding - 1.0)))

    def _throttle(self) -> None:
        """Hold a client whose tokens are used up to the request rate; its other slots are refused and wait."""
        link = self.link
        for client in self.clients:
            groups = [group for group in client.classes.values() if group.flows]
            requests = sum(group.rate * group.flows / group.request_bytes for group in groups)
            client.retry_after_seconds = 0.0
            if client.accepted_tokens > 1e-9 or requests <= link.requests_per_second:
                continue
            share = link.requests_per_second / requests
            slots = sum(group.flows for group in groups)
            pause = link.rtt_seconds + max(RETRY_SECONDS, link.retry_after_seconds)
            client.refused_per_second = slots * (1 - share) / pause
            client.retry_after_seconds = link.retry_after_seconds
            for group in groups:
                group.rate *= share


def _fill_up(wants: list[tuple[float, int, FlowClass]], capacity: float) -> list[tuple[float, int, FlowClass]]:
    """Max-min fair shares: who wants less than the equal share gets it, the others share what is left."""
    result = []
    left, flows = capacity, sum(n for _, n, _ in wants)
    for want, n, group in sorted(wants, key=lambda entry: entry[0]):
        share = min(want, left / flows)
        result.append((share, n, group))
        left -= share * n
        flows -= n
    return result
