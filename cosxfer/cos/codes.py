"""COS error codes: their usual status, and whether the same request may succeed later (source: page 436/7730)."""

from __future__ import annotations

from cosxfer.records import dataclass


@dataclass(frozen=True)
class Code:
    """``status`` is the usual one. The COS pages disagree on some, so decisions use the code, not the status."""

    status: int
    retryable: bool = False


CODES: dict[str, Code] = {
    # The body was damaged or truncated on its way.
    "BadDigest": Code(400, retryable=True),
    "EntitySizeNotMatch": Code(400, retryable=True),
    "IncompleteBody": Code(400, retryable=True),
    "RequestTimeout": Code(400, retryable=True),
    "RequestTimeOut": Code(400, retryable=True),
    "UserNetworkTooSlow": Code(400, retryable=True),
    # The request is wrong; a retry cannot help.
    "BadRequest": Code(400),
    "EntityTooLarge": Code(400),
    "EntityTooSmall": Code(400),
    "ExpiredToken": Code(400),
    "InvalidArgument": Code(400),
    "InvalidDigest": Code(400),
    "InvalidObjectName": Code(400),
    "InvalidPart": Code(400),
    "InvalidPartOrder": Code(400),
    "InvalidRequest": Code(400),
    "InvalidSHA1Digest": Code(400),
    "InvalidTag": Code(400),
    "InvalidURI": Code(400),
    "KeyTooLong": Code(400),
    "ListPartUploadIdIsEmpty": Code(400),
    "MalformedXML": Code(400),
    "MetadataTooLarge": Code(400),
    "MissingRequestBodyError": Code(400),
    "NotSupportedStorageClass": Code(400),
    "SSEHeaderNotAllowed": Code(400),
    "SsecDecryptHeaderInvalid": Code(400),
    "XMLSizeLimit": Code(400),
    "PaymentRequired": Code(402),
    "AccessDenied": Code(403),
    "AccessForbidden": Code(403),
    "InvalidAccessKeyId": Code(403),
    "InvalidObjectState": Code(403),
    "PathStyleDomainForbidden": Code(403),
    "RequestTimeTooSkewed": Code(403),
    "SignatureDoesNotMatch": Code(403),
    "NoSuchBucket": Code(404),
    "NoSuchKey": Code(404),
    "NoSuchTagSet": Code(404),
    "NoSuchUpload": Code(404),
    "NoSuchVersion": Code(404),
    "MethodNotAllowed": Code(405),
    "UploadIdNotSupported": Code(405),
    "AppendPositionErr": Code(409),
    "BucketAlreadyExists": Code(409),
    "BucketNotEmpty": Code(409),
    "FileAlreadyExists": Code(409),
    "ObjectLocked": Code(409),
    "ObjectNotAppendable": Code(409),
    "RestoreAlreadyInProgress": Code(409),
    # The same key changed within milliseconds; or an earlier attempt at the part is still running.
    "PathConflict": Code(409, retryable=True),
    "UploadConflict": Code(409, retryable=True),
    "MissingContentLength": Code(411),
    "PreconditionFailed": Code(412),
    "InvalidRange": Code(416),
    "InternalError": Code(500, retryable=True),
    "NotImplemented": Code(501),
    "KmsFreqControl": Code(503, retryable=True),
    "ServiceUnavailable": Code(503, retryable=True),
    "SlowDown": Code(503, retryable=True),
}


def is_retryable(status: int, code: str) -> bool:
    """Whether the same request may succeed later; an unknown code is judged by its status."""
    known = CODES.get(code)
    if known is not None:
        return known.retryable
    return (status >= 500 and status != 501) or status in (408, 429)
