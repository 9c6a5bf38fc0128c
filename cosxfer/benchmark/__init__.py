"""Measures transfers to and from an endpoint of the user: ``cosxfer bench``, or `Benchmark` for programs.

A run makes files of random bytes, uploads them below a new prefix, downloads and compares them, and deletes everything.
"""

from __future__ import annotations

from cosxfer.benchmark.records import BenchmarkCase, CaseResult, Cleanup, PhaseResult
from cosxfer.benchmark.run import Benchmark

__all__ = ["Benchmark", "BenchmarkCase", "CaseResult", "Cleanup", "PhaseResult"]
