"""Access control lists of objects, as a client sees them. The server has one account, so it enforces none."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element

from cosxfer.cos import xml
from cosxfer.server.http import CosError
from cosxfer.server.owner import OWNER, OWNER_ID

ACL = "x-cos-acl"
GRANTS = "x-cos-acl-grants"
"""The name under which explicit grants are stored with an object, as JSON."""

MAX_GRANTS = 100

_ALL_USERS = "http://cam.qcloud.com/groups/global/AllUsers"
_ALL_ACCOUNTS = "http://cam.qcloud.com/groups/global/AuthenticatedUsers"
_CANNED: dict[str, list[tuple[str, str]]] = {
    "default": [],
    "private": [],
    "public-read": [(_ALL_USERS, "READ")],
    "public-read-write": [(_ALL_USERS, "READ"), (_ALL_USERS, "WRITE")],
    "authenticated-read": [(_ALL_ACCOUNTS, "READ")],
}
_BY_HEADER = {
    "x-cos-grant-read": "READ",
    "x-cos-grant-read-acp": "READ_ACP",
    "x-cos-grant-write-acp": "WRITE_ACP",
    "x-cos-grant-full-control": "FULL_CONTROL",
}
_PERMISSIONS = {"READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"}
_GRANTEE = re.compile(r'\s*id\s*=\s*"([^"]{1,200})"\s*', re.ASCII)


def given(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what to store for the ACL in the headers of a request; empty without one. Raises InvalidArgument."""
    grants = [
        (_grantee(one), permission)
        for name, permission in _BY_HEADER.items()
        for one in headers.get(name, "").split(",")
        if name in headers
    ]
    canned = headers.get(ACL)
    if canned is not None and canned not in _CANNED:
        raise CosError("InvalidArgument", f"{ACL} can be {', '.join(_CANNED)}.")
    if grants:
        return {GRANTS: _stored([*_CANNED[canned or "default"], *grants])}
    return {} if canned is None else {ACL: canned}


def parsed(root: Element) -> dict[str, str]:
    """Return what to store for the document AccessControlPolicy. Raises MalformedXML."""
    grants = []
    for grant in root.findall("AccessControlList/Grant"):
        grantee = grant.find("Grantee")
        who = "" if grantee is None else (xml.text_of(grantee, "ID") or xml.text_of(grantee, "URI")).strip()
        permission = xml.text_of(grant, "Permission").strip()
        if not who or permission not in _PERMISSIONS:
            raise CosError("MalformedXML", "A Grant needs a Grantee with ID or URI, and a Permission.")
        grants.append((who, permission))
    return {GRANTS: _stored(grants)}


def document(kept: Mapping[str, str]) -> xml.Tree:
    """Return the content of AccessControlPolicy for an object with these stored headers."""
    if GRANTS in kept:
        grants = [(str(who), str(permission)) for who, permission in json.loads(kept[GRANTS])]
    else:
        grants = [(OWNER_ID, "FULL_CONTROL"), *_CANNED[kept.get(ACL, "default")]]
    return [("Owner", OWNER), ("AccessControlList", [("Grant", _grant(*grant)) for grant in grants])]


def _grant(who: str, permission: str) -> xml.Tree:
    is_group = who.startswith("http")
    name = 'Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="{}"'
    grantee: tuple[str, xml.Tree] = (
        name.format("Group" if is_group else "CanonicalUser"),
        [("URI", who)] if is_group else [("ID", who), ("DisplayName", who.rpartition("/")[2])],
    )
    return [grantee, ("Permission", permission)]


def _grantee(text: str) -> str:
    found = _GRANTEE.fullmatch(text)
    if found is None:
        raise CosError("InvalidArgument", 'A grant has the form id="OwnerUin", several separated by commas.')
    name = found[1]
    return name if "/" in name else f"qcs::cam::uin/{name}:uin/{name}"


def _stored(grants: list[tuple[str, str]]) -> str:
    if len(grants) > MAX_GRANTS:
        raise CosError("InvalidArgument", f"An object has at most {MAX_GRANTS} grants.")
    return json.dumps(grants)
