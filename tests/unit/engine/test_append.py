"""What an append asks the object, where its answer was lost."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.unit.fake_cos import BUCKET, FakeCos, lose_answer

KEY = {"sse_customer_algorithm": "AES256", "sse_customer_key": "a2V5", "sse_customer_key_md5": "bWQ1"}
SSE = "x-cos-server-side-encryption-customer"
HEADERS = {f"{SSE}-algorithm": "AES256", f"{SSE}-key": "a2V5", f"{SSE}-key-md5": "bWQ1"}


def appended(cos: FakeCos, **given: Any) -> None:
    async def main() -> None:
        async with cos.client() as client:
            await client.append_object(BUCKET, "log", b"one", position=0, **given)
            cos.fault("append_object", lose_answer)
            result = await client.append_object(BUCKET, "log", b" two", position=3, **given)
            assert result.next_append_position == 7

    asyncio.run(main())


def test_the_object_is_asked_with_its_customers_key(cos: FakeCos) -> None:
    for given in (KEY, {"headers": HEADERS}):
        cos.objects.clear()
        cos.calls.clear()
        appended(cos, **given)
        assert cos.operations() == ["append_object", "append_object", "head_object", "get_object"]
        for call in cos.calls:
            assert {name: value for name, value in call.request.headers.items() if name.startswith(SSE)} == HEADERS
        assert cos.objects["log"].content == b"one two"


def test_the_object_is_asked_without_a_key_where_there_is_none(cos: FakeCos) -> None:
    appended(cos, metadata={"a": "b"}, traffic_limit=819_200)
    for call in cos.calls[2:]:
        assert not any(name.startswith(SSE) or "meta" in name or "limit" in name for name in call.request.headers)
