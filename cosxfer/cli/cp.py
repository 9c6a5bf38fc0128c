"""``cosxfer cp``: one file into COS."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import typer

from cosxfer.cli.failures import FAILED
from cosxfer.cli.progress import display
from cosxfer.cli.values import human_bytes, human_rate
from cosxfer.client import Client
from cosxfer.config import HttpVersion
from cosxfer.cos.requests import ObjectHeaders
from cosxfer.models import UploadResult


@dataclass(frozen=True, kw_only=True)
class CopyOptions:
    """What was asked for; None leaves a choice to the client."""

    file: Path
    bucket: str
    key: str
    endpoint: str | None
    region: str | None
    part_size: int | None
    concurrency: int
    storage_class: str | None
    metadata: dict[str, str]
    http_version: HttpVersion
    ca_file: Path | None
    anonymous: bool
    as_json: bool


def run(options: CopyOptions) -> None:
    """Upload and print the outcome; exits with 1 where the object is there but could not be verified."""
    given = ObjectHeaders()
    if options.storage_class is not None:
        given["storage_class"] = options.storage_class
    if options.metadata:
        given["metadata"] = options.metadata
    with (
        Client(
            endpoint=options.endpoint,
            region=options.region,
            concurrency=options.concurrency,
            http_version=options.http_version,
            verify=True if options.ca_file is None else str(options.ca_file),
            anonymous=options.anonymous,
        ) as client,
        display(activities=("hashing", "sending")) as shown,
    ):
        result = client.upload_file(
            options.bucket,
            options.key,
            options.file,
            part_size=options.part_size,
            on_hash_progress=lambda progress: shown.update("hashing", progress),
            on_progress=lambda progress: shown.update("sending", progress),
            **given,
        )
    typer.echo(json.dumps(as_json(result)) if options.as_json else summary(result))
    if not result.verified:
        typer.echo(
            "cosxfer: the object could not be verified: the server sent no CRC64, and an ETag that is not the file's "
            "MD5 (which that of an encrypted object need not be)",
            err=True,
        )
        raise typer.Exit(FAILED)


def as_json(result: UploadResult) -> dict[str, object]:
    """The object that ``--json`` prints: sizes in bytes, times in seconds, the CRC64 as a decimal string."""
    return {
        "bucket": result.bucket,
        "key": result.key,
        "bytes": result.size,
        "seconds": round(result.seconds, 6),
        "bytes_per_second": round(result.size / result.seconds, 1) if result.seconds else 0.0,
        "hash_seconds": round(result.hash_seconds, 6),
        "send_seconds": round(result.send_seconds, 6),
        "parts": result.parts,
        "part_size_bytes": result.part_size_bytes,
        "retries": result.retries,
        "http_version": result.http_version,
        "etag": result.etag,
        # A JSON number of 64 bits is rounded by many readers.
        "crc64": None if result.crc64 is None else str(result.crc64),
        "verified": result.verified,
        "verified_by": result.verified_by,
        "upload_id": result.upload_id,
        "version_id": result.version_id,
        "request_id": result.request_id,
        "location": result.location,
    }


def summary(result: UploadResult) -> str:
    """The outcome for people."""
    parts = "one request" if not result.upload_id else f"{result.parts} parts of {human_bytes(result.part_size_bytes)}"
    proof = {"crc64": f"verified by CRC64 {result.crc64}", "etag": "verified by the MD5 of each part"}
    return (
        f"{human_bytes(result.size)} to cos://{result.bucket}/{result.key} in {result.seconds:.2f} s "
        f"({human_rate(result.size, result.seconds)}), {parts}, {result.http_version}, "
        f"{proof.get(result.verified_by, 'NOT verified')}"
    )
