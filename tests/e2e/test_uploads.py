"""``cosxfer uploads``: what is unfinished in the journal and on the server."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cosxfer.limits import MIB
from cosxfer.server import RunningServer
from tests.e2e.command import COMMAND, client, flat, run
from tests.e2e.test_cp_resume import PARTS, STALLED, _clean, interrupted, large, open_uploads, sent, variables

__all__ = ["_clean", "large"]


def uploads(
    server: RunningServer | None, large: Path, command: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return run(server, "uploads", command, *arguments, COSXFER_STATE_DIR=str(large.parent / "state"))


def listed(server: RunningServer | None, large: Path, *arguments: str) -> list[dict[str, object]]:
    done = uploads(server, large, "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)["uploads"]
    return found


def test_the_journal_is_listed_without_keys_or_requests(server: RunningServer, large: Path) -> None:
    assert "nothing is unfinished in the journal" in uploads(None, large, "list").stdout

    def is_noted() -> bool:
        return [found["parts"] for found in listed(None, large)] == [PARTS - 1]

    interrupted(server, large, signal.SIGINT, key="a/k", is_ready=is_noted)
    [found] = listed(None, large)
    [upload_id] = open_uploads(server)
    assert server.requests()[-1]["operation"] == "multipart_list"
    assert found == {
        "bucket": server.bucket,
        "key": "a/k",
        "upload_id": upload_id,
        "age_seconds": found["age_seconds"],
        "parts": PARTS - 1,
        "done_bytes": (PARTS - 1) * MIB,
        "path": str(large),
        "bytes": large.stat().st_size,
        "part_size_bytes": MIB,
        "in_journal": True,
        "on_server": None,
        "running": False,
    }
    line = uploads(None, large, "list").stdout
    assert line.startswith(f"cos://{server.bucket}/a/k {upload_id}: ")
    assert f"{PARTS - 1} of {PARTS} parts" in line
    assert listed(None, large, "--prefix", "b/") == []
    assert listed(None, large, "--older-than", "1h") == []


def test_the_server_is_listed_with_a_bucket(server: RunningServer, large: Path) -> None:
    interrupted(server, large, signal.SIGINT, key="a/mine")
    with client(server) as other:
        begun = other.multipart_init(server.bucket, "a/other")
        other.multipart_upload(server.bucket, "a/other", b"x" * 5, upload_id=begun.upload_id, part_number=1)
    by_key = {found["key"]: found for found in listed(server, large, f"cos://{server.bucket}/a/")}
    assert by_key.keys() == {"a/mine", "a/other"}
    assert (by_key["a/mine"]["in_journal"], by_key["a/mine"]["on_server"]) == (True, True)
    assert (by_key["a/other"]["parts"], by_key["a/other"]["done_bytes"]) == (1, 5)
    assert "not begun by this machine" in uploads(server, large, "list", f"cos://{server.bucket}").stdout


def test_resume_continues_with_the_options_of_the_call(server: RunningServer, large: Path) -> None:
    interrupted(server, large, signal.SIGKILL, "--meta", "a=b", "--storage-class", "STANDARD_IA")
    would = uploads(server, large, "resume", "--dry-run")
    assert would.stdout.startswith("would continue ")
    assert not sent(server)
    done = uploads(server, large, "resume")
    assert done.returncode == 0, done.stderr
    assert set(sent(server)) == {STALLED}
    with client(server) as reader:
        head = reader.head_object(server.bucket, "k")
        assert (head.metadata, head.storage_class) == ({"a": "b"}, "STANDARD_IA")
        assert reader.get_object(server.bucket, "k").body == large.read_bytes()
    assert open_uploads(server) == []
    assert "nothing was to be continued" in uploads(server, large, "resume").stdout


def test_resume_reports_a_file_that_is_gone(server: RunningServer, large: Path) -> None:
    interrupted(server, large, signal.SIGINT)
    large.unlink()
    done = uploads(server, large, "resume")
    assert done.returncode == 1
    assert "No such file" in flat(done.stderr) or "no such file" in flat(done.stderr)
    assert len(open_uploads(server)) == 1


def test_abort_deletes_here_and_on_the_server(server: RunningServer, large: Path) -> None:
    interrupted(server, large, signal.SIGINT)
    with client(server) as other:
        other.multipart_init(server.bucket, "other")
    refused = uploads(server, large, "abort", f"cos://{server.bucket}")
    assert refused.returncode == 2
    assert "--older-than" in refused.stderr
    would = json.loads(uploads(server, large, "abort", f"cos://{server.bucket}", "--dry-run", "--json").stdout)
    assert (len(would["deleted"]), would["dry_run"]) == (2, True)
    assert uploads(server, large, "abort", f"cos://{server.bucket}", "--older-than", "1h").returncode == 0
    assert len(open_uploads(server)) == 2
    assert uploads(server, large, "abort", "--all").returncode == 0  # those of the journal
    assert len(open_uploads(server)) == 1
    assert listed(None, large) == []
    assert uploads(server, large, "abort", f"cos://{server.bucket}", "--all").returncode == 0
    assert open_uploads(server) == []


def test_what_runs_now_is_left_alone(server: RunningServer, large: Path) -> None:
    server.requests(clear=True)
    server.set_faults([{"operation": "multipart_upload", "part": STALLED, "do": "stall"}])
    with subprocess.Popen(
        [*COMMAND, "cp", str(large), f"cos://{server.bucket}/k", "--part-size", "1MiB"],
        env=variables(server, large),
        stderr=subprocess.PIPE,
    ) as process:
        try:
            while len(sent(server)) < PARTS - 1:
                assert process.poll() is None
                time.sleep(0.05)
            assert [found["running"] for found in listed(None, large)] == [True]
            done = uploads(server, large, "abort", f"cos://{server.bucket}", "--all")
            assert done.returncode == 0
            assert "left alone" in done.stderr
            assert len(open_uploads(server)) == 1
            assert "nothing was to be continued" in uploads(server, large, "resume").stdout
        finally:
            process.kill()


def test_an_upload_that_cannot_be_deleted_is_reported_and_kept(server: RunningServer, large: Path) -> None:
    interrupted(server, large, signal.SIGINT)
    server.set_faults([{"operation": "multipart_abort", "do": "error", "status": 403, "code": "AccessDenied"}])
    done = uploads(server, large, "abort", "--all")
    assert done.returncode == 1
    assert "AccessDenied" in done.stderr
    assert len(listed(None, large)) == 1


@pytest.mark.parametrize("arguments", [["list", "--older-than", "x"], ["abort", "https://x"], ["list", "k"]])
def test_wrong_arguments_are_refused(large: Path, arguments: list[str]) -> None:
    done = uploads(None, large, *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_token_takes_an_upload_to_another_path_and_journal(
    server: RunningServer, large: Path, tmp_path: Path
) -> None:
    interrupted(server, large, signal.SIGKILL, "--meta", "a=b", "--storage-class", "STANDARD_IA")
    [upload_id] = open_uploads(server)
    exported = uploads(None, large, "export")
    assert exported.returncode == 0, exported.stderr
    assert json.loads(uploads(None, large, "export", upload_id, "--json").stdout)["token"] == exported.stdout.strip()
    data = large.read_bytes()
    moved = tmp_path / "moved.bin"
    large.rename(moved)
    token = tmp_path / "token"
    token.write_text(exported.stdout)

    def resume(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "uploads", "resume", "--journal", "none", *arguments],
            env=variables(server, large),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    would = resume("--token", str(token), "--path", str(moved), "--dry-run")
    assert would.stdout.startswith(f"would continue cos://{server.bucket}/k {upload_id}: ")
    assert f" of {PARTS} parts of " in would.stdout
    assert not sent(server)
    gone = resume("--token", str(token))
    assert gone.returncode == 1
    assert "large.bin" in gone.stderr
    done = resume("--token", "-", "--path", str(moved), "--json", text=exported.stdout)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["upload_id"], result["resumed_bytes"]) == (upload_id, len(data) - MIB)
    assert set(sent(server)) == {STALLED}
    with client(server) as reader:
        head = reader.head_object(server.bucket, "k")
        assert (head.metadata, head.storage_class) == ({"a": "b"}, "STANDARD_IA")
        assert reader.get_object(server.bucket, "k").body == data


def test_export_asks_which_of_several_uploads(server: RunningServer, large: Path) -> None:
    empty = uploads(None, large, "export")
    assert empty.returncode == 2
    assert "no upload" in flat(empty.stderr)
    interrupted(server, large, signal.SIGKILL, key="a")
    interrupted(server, large, signal.SIGKILL, key="b")
    several = uploads(None, large, "export")
    assert several.returncode == 2
    assert all(upload_id in several.stderr for upload_id in open_uploads(server))
    wrong = uploads(None, large, "export", "nosuch")
    assert wrong.returncode == 2
    assert "nosuch" in wrong.stderr
    assert uploads(None, large, "export", open_uploads(server)[0]).returncode == 0


@pytest.mark.parametrize("text", ["", "cosxfer-upload-1.AAAA", "cosxfer-upload-9.AAAA", "\x1b[31m" * 99, "é\0"])
def test_a_damaged_token_is_wrong_usage(server: RunningServer, large: Path, text: str) -> None:
    token = large.with_name("token")
    token.write_text(text)
    done = uploads(server, large, "resume", "--token", str(token))
    assert done.returncode == 2
    assert "the token" in flat(done.stderr)
    assert "\x1b" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_token_needs_no_other_selection(server: RunningServer, large: Path) -> None:
    for arguments in (["--token", "x", f"cos://{server.bucket}"], ["--token", "x", "--prefix", "k"], ["--path", "x"]):
        done = uploads(server, large, "resume", *arguments)
        assert done.returncode == 2
        assert "--token" in flat(done.stderr)
    missing = uploads(server, large, "resume", "--token", str(large.with_name("nosuch")))
    assert missing.returncode == 1
    assert "nosuch" in missing.stderr
