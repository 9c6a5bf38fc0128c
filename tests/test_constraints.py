"""`make setup` installs one pinned version of each package, and each file by its hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINES = (ROOT / ".ci/constraints.txt").read_text().replace("\\\n", " ").splitlines()
PINNED = [line for line in LINES if line.strip() and not line.startswith("#")]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_each_package_has_one_version_and_the_hashes_of_its_files() -> None:
    names = []
    conditions = {}
    for line in PINNED:
        found = re.fullmatch(r"([A-Za-z0-9._-]+)==(\S+)(?: ; ([^\\]+?))?((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*", line)
        assert found, line
        names.append(plain(found[1]))
        conditions.setdefault(names[-1], []).append(found[3])
    for name, texts in conditions.items():  # several versions of a package need different conditions
        assert len(texts) == 1 or (None not in texts and len(set(texts)) == len(texts)), name
    assert len(names) > 50


def test_each_dependency_of_each_extra_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    pinned = {plain(line.partition("==")[0]) for line in PINNED}
    assert {plain(re.split(r"[\[<>=~! ]", name)[0]) for name in wanted} <= pinned


def test_setup_installs_nothing_without_a_hash() -> None:
    script = (ROOT / ".ci/setup.sh").read_text()
    script = script.replace("\\\n", " ")
    installs = [line for line in script.splitlines() if re.search(r"^\s*\$pip |pip install", line)]
    assert [line for line in installs if "-r " in line and "--require-hashes" not in line] == []
    # The project itself is built here, without its dependencies.
    assert [line for line in installs if "-r " not in line and "-e ." not in line] == [
        '    pip="$VENV/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation --use-pep517"'
    ]


def test_the_list_works_for_the_python_of_debian_12() -> None:
    """pip-compile pins for the Python that runs it; for 3.11.2 this package needs an earlier version."""
    assert any(line.startswith("pymdown-extensions==") and "python_full_version < '3.11.5'" in line for line in PINNED)
