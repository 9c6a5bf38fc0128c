from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.files import write
from tests.unit.tasks.gate import Gate
from tests.unit.tasks.uploads import SIZE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "f", SIZE)


@pytest.fixture
def gate() -> Gate:
    return Gate()
