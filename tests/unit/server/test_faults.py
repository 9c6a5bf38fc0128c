"""Fault scripts: their syntax, and when a rule applies."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cosxfer.errors import UsageError
from cosxfer.server.faults import AT_ANSWER, FaultPlan, parse_faults


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"do": "reset"}, "must be a list"),
        (["reset"], "rule 1 must be an object"),
        ([{}], 'rule 1: "do" is None'),
        ([{"do": "reset"}, {"do": "explode"}], "rule 2: \"do\" is 'explode'"),
        ([{"do": "reset", "status": 500}], 'rule 1: "status" is not a field of "reset"'),
        ([{"do": "error", "statsu": 500}], '"statsu" is not a field'),
        ([{"do": "error", "operation": "putObject"}], "there is no operation 'putObject'"),
        ([{"do": "error", "status": 99}], "from 200 to 599"),
        ([{"do": "error", "status": True}], "whole number"),
        ([{"do": "error", "code": 5}], '"code" is 5'),
        ([{"do": "delay"}], 'needs "seconds"'),
        ([{"do": "delay", "seconds": -1}], '"seconds" is -1'),
        ([{"do": "reset", "at": "middle"}], "\"at\" is 'middle'"),
        ([{"do": "reset", "at": -5}], '"at" is -5'),
        ([{"do": "reset", "part": 0}], '"part" is 0'),
        ([{"do": "reset", "attempt": ["1"]}], "\"attempt\" is '1'"),
        ([{"do": "reset", "times": 0}], '"times" is 0'),
        ([{"do": "error", "above_per_second": 0.5}], '"above_per_second" is 0.5'),
        ([{"do": "reset", "key": 1}], '"key" is 1'),
    ],
)
def test_an_error_names_what_is_wrong(rules: Any, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_faults(rules)


def test_a_rule_is_read() -> None:
    (rule,) = parse_faults(
        [
            {
                "operation": ["put_object", "multipart_upload"],
                "part": [1, 2],
                "attempt": 1,
                "do": "error",
                "at": "answer",
                "status": 503,
                "code": "SlowDown",
                "retry_after_seconds": 2,
            }
        ]
    )
    assert rule.operations == ("put_object", "multipart_upload")
    assert (rule.parts, rule.attempts, rule.at) == ((1, 2), (1,), AT_ANSWER)
    assert (rule.status, rule.code, rule.retry_after_seconds) == (503, "SlowDown", 2)


def chosen(plan: FaultPlan, key: str = "k", part: int | None = None, operation: str = "put_object") -> str:
    fault = plan.choose(operation=operation, bucket="b-1", key=key, part=part)
    return "" if fault is None else fault.do


def test_the_first_matching_rule_applies() -> None:
    plan = FaultPlan(parse_faults([{"key": "a*", "do": "reset"}, {"do": "stall"}]))
    assert [chosen(plan, key) for key in ("abc", "b")] == ["reset", "stall"]


def test_attempts_are_counted_for_each_part() -> None:
    plan = FaultPlan(parse_faults([{"attempt": [1, 3], "do": "reset"}]))
    assert [chosen(plan, part=1) for _ in range(4)] == ["reset", "", "reset", ""]
    assert chosen(plan, part=2) == "reset"


def test_a_rule_ends_after_its_times() -> None:
    plan = FaultPlan(parse_faults([{"times": 2, "do": "reset"}, {"times": 1, "do": "stall"}]))
    assert [chosen(plan) for _ in range(4)] == ["reset", "reset", "stall", ""]


def test_a_rule_may_be_for_a_bucket_and_an_operation() -> None:
    plan = FaultPlan(parse_faults([{"bucket": "b-1", "operation": "get_object", "do": "reset"}]))
    assert [chosen(plan, operation=name) for name in ("get_object", "put_object")] == ["reset", ""]
    assert FaultPlan(()).choose(operation="get_object", bucket="b-1", key="", part=None) is None


def test_a_rule_spares_so_many_requests_a_second_and_a_burst_of_as_many() -> None:
    now = 50.0
    rules = parse_faults([{"operation": "put_object", "above_per_second": 10, "do": "error"}])
    plan = FaultPlan(rules, clock=lambda: now)

    def refused(count: int, operation: str = "put_object") -> int:
        chosen = [
            plan.choose(operation=operation, bucket="b-1", key=f"k{number}", part=None) for number in range(count)
        ]
        return sum(fault is not None for fault in chosen)

    assert refused(15) == 5
    now += 0.5
    assert refused(15) == 10
    now += 60.0
    assert refused(15) == 5
    assert refused(15, "get_object") == 0
