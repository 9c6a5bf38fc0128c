"""How the command reads and shows values."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosxfer.cli.output import printable
from cosxfer.cli.values import (
    meant_as_headers,
    parse_count_or_auto,
    parse_destination,
    parse_output,
    parse_size_or_auto,
    parse_source,
)
from cosxfer.errors import UsageError
from cosxfer.figures import counted, human_bytes, human_rate, human_time


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ümlaut 键", "plain ümlaut 键"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\x9b31m", "\\x9b31m"),
        ("right\u202eleft", "right\\u202eleft"),
        (b"bad\xff".decode("utf-8", "surrogateescape"), "bad\\xff"),
    ],
)
def test_text_that_is_shown_cannot_control_the_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_figures_are_human_readable() -> None:
    assert [human_bytes(n) for n in (0, 1023, 1536, 5 << 40)] == ["0 B", "1023 B", "1.5 KiB", "5.0 TiB"]
    assert [human_rate(n, 2) for n in (0, 1000, 4e6, 3e9)] == ["0.0 kB/s", "0.5 kB/s", "2.0 MB/s", "1.50 GB/s"]
    assert [human_time(n) for n in (0.4, 59.4, 61, 3600, 7265)] == [
        "0 s",
        "59 s",
        "1 min 1 s",
        "1 h 0 min",
        "2 h 1 min",
    ]
    assert [counted(n, "part") for n in (0, 1, 2, 10_000)] == ["0 parts", "1 part", "2 parts", "10,000 parts"]


def test_a_number_of_an_option_may_be_automatic() -> None:
    assert parse_count_or_auto(" auto ", name="--files") == parse_size_or_auto("auto", name="--part-size") == "auto"
    assert (parse_count_or_auto("12", name="--files"), parse_size_or_auto("2MiB", name="--part-size")) == (12, 2 << 20)
    with pytest.raises(UsageError, match="--files is 'four'; write a whole number, or auto"):
        parse_count_or_auto("four", name="--files")
    with pytest.raises(UsageError, match="--part-size is 'big'; write a size such as 8MiB or 8388608, or auto"):
        parse_size_or_auto("big", name="--part-size")


@pytest.mark.parametrize(
    ("text", "file", "key"),
    [
        ("cos://b-1/k", "f", "k"),
        ("cos://b-1", "d/f", "f"),
        ("cos://b-1/p/", "d/f", "p/f"),
        ("COS://b-1/a//b", "f", "a//b"),
    ],
)
def test_the_key_is_the_files_name_if_the_destination_has_none(text: str, file: str, key: str) -> None:
    assert parse_destination(text, Path(file)) == ("b-1", key)


@pytest.mark.parametrize("text", ["./-", ".//-", "-/", "/-", "a/-", "--", "- "])
def test_only_a_single_dash_is_a_stream(text: str) -> None:
    assert parse_source("-") is None
    assert parse_source(text) == Path(text)


def test_a_file_called_dash_has_a_name() -> None:
    assert parse_destination("cos://b-1/p/", Path("./-")) == ("b-1", "p/-")
    with pytest.raises(UsageError, match="standard input has no name"):
        parse_destination("cos://b-1/p/", None)


@pytest.mark.parametrize(
    "name", ["Content-Type", "contenttype", "CACHE-CONTROL", "x-cos-acl", "ACL", "Storage-Class", "Expires", "ETag"]
)
def test_metadata_may_look_like_a_header(name: str) -> None:
    assert meant_as_headers({"colour": "red", name: "x", f"x-cos-meta-{name}": "y"}) == [name]


@pytest.mark.parametrize("end", ["/", "//", "/.", "/./"])
def test_a_slash_after_a_file_name_is_refused(tmp_path: Path, end: str) -> None:
    (tmp_path / "file").touch()
    for parse in (parse_source, parse_output):
        with pytest.raises(UsageError, match="a / at the end names a directory, and that is none"):
            parse(f"{tmp_path}/file{end}")
        assert parse(f"{tmp_path}{end}") == tmp_path
        assert parse(f"{tmp_path}/file.") == tmp_path / "file."
    # A missing source is reported when it is opened.
    assert parse_source(f"{tmp_path}/none{end}") == tmp_path / "none"
    with pytest.raises(UsageError, match="that is none"):
        parse_output(f"{tmp_path}/none{end}")
