"""``cosxfer cp -r``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cosxfer.server import RunningServer, running
from tests.e2e.command import assert_one_paragraph, client, flat, run
from tests.unit.deep_tree import deep_folder, write_at


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "deep/er").mkdir(parents=True)
    (root / "a.jpg").write_bytes(b"a")
    (root / "empty").write_bytes(b"")
    (root / "deep/ü mlaut.jpg").write_bytes(b"u")
    (root / "deep/er/big").write_bytes(bytes(3 << 20))
    return root


def keys(server: RunningServer, prefix: str) -> list[str]:
    """The keys of the objects that the last requests created."""
    return sorted(
        {
            request["key"]
            for request in server.requests()
            if request["operation"] in ("put_object", "multipart_complete") and request["status"] == 200
        }
    )


def test_a_tree_is_uploaded_below_the_prefix(server: RunningServer, tree: Path) -> None:
    server.requests(clear=True)
    done = run(server, "cp", "-r", tree, f"cos://{server.bucket}/backup", "--meta", "from=here")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"4 files, 3.0 MiB, to cos://{server.bucket}/backup in ")
    assert done.stdout.endswith(", all verified\n")
    assert keys(server, "backup") == ["backup/a.jpg", "backup/deep/er/big", "backup/deep/ü mlaut.jpg", "backup/empty"]
    with client(server) as reader:
        assert dict(reader.head_object(server.bucket, "backup/a.jpg").metadata) == {"from": "here"}


def test_files_are_selected_by_name(server: RunningServer, tree: Path) -> None:
    server.requests(clear=True)
    done = run(server, "cp", "-r", tree, f"cos://{server.bucket}/", "--include", "*.jpg", "--exclude", "ü*")
    assert done.returncode == 0
    assert keys(server, "") == ["a.jpg"]
    assert done.stdout.startswith("1 file, 1 B, ")


@pytest.mark.parametrize("options", [[], ["-r"]])
def test_an_empty_name_is_not_the_current_directory(server: RunningServer, options: list[str]) -> None:
    done = run(server, "cp", *options, "", f"cos://{server.bucket}/k")
    assert done.returncode == 2
    assert_one_paragraph(done)
    assert "the source is empty" in flat(done.stderr)


def test_files_that_cannot_be_uploaded_are_reported_and_the_others_are_uploaded(
    server: RunningServer, tree: Path
) -> None:
    (tree / "link").symlink_to("nowhere")
    (tree / "deep/folder").symlink_to(tree)
    os.mkfifo(tree / "pipe")
    (tree / "esc\x1b").write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(tree) + b"/bad\xff")).write_bytes(b"x")
    done = run(server, "cp", "-r", tree, f"cos://{server.bucket}/some/")
    assert done.returncode == 1
    said = flat(done.stderr)
    for message in (
        f"'{tree}/link' is a broken link: 'nowhere' does not exist",
        f"'{tree}/deep/folder' is a link to a directory, which is not followed",
        f"'{tree}/pipe' is a named pipe, not a regular file",
        "esc\\x1b: the key 'some/esc\\x1b' contains the control character '\\x1b', which COS refuses",
        "bad\\xff: the key 'some/bad\\udcff' is not text",
    ):
        assert message in said
    assert "\x1b" not in done.stderr
    assert done.stdout.endswith(", all verified, 5 files FAILED\n")


def test_json_has_every_file(server: RunningServer, tree: Path) -> None:
    (tree / "link").symlink_to("nowhere")
    done = run(server, "cp", "-r", tree, f"cos://{server.bucket}/json", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["prefix"], told["failed"], told["bytes"]) == ("json", 1, (3 << 20) + 2)
    files = {file["path"]: file for file in told["files"]}
    assert files[str(tree / "link")]["error"]["type"] == "SourceError"
    assert files[str(tree / "deep/er/big")]["verified"] is True
    assert files[str(tree / "empty")]["key"] == "json/empty"


def test_a_wrong_bucket_is_reported_for_each_file(server: RunningServer, tree: Path) -> None:
    done = run(server, "cp", "-r", tree, "cos://other-1250000000/x")
    assert done.returncode == 1
    assert done.stdout.startswith("nothing was uploaded to cos://other-1250000000/x, 4 files FAILED")
    assert done.stderr.count("NoSuchBucket") == 4


def test_remaining_parts_and_a_wrong_scheme_are_reported(server: RunningServer, tree: Path) -> None:
    server.set_faults(
        [
            {"operation": "multipart_upload", "do": "error", "status": 400, "code": "InvalidArgument"},
            {"operation": "multipart_abort", "do": "error", "status": 403, "code": "AccessDenied"},
        ]
    )
    try:
        done = run(server, "cp", "-r", tree, f"cos://{server.bucket}/kept")
    finally:
        server.set_faults([])
    assert f"\n  cosxfer abort cos://{server.bucket}/kept/deep/er/big " in done.stderr
    with running(tls=True) as secure:
        endpoint = f"http://127.0.0.1:{secure.port}/{{bucket}}"
        done = run(secure, "cp", "-r", tree, f"cos://{secure.bucket}/x", "--endpoint", endpoint, "--max-attempts", "1")
    assert done.returncode == 1
    assert flat(done.stderr).count(f"Is its address https://127.0.0.1:{secure.port}, with an s?") == 1


def test_a_filter_does_not_hide_what_cannot_be_read(server: RunningServer, tree: Path) -> None:
    # Not even root can read a loop of links.
    (tree / "album").symlink_to("album")
    command = ("cp", "-r", tree, f"cos://{server.bucket}/filtered", "--include", "*.jpg")
    done = run(server, *command)
    assert done.returncode == 1
    assert f"'{tree}/album' is a link that leads back to itself" in flat(done.stderr)
    assert done.stdout.endswith(", all verified, 1 file FAILED\n")
    done = run(server, *command, "--exclude", "album")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_filter_that_matches_nothing_is_reported(server: RunningServer, tree: Path) -> None:
    command = ("cp", "-r", tree, f"cos://{server.bucket}/nothing")
    done = run(server, *command, "--include", "*.gif", "--json")
    assert done.returncode == 1
    assert f"no file in '{tree}' matches '*.gif' (include)" in flat(done.stderr)
    assert json.loads(done.stdout)["error"]["type"] == "SourceError"
    done = run(server, *command, "--include", "*.gif", "--include", "*.jpg", "--exclude", "thing1/", "--exclude", "./x")
    assert done.returncode == 0
    said = flat(done.stderr)
    assert f"cosxfer: the include pattern '*.gif' matched nothing in '{tree}'" in said
    assert f"cosxfer: the exclude pattern 'thing1/' matched nothing in '{tree}'" in said
    assert f"cosxfer: the exclude pattern './x' matched nothing in '{tree}'" in said
    assert "*.jpg" not in said
    done = run(server, *command, "--exclude", "[a")
    assert done.returncode == 2
    assert_one_paragraph(done)
    assert "exclude pattern '[a' has a [ without its ]" in flat(done.stderr)


def test_a_tree_of_any_depth_is_uploaded(server: RunningServer, tmp_path: Path) -> None:
    root = tmp_path / "deep"
    with deep_folder(root, 1500 * ["a"]) as bottom:
        write_at(bottom, "far", b"far")
        (root / "near").write_bytes(b"near")
        near = root
        for _ in range(400):
            near = near / "a"
        (near / "f").write_bytes(b"400 folders down")
        done = run(server, "cp", "-r", root, f"cos://{server.bucket}/")
    assert done.returncode == 1
    said = flat(done.stderr)
    assert "3003 bytes long in UTF-8; COS allows 850" in said
    assert len(said) < 800
    assert "bug in cosxfer" not in said
    assert done.stdout.startswith("2 files, ")
    assert done.stdout.endswith(", all verified, 1 file FAILED\n")
    with client(server) as reader:
        assert reader.get_object(server.bucket, 400 * "a/" + "f").body == b"400 folders down"


@pytest.mark.parametrize("option", ["--json", "--debug", "--region=x"])
def test_control_characters_in_names_do_not_move_the_cursor(server: RunningServer, tmp_path: Path, option: str) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    for name in ("a\x1b[31m", "b\nforged: line", "c\u202e", "d\x07"):
        (folder / name).write_text("x")
    (folder / "e\x1blink").symlink_to("/nowhere\x1b[1m")
    done = run(server, "cp", "-r", folder, f"cos://{server.bucket}/names", option)
    assert done.returncode == 1
    text = done.stdout + done.stderr
    assert not [letter for letter in text if letter != "\n" and not letter.isprintable()]
    assert "\nforged" not in text
