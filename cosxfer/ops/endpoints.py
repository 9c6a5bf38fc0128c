"""The endpoints of one client: where the bucket of an address is, and whether this client can reach it."""

from __future__ import annotations

from cosxfer.address import ObjectAddress
from cosxfer.config import ClientConfig
from cosxfer.cos.endpoint import Binding, Endpoint, resolve_endpoint
from cosxfer.cos.identifiers import check_key, check_region, object_address
from cosxfer.cos.service import service_endpoint

MOST_KEPT = 64
"""Buckets of which is remembered that they were checked, and endpoints that are kept."""


class Endpoints:
    """Checks addresses and returns endpoints. May be used from any thread."""

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._binding = Binding()
        self._bound: dict[tuple[str, str | None], Endpoint] = {}
        """The endpoints that were bound, by the bucket and the region of the address. What has been bound once stays
        valid."""
        self._checked: set[tuple[str, str | None]] = set()
        """Buckets and regions that were checked since the last one was bound."""

    def address(self, bucket: str, key: str, region: str | None) -> ObjectAddress:
        """Return the checked address of an object; raises `UsageError` if it cannot be one of this client's."""
        known = type(bucket) is str and (region is None or type(region) is str)
        if known and ((bucket, region) in self._checked or (bucket, region) in self._bound):
            return ObjectAddress(bucket, check_key(key), region)
        address = object_address(bucket, key, region)
        self.of(address)
        if known and len(self._checked) < MOST_KEPT:
            self._checked.add((bucket, region))
        return address

    def of(self, address: ObjectAddress, *, bind: bool = False) -> Endpoint:
        """Return the endpoint of the bucket of ``address``.

        Without a bucket it is the endpoint of the service.

        ``bind`` means that it is used now: from then on, an endpoint without ``{bucket}`` serves this bucket alone.
        """
        region = address.region
        if region is None or isinstance(region, str):  # what else is given is refused below
            bound = self._bound.get((address.bucket, region))
            if bound is not None:
                return bound
        if region is not None and region != "":
            check_region(region)
        region = region or self._config.region
        if not address.bucket:
            return service_endpoint(self._config.endpoint, region=region)
        endpoint = resolve_endpoint(self._config.endpoint, bucket=address.bucket, region=region)
        use = self._binding.bind if bind else self._binding.check
        use(self._config.endpoint, endpoint, bucket=address.bucket, region=region)
        if bind:
            self._checked.clear()
            if len(self._bound) < MOST_KEPT:
                self._bound[address.bucket, address.region] = endpoint
        return endpoint
