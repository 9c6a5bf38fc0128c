"""The options that say how new objects are stored: the same for ``cp``, ``mv`` and ``sync``."""

from __future__ import annotations

import base64
import binascii
from hashlib import md5
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, cast

import typer

from cosxfer.cli.groups import options
from cosxfer.cli.values import parse_count, parse_metadata
from cosxfer.errors import UsageError
from cosxfer.records import dataclass

if TYPE_CHECKING:
    from cosxfer.cos.requests import CustomerKey, ObjectHeaders

Direction: TypeAlias = Literal["upload", "download", "copy"]

KEY_BYTES = 32

Text: TypeAlias = str | None


@options("New objects")
@dataclass(frozen=True, kw_only=True)
class ObjectOptions:
    """How new objects are stored."""

    content_type: Annotated[
        Text, typer.Option(help="Content-Type. Default: by the extension of the key.", metavar="TYPE")
    ] = None
    content_encoding: Annotated[Text, typer.Option(help="Content-Encoding, such as gzip.", metavar="TEXT")] = None
    content_disposition: Annotated[Text, typer.Option(help="Content-Disposition.", metavar="TEXT")] = None
    content_language: Annotated[Text, typer.Option(help="Content-Language.", metavar="TEXT")] = None
    cache_control: Annotated[Text, typer.Option(help="Cache-Control, such as max-age=3600.", metavar="TEXT")] = None
    meta: Annotated[
        list[str] | None,
        typer.Option(
            "--meta",
            "--metadata",
            help="Set the metadata x-cos-meta-K to V. It sets no header. May be repeated.",
            metavar="K=V",
            show_default=False,
        ),
    ] = None
    acl: Annotated[
        Text, typer.Option(help="Rights: default, private, public-read or authenticated-read.", metavar="ACL")
    ] = None
    storage_class: Annotated[Text, typer.Option(help="STANDARD, STANDARD_IA, ARCHIVE, …", metavar="CLASS")] = None
    sse: Annotated[
        Text,
        typer.Option(help="Encryption by COS: AES256 (SSE-COS) or cos/kms (SSE-KMS).", metavar="KIND"),
    ] = None
    sse_kms_key_id: Annotated[
        Text, typer.Option(help="With --sse cos/kms: the key. Default: that of COS.", metavar="ID")
    ] = None
    sse_context: Annotated[
        Text, typer.Option(help="With --sse cos/kms: the context, JSON in base64.", metavar="TEXT")
    ] = None
    sse_c_key_file: Annotated[
        Text,
        typer.Option(
            help="File with a key of yours, 32 bytes or their base64. It encrypts new objects, and reads them (SSE-C). "
            "Protect it (chmod 600).",
            metavar="FILE",
        ),
    ] = None
    traffic_limit: Annotated[
        Text, typer.Option(help="Bit/s of each request that uploads, 819200 to 838860800.", metavar="N")
    ] = None
    replace_metadata: Annotated[
        bool,
        typer.Option(
            "--replace-metadata",
            help="In a copy within COS: store the given metadata and content headers instead of all of the source's.",
        ),
    ] = False

    def given(self) -> list[str]:
        """Return the names of the options that are given."""
        return [option_name(name) for name, value in vars(self).items() if value not in (None, [], False)]

    def check(self, direction: Direction) -> None:
        """Raise `UsageError` for an option that cannot apply in this direction."""
        given = self.given()
        for name, value in vars(self).items():
            if value == "":
                raise UsageError(
                    f"{option_name(name)} is empty; give a value or omit the option", name=option_name(name), value=""
                )
        if direction == "download":
            for name in given:
                if name != "--sse-c-key-file":
                    raise UsageError(f"{name} is of new objects; a download makes none. Leave it out", name=name)
        elif direction == "copy":
            if "--traffic-limit" in given:
                raise UsageError(
                    "--traffic-limit is of uploads; a copy within COS sends no bytes from here. Leave it out",
                    name="--traffic-limit",
                )
            for name in _DESCRIBING:
                if name in given and not self.replace_metadata:
                    raise UsageError(
                        f"{name} describes the content, and a copy keeps all metadata and content headers of its "
                        "source; add --replace-metadata to store only those that are given",
                        name=name,
                    )
        elif self.replace_metadata:
            raise UsageError(
                "--replace-metadata is of copies within COS; an upload has no other metadata. Leave it out",
                name="--replace-metadata",
            )
        if self.sse and self.sse_c_key_file:
            raise UsageError("--sse and --sse-c-key-file exclude each other; give one", name="--sse")
        for name in ("--sse-kms-key-id", "--sse-context"):
            if name in given and self.sse != "cos/kms":
                raise UsageError(f"{name} needs --sse cos/kms", name=name)

    def headers(self, direction: Direction) -> ObjectHeaders:
        """Return the parameters of the library. For a download that is the key. Reads its file. Raises `UsageError`."""
        self.check(direction)
        headers: ObjectHeaders = {
            "content_type": self.content_type,
            "content_encoding": self.content_encoding,
            "content_disposition": self.content_disposition,
            "cache_control": self.cache_control,
            "acl": self.acl,
            "storage_class": self.storage_class,
            "server_side_encryption": self.sse,
            "sse_kms_key_id": self.sse_kms_key_id,
            "sse_context": self.sse_context,
        }
        headers = cast("ObjectHeaders", {name: value for name, value in headers.items() if value is not None})
        if self.content_language is not None:
            headers["headers"] = {"content-language": self.content_language}
        if self.meta:
            headers["metadata"] = parse_metadata(self.meta)
        if self.traffic_limit is not None:
            headers["traffic_limit"] = parse_count(self.traffic_limit, name="--traffic-limit")
        headers.update(cast("ObjectHeaders", self.customer_key()))
        return headers

    @property
    def directive(self) -> str | None:
        """The metadata directive of a copy."""
        return "Replaced" if self.replace_metadata else None

    def customer_key(self) -> CustomerKey:
        """Return the parameters of the key in ``--sse-c-key-file``; none without it."""
        if self.sse_c_key_file is None:
            return {}
        key = read_customer_key(self.sse_c_key_file)
        return {
            "sse_customer_algorithm": "AES256",
            "sse_customer_key": base64.b64encode(key).decode(),
            "sse_customer_key_md5": base64.b64encode(md5(key, usedforsecurity=False).digest()).decode(),
        }


_DESCRIBING = (
    "--content-type",
    "--content-encoding",
    "--content-disposition",
    "--content-language",
    "--cache-control",
    "--meta",
)


def option_name(field: str) -> str:
    """Return the option of a field."""
    return f"--{field.replace('_', '-')}"


def option_of_header(name: str) -> str | None:
    """Return the option that sets a header such as ``Content-Type`` or ``x-cos-acl``; None if there is none."""
    plain = name.lower().removeprefix("x-cos-").replace("-", "")
    return next(
        (option_name(field) for field in vars(OBJECT_OPTIONS) if field.replace("_", "") == plain and field != "meta"),
        None,
    )


def read_customer_key(path: str) -> bytes:
    """Return the key in a file: 32 bytes, or their base64. One line end may follow. Raises `CredentialsError`."""
    from cosxfer.cli.secret_files import read_key_file
    from cosxfer.errors import CredentialsError

    content = read_key_file(path, name="--sse-c-key-file")
    for text in (content, content.removesuffix(b"\n").removesuffix(b"\r")):
        if len(text) == KEY_BYTES:
            return text
    try:
        key = base64.b64decode(content.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise CredentialsError(
            f"--sse-c-key-file has {len(content)} bytes, which are no key; it must hold 32 bytes, or their base64 "
            "(44 characters)"
        )
    return key


OBJECT_OPTIONS = ObjectOptions()
"""The defaults."""
