"""The rows of the parameter table: the expected effect of each parameter of each operation."""

from __future__ import annotations

from base64 import b64encode
from hashlib import md5

import cosxfer
from cosxfer.cos import xml
from cosxfer.limits import MIB
from tests.functional.table import (
    ADDRESSED,
    DESCRIPTION,
    KEY,
    OUTCOME,
    OWNERSHIP,
    OWNERSHIP_ACP,
    VERSION,
    Exchange,
    Row,
    header,
    progress,
    query,
    result,
    server_error,
    truth,
)
from tests.functional.table_calls import BODY, LARGE, SMALL

IDENTITY = "qcs::cam::uin/100000000001:uin/100000000001"
LOCATION = "folder/table%201.txt"


def nested(root: str, rows: dict[str, Row]) -> dict[str, Row]:
    return {f"{root}{name}": row for name, row in rows.items()}


def parts(x: Exchange, key: str) -> list[int]:
    """Lengths of the parts of ``key`` as received, in order of their numbers."""
    sent = [r for r in x.all_seen if r.path.endswith(key) and "partNumber" in r.query]
    return [len(r.body) for r in sorted(sent, key=lambda r: int(r.query["partNumber"]))]


def connections(x: Exchange, key: str) -> int:
    """The number of connections that carried the parts of ``key``."""
    return len({r.connection for r in x.all_seen if r.path.endswith(key) and "partNumber" in r.query})


TASK_READY: dict[str, Row] = {
    "onTaskReady": lambda x: (len(x.told["on_task_ready"]), 1),
    "onTaskReady/taskId": truth(lambda x: isinstance(x.told["on_task_ready"][0], str)),
}

BODY_ROWS: dict[str, Row] = {
    "Body": lambda x: (x.seen.body, BODY),
    "ContentLength": header("content-length", str(len(BODY))),
    "Expect": header("expect", "100-continue"),
}


def who(path: str, field: str) -> dict[str, Row]:
    """Initiator and owner of an upload."""
    rows: dict[str, Row] = {}
    for name in ("Initiator", "Owner"):
        record = f"{field}{name.lower()}"
        rows[f"{path}/{name}"] = result(record, cosxfer.Identity(id=IDENTITY, display_name="100000000001"))
        rows[f"{path}/{name}/DisplayName"] = result(f"{record}.display_name", "100000000001")
        rows[f"{path}/{name}/ID"] = result(f"{record}.id", IDENTITY)
    return rows


def completed(x: Exchange) -> list[tuple[int, str]]:
    """Number and ETag of each part that Complete listed."""
    root = xml.parse(x.seen.body, root="CompleteMultipartUpload")
    return [(xml.int_of(part, "PartNumber"), xml.text_of(part, "ETag")) for part in root.findall("Part")]


UPLOADED: dict[str, Row] = {
    "data/Location": result("location", lambda x: f"{x.seen.headers['host']}/{x.bucket}/{LOCATION}"),
    "data/Bucket": result("bucket", lambda x: x.bucket),
    "data/Key": result("key", KEY),
    "data/VersionId": result("version_id", VERSION),
}

ROWS: dict[str, dict[str, Row]] = {
    "putObject": {
        **ADDRESSED,
        **BODY_ROWS,
        **DESCRIPTION,
        **OWNERSHIP,
        **OWNERSHIP_ACP,
        **TASK_READY,
        **nested("onProgress", progress("on_progress", len(BODY))),
        **OUTCOME,
        "data/ETag": result("etag", f'"{md5(BODY).hexdigest()}"'),
        "data/Location": UPLOADED["data/Location"],
        "data/VersionId": UPLOADED["data/VersionId"],
    },
    "appendObject": {
        **ADDRESSED,
        **BODY_ROWS,
        **DESCRIPTION,
        **OWNERSHIP,
        **OWNERSHIP_ACP,
        "Position": lambda x: ((x.seen.query["position"], x.result.next_append_position), ("5", 5 + len(BODY))),
        **OUTCOME,
        "data/RequestId": result("request_id", lambda x: x.result.headers["x-cos-request-id"]),
    },
    "multipartList": {
        "Bucket": lambda x: (x.seen.path, f"/{x.bucket}/"),
        "Region": ADDRESSED["Region"],
        "Prefix": query("prefix", "a"),
        "Delimiter": query("delimiter", "/"),
        "encodingType": query("encoding-type", "url"),
        "encodingType/MaxUploads": query("max-uploads", "2"),
        "KeyMarker": query("key-marker", "a"),
        "UploadIdMarker": query("upload-id-marker", "0"),
        **OUTCOME,
        "data/Bucket": result("bucket", lambda x: x.bucket),
        "data/Encoding-Type": result("encoding_type", "url"),
        "data/KeyMarker": result("key_marker", "a"),
        "data/UploadIdMarker": result("upload_id_marker", "0"),
        "data/NextKeyMarker": result("next_key_marker", "a+1"),
        "data/NextUploadIdMarker": result("next_upload_id_marker", lambda x: x.result.uploads[0].upload_id),
        "data/MaxUploads": result("max_uploads", 2),
        "data/IsTruncated": result("is_truncated", True),
        "data/Prefix": result("prefix", "a"),
        "data/Delimiter": result("delimiter", "/"),
        "data/CommonPrefixes": truth(lambda x: len(x.result.common_prefixes) == 1),
        "data/CommonPrefixes/Prefix": result("common_prefixes.0", "a b/"),
        "data/Upload": truth(lambda x: len(x.result.uploads) == 1),
        "data/Upload/Key": result("uploads.0.key", "a+1"),
        "data/Upload/UploadId": truth(lambda x: len(x.result.uploads[0].upload_id) > 10),
        "data/Upload/StorageClass": result("uploads.0.storage_class", "STANDARD_IA"),
        **who("data/Upload", "uploads.0."),
        "data/Upload/Initiated": truth(lambda x: x.result.uploads[0].initiated.endswith("Z")),
    },
    "multipartInit": {
        **ADDRESSED,
        **DESCRIPTION,
        **OWNERSHIP,
        **OUTCOME,
        "data/Bucket": result("bucket", lambda x: x.bucket),
        "data/Key": result("key", KEY),
        "data/UploadId": truth(lambda x: len(x.result.upload_id) > 10),
    },
    "multipartUpload": {
        **ADDRESSED,
        **BODY_ROWS,
        "PartNumber": query("partNumber", "7"),
        "UploadId": lambda x: (x.seen.query["uploadId"], x.extra),
        "ContentMD5": header("content-md5", b64encode(md5(BODY).digest()).decode()),
        **OUTCOME,
    },
    "multipartListPart": {
        **ADDRESSED,
        "UploadId": lambda x: (x.seen.query["uploadId"], x.extra),
        "EncodingType": query("encoding-type", "url"),
        "max-parts": query("max-parts", "1"),
        "PartNumberMarker": query("part-number-marker", "1"),
        **OUTCOME,
        "data/Bucket": result("bucket", lambda x: x.bucket),
        "data/Encoding-type": result("encoding_type", "url"),
        "data/Key": result("key", KEY),
        "data/UploadId": result("upload_id", lambda x: x.extra),
        **who("data", ""),
        "data/StorageClass": result("storage_class", "STANDARD_IA"),
        "data/PartNumberMarker": result("part_number_marker", 1),
        "data/NextPartNumberMarker": result("next_part_number_marker", 2),
        "data/MaxParts": result("max_parts", 1),
        "data/IsTruncated": result("is_truncated", True),
        "data/Part": truth(lambda x: len(x.result.parts) == 1),
        "data/Part/PartNumber": result("parts.0.part_number", 2),
        "data/Part/LastModified": truth(lambda x: x.result.parts[0].last_modified.endswith("Z")),
        "data/Part/ETag": result("parts.0.etag", f'"{md5(bytes(MIB + 1)).hexdigest()}"'),
        "data/Part/Size": result("parts.0.size", MIB + 1),
    },
    "multipartComplete": {
        **ADDRESSED,
        "UploadId": lambda x: (x.seen.query["uploadId"], x.extra),
        "Parts": lambda x: (len(completed(x)), 3),
        "Parts/PartNumber": lambda x: ([number for number, _ in completed(x)], [1, 2, 3]),
        "Parts/ETag": lambda x: (completed(x)[2][1], f'"{md5(bytes(5)).hexdigest()}"'),
        **OUTCOME,
        "data/Location": truth(lambda x: x.result.location.endswith(LOCATION)),
        "data/Bucket": result("bucket", lambda x: x.bucket),
        "data/Key": result("key", KEY),
        "data/ETag": truth(lambda x: x.result.etag.endswith('-3"')),
    },
    "multipartAbort": {
        **ADDRESSED,
        "UploadId": lambda x: (x.seen.query["uploadId"], x.extra),
        **OUTCOME,
        "data/statusCode": result("status_code", 204),
    },
    "uploadFile": {
        **ADDRESSED,
        **DESCRIPTION,
        **TASK_READY,
        **OUTCOME,
        **UPLOADED,
        "FilePath": lambda x: (len(x.seen.body), SMALL),
        "SliceSize": lambda x: ((x.result.parts, x.result.upload_id, x.extra.parts), (1, "", 4)),
        "AsyncLimit": lambda x: (connections(x, "folder/large"), 1),
        "StorageClass": OWNERSHIP["StorageClass"],
        "UploadAddMetaMd5": lambda x: (x.seen.headers["x-cos-meta-md5"], md5(x.seen.body).hexdigest()),
        "ContentLength": header("content-length", str(SMALL)),
        "Expect": BODY_ROWS["Expect"],
        **nested("onProgress", progress("on_progress", SMALL)),
        "onFileFinish": lambda x: (len(x.told["on_file_finish"]), 1),
        "onFileFinish/err": lambda x: (x.told["on_file_finish"][0][0], None),
        "onFileFinish/data": lambda x: (x.told["on_file_finish"][0][1], x.result),
        "onFileFinish/options": lambda x: (x.told["on_file_finish"][0][2]["key"], KEY),
        # Both for a single PUT, for which the SDK omits bucket and key, and for an upload in parts:
        "data/Bucket": lambda x: ((x.result.bucket, x.extra.bucket), (x.bucket, x.bucket)),
        "data/Key": lambda x: ((x.result.key, x.extra.key), (KEY, "folder/large")),
        "data/ETag": truth(lambda x: x.extra.etag.endswith('-4"') and x.result.etag.startswith('"')),
    },
    "sliceUploadFile": {
        **ADDRESSED,
        **DESCRIPTION,
        **TASK_READY,
        **OUTCOME,
        **UPLOADED,
        "FilePath": lambda x: (sum(parts(x, KEY)), LARGE),
        "SliceSize": lambda x: (parts(x, KEY), [MIB, MIB, MIB, 5]),
        "AsyncLimit": lambda x: (connections(x, "folder/serial"), 1),
        "StorageClass": OWNERSHIP["StorageClass"],
        "ContentLength": truth(lambda x: x.result.size == LARGE),
        "Expect": lambda x: (
            {r.headers.get("expect") for r in x.all_seen if r.path.endswith(KEY) and "partNumber" in r.query},
            {"100-continue"},
        ),
        **nested("onHashProgress", progress("on_hash_progress", LARGE)),
        **nested("onProgress", progress("on_progress", LARGE)),
        "data/ETag": truth(lambda x: x.result.etag.endswith('-4"')),
    },
    "uploadFiles": {
        "files": lambda x: (len(x.result), 2),
        **nested("files/", ADDRESSED),
        **nested("files/", DESCRIPTION),
        **nested("files/", TASK_READY),
        "files/FilePath": lambda x: (len(x.seen.body), SMALL),
        "files/ContentLength": header("content-length", str(SMALL)),
        "files/Expect": BODY_ROWS["Expect"],
        "SliceSize": lambda x: ([outcome.result.parts for outcome in x.result], [1, 4]),
        **nested("onProgress", progress("on_progress", SMALL + LARGE)),
        "onFileFinish": lambda x: (len(x.told["on_file_finish"]), 2),
        "onFileFinish/err": lambda x: ({told[0] for told in x.told["on_file_finish"]}, {None}),
        "onFileFinish/data": lambda x: (
            {told[1].key for told in x.told["on_file_finish"]},
            {KEY, "folder/large"},
        ),
        "onFileFinish/options": truth(lambda x: all(told[2] in x.extra for told in x.told["on_file_finish"])),
        "err": OUTCOME["err"],
        "err/statusCode": OUTCOME["err/statusCode"],
        "err/headers": truth(lambda x: server_error(x.error).headers["x-cos-request-id"]),
        "data": OUTCOME["data"],
        "data/files": lambda x: (len(x.result), 2),
        "data/files/error": lambda x: ([outcome.error for outcome in x.result], [None, None]),
        "data/files/data": lambda x: ([outcome.result.key for outcome in x.result], [KEY, "folder/large"]),
        "data/files/options": lambda x: ([outcome.options for outcome in x.result], x.extra),
    },
    "cancelTask": {"taskId": lambda x: (x.result["cancel"], (True, "canceled"))},
    "pauseTask": {"taskId": lambda x: (x.result["pause"], (True, "paused"))},
    "restartTask": {"taskId": lambda x: (x.result["restart"], (True, True))},
}
