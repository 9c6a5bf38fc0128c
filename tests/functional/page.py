"""The operations and parameters that the COS SDKs' upload page documents, parsed from its tables."""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).parent
CHECKED_IN = HERE / "parameters.json"
PAGE = HERE.parents[2] / "shared" / "reference" / "uploading-objects.txt"

OPERATIONS = (
    "putObject",
    "appendObject",
    "multipartList",
    "multipartInit",
    "multipartUpload",
    "multipartListPart",
    "multipartComplete",
    "multipartAbort",
    "uploadFile",
    "sliceUploadFile",
    "uploadFiles",
    "cancelTask",
    "pauseTask",
    "restartTask",
)
"""In the order of the page. Its tables do not name their operation, so the order decides."""

_GIVEN = "Parameter | Description | Type | Required |"
_RETURNED = "Parameter | Description | Type |"


def parse(page: str) -> dict[str, list[str]]:
    """Rows by operation; a row is the path of a parameter, such as ``onProgress/progressData.loaded``.

    Results have their own root, as on the page: ``err/statusCode``, ``data/ETag``.
    """
    tables: dict[str, list[str]] = {}
    operations = iter(OPERATIONS)
    rows: list[str] | None = None
    path: list[str] = []
    for line in page.splitlines():
        if line == _GIVEN:
            rows = tables[next(operations)] = []
            path = []
        elif line == _RETURNED:
            path = []
        elif rows is not None and line.endswith("|") and line.count(" |") >= 2:
            name = line.partition(" | ")[0]
            depth = 0
            while name.startswith("- "):
                depth, name = depth + 1, name[2:]
            # Two tables of the page lack the dashes that show the nesting.
            if depth == 0 and path[:1] == ["data"]:
                depth = 1
            elif depth == 0 and path[-1:] == ["onTaskReady"] and name == "taskId":
                depth = len(path)
            path = [*path[:depth], name]
            rows.append("/".join(path))
        elif not line.endswith("|"):
            # Only "function(err, data)" may stand between a table of parameters and its table of results.
            rows = rows if line.startswith("function(err, data)") else None
    assert next(operations, None) is None, "the page has fewer tables than operations"
    return tables


def checked_in() -> dict[str, list[str]]:
    """The list in the repository, which the tests use."""
    tables: dict[str, list[str]] = json.loads(CHECKED_IN.read_text(encoding="utf-8"))
    return tables


if __name__ == "__main__":
    CHECKED_IN.write_text(json.dumps(parse(PAGE.read_text(encoding="utf-8")), indent=2) + "\n", encoding="utf-8")
