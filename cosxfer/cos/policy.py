"""The signed policy of an HTML form, which limits what POST Object may store (source: product page 436/14690).

A policy is JSON: an expiration and conditions on the form's fields. Its SHA-1 is signed directly with the sign key of
`cosxfer.cos.sign`. This module creates policies and checks forms against them.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha1
from typing import Any, TypeAlias

from cosxfer.arguments import is_count
from cosxfer.cos.sign import sign_key
from cosxfer.credentials import Credentials
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.limits import MAX_PUT_BYTES
from cosxfer.records import dataclass

Condition: TypeAlias = Mapping[str, str] | Sequence[str | int]
"""``{"acl": "private"}``, ``["eq", "$acl", "private"]``, ``["starts-with", "$key", "a/"]`` or
``["content-length-range", 1, 1048576]``."""

FILENAME = "${filename}"
"""A placeholder in a form's ``key`` for the name of the uploaded file."""

SIGNATURE_FIELDS = ("policy", "q-sign-algorithm", "q-ak", "q-key-time", "q-signature")


class PolicyError(ValueError):
    """A malformed policy, or a form that violates one. ``code`` is COS's error code."""

    def __init__(self, message: str, *, code: str = "AccessDenied") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One condition: ``field`` (lower case) must equal ``value`` or start with it."""

    field: str
    value: str
    prefix: bool = False

    def holds(self, fields: Mapping[str, str]) -> bool:
        """Whether the form's fields (lower-case names) satisfy the condition. A missing field does not."""
        value = fields.get(self.field)
        return value is not None and (value.startswith(self.value) if self.prefix else value == self.value)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A parsed policy."""

    expires_at: float
    """Unix seconds."""
    rules: tuple[Rule, ...]
    size_range: tuple[int, int]
    """Bytes, both included."""

    def check_fields(self, fields: Mapping[str, str], *, now: float) -> None:
        """Raise `PolicyError` if the policy has expired or a rule is violated. Field names are lower case."""
        if now >= self.expires_at:
            raise PolicyError("Policy has expired")
        for rule in self.rules:
            if not rule.holds(fields):
                how = "starts-with" if rule.prefix else "eq"
                raise PolicyError(f'Policy Condition failed: ["{how}", "${rule.field}", "{rule.value}"]')

    def check_size(self, size: int) -> None:
        """Raise `PolicyError` if a file of ``size`` bytes is not allowed."""
        low, high = self.size_range
        if size > high:
            raise PolicyError("Your proposed upload exceeds the maximum allowed object size.", code="EntityTooLarge")
        if size < low:
            raise PolicyError(
                "Your proposed upload is smaller than the minimum allowed object size.", code="EntityTooSmall"
            )


def build_policy(*, expires_at: float, conditions: Iterable[Condition]) -> str:
    """Return the JSON text of a policy. Raises `UsageError` for a malformed condition."""
    listed = []
    for condition in conditions:
        _given_rules(condition)
        listed.append(dict(condition) if isinstance(condition, Mapping) else list(condition))
    moment = datetime.fromtimestamp(int(expires_at), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return json.dumps({"expiration": moment, "conditions": listed}, ensure_ascii=False)


def sign_policy(policy: str, *, secret_key: str, key_time: str) -> str:
    """Return the hex signature of a policy's text."""
    digest = sha1(policy.encode(), usedforsecurity=False).hexdigest()
    return hmac.new(sign_key(secret_key, key_time).encode(), digest.encode(), sha1).hexdigest()


def form_fields(
    credentials: Credentials,
    *,
    bucket: str,
    key: str,
    fields: Mapping[str, str],
    conditions: Iterable[Condition],
    key_time: str,
) -> dict[str, str]:
    """Return all fields of a form in order, without the file. ``fields`` are those besides the key and the signature.

    The policy fixes the bucket, the key (up to ``${filename}``) and the value of each of ``fields``. ``conditions`` add
    to these; a condition on a field replaces its fixed value. The policy expires with ``key_time``.
    """
    given = list(conditions)
    loosened = {rule.field for condition in given for rule in _given_rules(condition)}
    pins: list[Condition] = [{"bucket": bucket}]
    if "key" not in loosened:
        head, placeholder, _ = key.partition(FILENAME)
        pins.append(["starts-with", "$key", head] if placeholder else ["eq", "$key", key])
    pins += [["eq", f"${name}", value] for name, value in fields.items() if name.lower() not in loosened]
    own: list[Condition] = [
        {"q-sign-algorithm": "sha1"},
        {"q-ak": credentials.secret_id},
        {"q-sign-time": key_time},
    ]
    policy = build_policy(expires_at=float(key_time.partition(";")[2]), conditions=[*pins, *given, *own])
    token = {} if credentials.token is None else {"x-cos-security-token": credentials.token}
    return {
        "key": key,
        **fields,
        **token,
        "policy": base64.b64encode(policy.encode()).decode(),
        "q-sign-algorithm": "sha1",
        "q-ak": credentials.secret_id,
        "q-key-time": key_time,
        "q-signature": sign_policy(policy, secret_key=credentials.secret_key, key_time=key_time),
    }


def parse_policy(encoded: str) -> tuple[str, Policy]:
    """Parse the form's ``policy`` field. Return its text and the policy. Raises `PolicyError`."""
    try:
        text = base64.b64decode(encoded, validate=True).decode()
        document = json.loads(text)
    except (binascii.Error, ValueError, RecursionError) as error:
        raise PolicyError(f"The policy is not Base64 of JSON: {error}", code="InvalidPolicyDocument") from error
    if not isinstance(document, dict) or not isinstance(document.get("conditions"), list):
        raise PolicyError("The policy has no list of conditions.", code="InvalidPolicyDocument")
    try:
        moment = datetime.fromisoformat(str(document["expiration"]))
        expires_at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (KeyError, ValueError, OverflowError) as error:
        raise PolicyError("The policy has no expiration of ISO 8601.", code="InvalidPolicyDocument") from error
    rules = _rules(document["conditions"])
    missing = {"q-sign-algorithm", "q-ak", "q-sign-time"} - {rule.field for rule in rules if not rule.prefix}
    if missing:
        raise PolicyError(f"The policy has no condition for {min(missing)}.", code="InvalidPolicyDocument")
    low, high = 0, MAX_PUT_BYTES
    for condition in document["conditions"]:
        if isinstance(condition, list) and condition[0] == "content-length-range":
            low, high = max(low, condition[1]), min(high, condition[2])
    return text, Policy(expires_at=expires_at, rules=rules, size_range=(low, high))


def _given_rules(condition: Condition) -> tuple[Rule, ...]:
    try:
        return _read_condition(condition)
    except PolicyError as error:
        raise UsageError(str(error), name="conditions", value=condition) from error


def _rules(conditions: Iterable[Any]) -> tuple[Rule, ...]:
    return tuple(rule for condition in conditions for rule in _read_condition(condition))


def _read_condition(condition: Any) -> tuple[Rule, ...]:
    """Return the rules in one condition; none for a range, which is only checked."""
    if isinstance(condition, Mapping):
        if condition and all(isinstance(n, str) and isinstance(v, str) for n, v in condition.items()):
            return tuple(Rule(field=name.lower(), value=value) for name, value in condition.items())
    elif isinstance(condition, Sequence) and not isinstance(condition, str) and len(condition) == 3:
        how, name, value = condition
        if how == "content-length-range":
            if is_count(name) and is_count(value) and name <= value:
                return ()
        elif how in ("eq", "starts-with") and isinstance(name, str) and isinstance(value, str) and name[:1] == "$":
            return (Rule(field=name[1:].lower(), value=value, prefix=how == "starts-with"),)
    raise PolicyError(
        f'{shorten(condition)} is not a condition; write {{"acl": "private"}}, ["eq", "$acl", "private"], '
        '["starts-with", "$key", "a/"] or ["content-length-range", 1, 1048576]',
        code="InvalidPolicyDocument",
    )
