"""Archived objects: the state of a restore, and the headers that tell it (source: product page 436/12633)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from cosxfer.records import dataclass
from cosxfer.server.call import http_date
from cosxfer.server.http import CosError
from cosxfer.server.store import StoredObject

RESTORE = "restore"
"""The name under which the state is stored with an object."""

_HOUR = 3600
_DAY = 24 * _HOUR
_SECONDS = {
    "ARCHIVE": {"Expedited": 300, "Standard": 5 * _HOUR, "Bulk": 12 * _HOUR},
    "DEEP_ARCHIVE": {"Standard": 24 * _HOUR, "Bulk": 48 * _HOUR},
}
"""How long a restore takes at most, by class and tier."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Restore:
    """A restore that was requested. Times are Unix seconds."""

    tier: str
    requested: float
    ready: float
    expires: float


def is_archived(storage_class: str) -> bool:
    """Whether objects of the class must be restored before they can be read."""
    return storage_class.removeprefix("MAZ_") in _SECONDS


def state(kept: Mapping[str, str], now: float) -> Restore | None:
    """Return the restore of an object with these stored headers; None if there is none or its copy has expired."""
    if RESTORE not in kept:
        return None
    found = Restore(**json.loads(kept[RESTORE]))
    return found if now < found.expires else None


def requested(found: StoredObject, *, days: int, tier: str, now: float) -> dict[str, str]:
    """Return what to store for a restore that begins now. Raises MethodNotAllowed, RestoreAlreadyInProgress, …"""
    if not is_archived(found.storage_class):
        raise CosError("MethodNotAllowed", "The object is not archived.")
    durations = _SECONDS[found.storage_class.removeprefix("MAZ_")]
    if tier not in durations:
        raise CosError("InvalidArgument", f"Tier can be {', '.join(durations)} for {found.storage_class}.")
    current = state(found.headers, now)
    if current is not None and now < current.ready:
        raise CosError("RestoreAlreadyInProgress", "Object restore is already in progress.")
    ready = now if current is not None else now + durations[tier]
    restore = {"tier": tier, "requested": now, "ready": ready, "expires": ready + days * _DAY}
    return {RESTORE: json.dumps(restore)}


def headers(kept: Mapping[str, str], now: float) -> dict[str, str]:
    """Return the headers of HEAD and GET that tell the state; none if there is no restore."""
    current = state(kept, now)
    if current is None:
        return {}
    if now < current.ready:
        status = f'tier="{current.tier.lower()}"; request-date="{http_date(current.requested)}"'
        return {"x-cos-restore": 'ongoing-request="true"', "x-cos-restore-status": status}
    return {"x-cos-restore": f'ongoing-request="false", expiry-date="{http_date(current.expires)}"'}


def check_readable(found: StoredObject, now: float) -> None:
    """Refuse to read an archived object without a restored copy. Raises InvalidObjectState."""
    current = state(found.headers, now)
    if is_archived(found.storage_class) and (current is None or now < current.ready):
        raise CosError("InvalidObjectState", "The operation is not valid for the object's storage class.")
