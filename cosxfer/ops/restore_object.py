"""POST Object restore: make an archived object readable for some days (source: product page 436/12633)."""

from __future__ import annotations

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.arguments import as_number, check_count, check_text, warn_unknown_value
from cosxfer.bucket_models import RestoreObjectResult
from cosxfer.cos import requests, responses, xml
from cosxfer.cos.requests import CosRequest
from cosxfer.errors import ServerError
from cosxfer.foreign import shorten
from cosxfer.ops.session import Session

TIERS = ("Expedited", "Standard", "Bulk")
MAX_DAYS = 365
IN_PROGRESS = "RestoreAlreadyInProgress"


async def restore_object(
    session: Session, address: ObjectAddress, *, days: int | str, tier: str, version_id: str | None
) -> RestoreObjectResult:
    days = check_count(as_number(days), "days", minimum=1, maximum=MAX_DAYS)
    check_text(tier, "tier", optional=False)
    check_text(version_id, "version_id")
    if tier not in TIERS:
        warn_unknown_value("tier", tier, TIERS)
    body = xml.build("RestoreRequest", [("Days", days), ("CASJobParameters", [("Tier", tier)])])
    request = CosRequest(
        method="POST",
        operation=f"POST Object restore {shorten(address.key)}",
        address=address,
        params={"restore": "", **({} if version_id is None else {"versionId": version_id})},
        headers={"content-type": "application/xml", "content-md5": requests.content_md5(hashing.md5(body))},
        body=body,
        content_length=len(body),
    )
    try:
        response = await session.call(request)
    except ServerError as error:
        # An earlier request is carried out, perhaps an attempt of this call whose response was lost.
        if error.code != IN_PROGRESS:
            raise
        return RestoreObjectResult(
            status_code=error.status, headers=error.headers, request_id=error.request_id, already_in_progress=True
        )
    return RestoreObjectResult(**responses.common(response), already_in_progress=False)
