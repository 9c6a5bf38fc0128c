"""The address of the service, which lists the buckets of an account, and of copy sources, which name a region."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote

from cosxfer.address import ObjectAddress
from cosxfer.cos.endpoint import PATH_SAFE, Endpoint, region_of, resolve_endpoint, with_bucket
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten

_SOME_BUCKET = "bucket-1250000000"
_COS = re.compile(
    r"\.(?:cos|cos-internal)\.(?P<region>[a-z\d-]+)\.(?P<domain>myqcloud\.com|tencentcos\.(?:cn|com))\.?$", re.ASCII
)
_DEFAULT_DOMAIN = "myqcloud.com"

ACCELERATE = "accelerate"
"""Stands for a region in the accelerated address, which may not be a copy source."""


@lru_cache(maxsize=64)
def service_endpoint(template: str, *, region: str | None) -> Endpoint:
    """Return the endpoint of the service for the endpoint ``template`` of a client.

    For an address of COS it is ``service.cos.myqcloud.com``, which lists the buckets of all regions. For any other
    template it is the address without the bucket. Raises `UsageError` if the template is the address of one bucket.
    """
    template = with_bucket(template)
    if "{bucket}" not in template:
        raise UsageError(
            f"the endpoint {shorten(template, 160)} has no {{bucket}}, so it reaches one bucket and not the service",
            name="endpoint",
            value=template,
        )
    found = resolve_endpoint(template, bucket=_SOME_BUCKET, region=region or region_of(template) or "ap-guangzhou")
    if of_cos := _COS.search(found.host):
        return _with_host(found, f"service.cos.{of_cos['domain']}", base_path="")
    host = found.host.removeprefix(f"{_SOME_BUCKET}.")
    return _with_host(found, host, base_path=found.base_path.removesuffix(f"/{_SOME_BUCKET}"))


def _with_host(endpoint: Endpoint, host: str, *, base_path: str) -> Endpoint:
    port = endpoint.authority.removeprefix(endpoint.host if ":" not in endpoint.host else f"[{endpoint.host}]")
    bracketed = f"[{host}]" if ":" in host else host
    return Endpoint(
        scheme=endpoint.scheme, host=host, port=endpoint.port, authority=f"{bracketed}{port}", base_path=base_path
    )


def copy_source(source: ObjectAddress, *, version_id: str | None, endpoint: Endpoint, region: str | None) -> str:
    """Return ``x-cos-copy-source``: host and path of the source, and its version (source: product page 436/10881).

    The key is percent-encoded exactly once. ``endpoint`` is that of the source's bucket, ``region`` that of the client.
    """
    of_cos = _COS.search(endpoint.host)
    domain = of_cos["domain"] if of_cos else _DEFAULT_DOMAIN
    named = of_cos["region"] if of_cos else ACCELERATE
    # The accelerated address and other addresses do not say where the source is.
    where = named if named != ACCELERATE else source.region or region
    if not where:
        raise UsageError(
            "the region of the copy source is not known; pass CopySource(…, region=…), or region= to the client",
            name="source",
        )
    host = f"{source.bucket}.cos.{where}.{domain}"
    version = "" if version_id is None else f"?versionId={quote(version_id, safe='-_.~')}"
    return f"{host}/{quote(source.key, safe=PATH_SAFE)}{version}"
