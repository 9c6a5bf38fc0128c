"""The documentation builds as a site without broken links and references."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.deep
def test_the_site_builds_without_a_warning_and_has_every_public_call(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-f",
        ".ci/mkdocs.yml",
        "-d",
        str(tmp_path / "site"),
    ]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    reference = (tmp_path / "site/reference.html").read_text()
    for name in ("put_object", "upload_file", "multipart_complete", "get_object"):
        assert f"AsyncClient.{name}" in reference
