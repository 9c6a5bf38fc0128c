"""The one account of this server."""

from __future__ import annotations

from cosxfer.cos import xml

OWNER_ID = "qcs::cam::uin/100000000001:uin/100000000001"
OWNER: xml.Tree = [("ID", OWNER_ID), ("DisplayName", "100000000001")]
