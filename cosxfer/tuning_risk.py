"""How many requests to risk after a collapse. Pure.

So many requests were safe, and so many more made the goodput collapse. The limit is somewhere between, and each factor
is taken to be as likely as another. A higher level brings more, until more requests bring nothing. If it is above the
limit, goodput collapses again, and that costs as much time as the last time. A level that is kept for some time is
safe, and from there a higher one can be tried.

The choice is the one with the least expected time. It is found backwards from narrow ranges to wide ones.
"""

from __future__ import annotations

import math

import cosxfer.tuning_rules as rule

STEP = 1.25
"""Levels to choose from are about so far apart."""


def is_nearly_done(goodput: float, best: float, *, work_left: float, sent: float) -> bool:
    """Whether to go on although goodput has collapsed from ``best`` to ``goodput``: what is left needs less time so.

    Fewer requests would end the penalty after some seconds. Requests beyond them are cancelled for it, and what those
    in flight have ``sent`` has to be sent again. Both are in units of work.
    """
    return work_left * best < goodput * (work_left + sent + rule.LEAST_COST_SECONDS * best)


def level_to_try(
    safe: int,
    collapsed_at: int,
    *,
    needed: float,
    seconds_left: float,
    cost_seconds: float,
    endured_seconds: float,
) -> int:
    """The level to try next, from ``safe`` to below ``collapsed_at``; ``safe`` if no other is worth its risk.

    More than ``needed`` requests bring nothing, and with so many the work takes ``seconds_left``. ``cost_seconds`` is
    what another collapse costs. A level that is kept for ``endured_seconds`` is safe.
    """
    if collapsed_at <= safe + 1:
        return safe
    steps = max(1, round(math.log(collapsed_at / safe) / math.log(STEP)))
    ratio = collapsed_at / safe
    levels = [safe * math.pow(ratio, index / steps) for index in range(steps + 1)]
    shares = [min(1.0, level / needed) for level in levels]
    # The least time if the limit is between two levels, by their indices. To begin with: stay at the lower one.
    times = [[seconds_left / share] * (steps + 1) for share in shares]
    choices: dict[tuple[int, int], int] = {}
    for width in range(2, steps + 1):
        for low in range(steps + 1 - width):
            high = low + width
            # The first level can be left at once, the others after they were endured.
            patience = endured_seconds * (1 - shares[low]) if low else 0.0
            for tried in range(low + 1, high):
                safe_chance = (high - tried) / width
                time = patience + safe_chance * times[tried][high]
                time += (1 - safe_chance) * (cost_seconds + times[low][tried])
                if time < times[low][high]:
                    times[low][high], choices[low, high] = time, tried
    return round(levels[choices.get((0, steps), 0)])
