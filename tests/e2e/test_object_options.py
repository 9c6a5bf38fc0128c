"""The options of new objects: the same for ``cp`` and ``sync``, and errors where they cannot apply."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from cosxfer.cli.object_options import ObjectOptions, read_customer_key
from cosxfer.errors import CredentialsError
from cosxfer.server import RunningServer, running
from tests.e2e.command import client, flat, run

OPTIONS = {
    "--content-type": "text/x-y",
    "--content-encoding": "gzip",
    "--content-disposition": "attachment",
    "--content-language": "de",
    "--cache-control": "max-age=7",
    "--metadata": "colour=red",
    "--storage-class": "STANDARD_IA",
    "--acl": "public-read",
}
HEADERS = {
    "content-type": "text/x-y",
    "content-encoding": "gzip",
    "content-disposition": "attachment",
    "content-language": "de",
    "cache-control": "max-age=7",
    "x-cos-meta-colour": "red",
    "x-cos-storage-class": "STANDARD_IA",
}
WORDS = [word for pair in OPTIONS.items() for word in pair]
KEY = bytes(range(32))


@pytest.mark.parametrize("command", ["cp", "cp -", "cp -r", "cp copy", "cp -r copy", "sync", "sync copy"])
def test_each_option_sets_its_header(server: RunningServer, tmp_path: Path, command: str) -> None:
    words = command.split()
    folder = f"options-{command.replace(' ', '')}"
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/f").write_bytes(b"content")
    with client(server) as writer:
        writer.put_object(server.bucket, "options/f", b"content", content_type="old", metadata={"old": "x"})
    recursive = ["-r"] if "-r" in words else []
    source = "options" if recursive or words[0] == "sync" else "options/f"
    if "copy" in words:
        place, more = f"cos://{server.bucket}/{source}", [*WORDS, "--replace-metadata"]
    else:
        place, more = str(tmp_path / ("tree/f" if words == ["cp"] else "tree")), WORDS
    target = f"cos://{server.bucket}/{folder}/"
    if command == "cp -":
        place, target = str(tmp_path / "tree/f"), f"{target}f"
    done = run(server, words[0], *recursive, place, target, *more, COS_REGION="ap-guangzhou")
    assert (done.returncode, done.stderr) == (0, "")
    with client(server) as reader:
        found = reader.head_object(server.bucket, f"{folder}/f")
        assert {name: found.headers.get(name) for name in HEADERS} == HEADERS
        assert found.metadata == {"colour": "red"}
        grants = reader.get_object_acl(server.bucket, f"{folder}/f").grants
        assert any("AllUsers" in (grant.uri or "") for grant in grants)


@pytest.mark.parametrize("kind", ["AES256", "cos/kms"])
def test_objects_are_encrypted_by_cos(server: RunningServer, tmp_path: Path, kind: str) -> None:
    (tmp_path / "f").write_bytes(b"content")
    more = ["--sse-kms-key-id", "id"] if kind == "cos/kms" else []
    done = run(server, "cp", tmp_path / "f", f"cos://{server.bucket}/sse/f", "--sse", kind, *more)
    assert done.returncode == 0, done.stderr
    with client(server) as reader:
        headers = reader.head_object(server.bucket, "sse/f").headers
    assert headers["x-cos-server-side-encryption"] == kind
    assert headers.get("x-cos-server-side-encryption-cos-kms-key-id") == ("id" if more else None)


def test_a_key_of_the_user_encrypts_and_reads(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/f").write_bytes(b"content")
    key = tmp_path / "key"
    key.write_bytes(KEY)
    key.chmod(0o600)
    with running(tls=True) as server:
        place = f"cos://{server.bucket}"
        with_key = ("--sse-c-key-file", key)
        access = ("--ca-file", server.ca_file)
        for words in (
            ("cp", tmp_path / "tree/f", f"{place}/one"),
            ("cp", "-r", tmp_path / "tree", f"{place}/tree"),
            ("sync", tmp_path / "tree", f"{place}/synced"),
            ("sync", tmp_path / "tree", f"{place}/synced", "--checksum", "--journal", "none"),
            ("cp", f"{place}/one", tmp_path / "one"),
            ("cp", "-r", f"{place}/tree", tmp_path / "back"),
            ("sync", f"{place}/synced", tmp_path / "down", "--checksum"),
        ):
            done = run(server, *words, *with_key, *access)
            assert (done.returncode, done.stderr) == (0, ""), words
        assert (
            "0 files (0 B) transferred, 1 unchanged"
            in run(server, "sync", f"{place}/synced", tmp_path / "down", *with_key, *access).stdout
        )
        assert run(server, "cp", f"{place}/one", "-", *with_key, *access).stdout == "content"
        assert (tmp_path / "one").read_bytes() == (tmp_path / "back/f").read_bytes() == b"content"
        assert (tmp_path / "down/f").read_bytes() == b"content"
        without = run(server, "cp", f"{place}/one", tmp_path / "never", *access)
        assert (without.returncode, (tmp_path / "never").exists()) == (1, False)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cp", "{file}", "cos://{bucket}/k", "--replace-metadata"], "--replace-metadata is of copies within COS"),
        (["cp", "{file}", "cos://{bucket}/k", "--acl", ""], "--acl is empty; give a value or omit the option"),
        (["cp", "{file}", "cos://{bucket}/k", "--sse", "AES256", "--sse-c-key-file", "x"], "exclude each other"),
        (["cp", "{file}", "cos://{bucket}/k", "--sse-kms-key-id", "x"], "--sse-kms-key-id needs --sse cos/kms"),
        (["cp", "{file}", "cos://{bucket}/k", "--traffic-limit", "fast"], "--traffic-limit is 'fast'; write a whole"),
        (["cp", "{file}", "cos://{bucket}/k", "--traffic-limit", "1"], "--traffic-limit is 1"),
        (["cp", "{file}", "cos://{bucket}/k", "--sse-c-key-file", "{file}"], "has 4 bytes, which are no key"),
        (["cp", "{file}", "cos://{bucket}/k", "--sse-c-key-file", "none"], "cannot read --sse-c-key-file 'none'"),
        (["cp", "cos://{bucket}/k", "{file}", "--content-type", "x"], "--content-type is of new objects"),
        (["sync", "cos://{bucket}/k", ".", "--acl", "private"], "--acl is of new objects; a download makes none"),
        (["cp", "cos://{bucket}/k", "cos://{bucket}/l", "--content-type", "x"], "add --replace-metadata"),
        (["sync", "cos://{bucket}/k", "cos://{bucket}/l", "--meta", "a=b"], "add --replace-metadata"),
        (["cp", "cos://{bucket}/k", "cos://{bucket}/l", "--traffic-limit", "819200"], "--traffic-limit is of uploads"),
        (["sync", ".", "cos://{bucket}/l", "--source-region", "x"], "--source-region is of copies within COS"),
    ],
)
def test_an_option_that_cannot_apply_is_an_error(
    server: RunningServer, tmp_path: Path, arguments: list[str], says: str
) -> None:
    (tmp_path / "f").write_bytes(b"four")
    server.requests(clear=True)
    words = [word.format(file=tmp_path / "f", bucket=server.bucket) for word in arguments]
    done = run(server, *words, COS_REGION="ap-guangzhou")
    assert done.returncode == 2
    assert says in flat(done.stderr)
    assert done.stdout == ""
    assert server.requests() == []


def test_the_key_is_never_shown(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "f").write_bytes(b"content")
    done = run(
        server, "cp", tmp_path / "f", f"cos://{server.bucket}/k", "--sse-c-key-file", tmp_path / "key", "--debug"
    )
    assert "can be read or changed by other users; protect it with chmod 600" in flat(done.stderr)
    assert base64.b64encode(KEY).decode() not in done.stderr + done.stdout


@pytest.mark.parametrize("content", [KEY, KEY + b"\n", base64.b64encode(KEY), base64.b64encode(KEY) + b"\n"])
def test_a_key_file_has_the_bytes_or_their_base64(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    assert read_customer_key(str(tmp_path / "key")) == KEY


@pytest.mark.parametrize("content", [b"", KEY[:31], KEY * 2, base64.b64encode(KEY[:30]), b"\n" * 44])
def test_another_content_is_no_key(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(CredentialsError, match="no key"):
        read_customer_key(str(tmp_path / "key"))


def test_each_option_is_known_to_the_check_of_a_download() -> None:
    for name in vars(ObjectOptions()):
        value = ["a=b"] if name == "meta" else True if name == "replace_metadata" else "x"
        options = ObjectOptions(**{name: value})
        assert options.given() == [f"--{name.replace('_', '-')}"]
