"""The table of threats in docs/security.md names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def rows() -> list[list[str]]:
    lines = (ROOT / "docs/security.md").read_text().splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert table[0] == ["threat", "defence", "tests"]
    return table[1:]


def test_every_threat_names_existing_tests() -> None:
    assert rows()
    for row in rows():
        assert len(row) == 3, row
        named = re.findall(r"`([^`]+)::([^`]+)`", row[2])
        assert named, f"no test for: {row[0]}"
        for file, name in named:
            tree = ast.parse((ROOT / file).read_text())
            functions = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
            assert name in functions, f"{file} has no {name}"
