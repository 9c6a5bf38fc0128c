"""If COS does not answer at a bucket's first name, the last attempt goes to the second one."""

from __future__ import annotations

import asyncio
import logging
import ssl
import types
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import cosxfer
from cosxfer.cos.endpoint import other_host, resolve_endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.cos.sign import parse_authorization
from cosxfer.errors import ConnectError, TransportError, TransportTimeoutError
from cosxfer.limits import MIB
from cosxfer.ops.other_host import SWITCHED_SECONDS
from tests.unit.fake_cos import BUCKET, REGION, FakeCos, error

FIRST = f"{BUCKET}.cos.{REGION}.myqcloud.com"
SECOND = f"{BUCKET}.cos.{REGION}.tencentcos.cn"


def no_name(request: HttpRequest) -> HttpResponse:
    raise ConnectError("the name cannot be resolved", url=request.url)


def silence(request: HttpRequest) -> HttpResponse:
    raise TransportTimeoutError("silent", url=request.url)


def by_gateway(status: int) -> Callable[[HttpRequest], HttpResponse]:
    return lambda request: HttpResponse(status=status, headers={}, body=b"<html>")


def by_cos(status: int) -> Callable[[HttpRequest], HttpResponse]:
    return lambda request: error(status, "InternalError", headers={"x-cos-request-id": "id"})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr("cosxfer.ops.other_host.time", types.SimpleNamespace(monotonic=lambda: clock.now))
    return clock


class Names:
    """A COS of which some names do not work."""

    def __init__(self, **down: Callable[[HttpRequest], HttpResponse]) -> None:
        self.cos = FakeCos()
        self.down = {FIRST if name == "first" else SECOND: how for name, how in down.items()}
        self.hosts: list[str] = []
        for operation in ("put_object", "head_object", "multipart_upload", "multipart_init", "multipart_complete"):
            self.cos.fault(operation, self._do, times=10_000)

    def _do(self, request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        host = request.endpoint.host
        assert request.headers["host"] == request.endpoint.authority == host
        self.hosts.append(host)
        how = self.down.get(host)
        return proceed() if how is None else how(request)

    def put(self, times: int = 1, **settings: object) -> None:
        async def main() -> None:
            async with self.cos.client(**settings) as client:
                for _ in range(times):
                    await client.put_object(BUCKET, "k", b"content")

        asyncio.run(main())


@pytest.mark.parametrize("how", [no_name, silence, by_gateway(502), by_gateway(503), by_gateway(429)])
def test_the_last_attempt_goes_to_the_second_name_and_is_signed_for_it(
    how: Callable[[HttpRequest], HttpResponse],
) -> None:
    names = Names(first=how)
    names.put(max_attempts=4)
    assert names.hosts == [FIRST] * 3 + [SECOND]
    last = names.cos.calls[-1].request
    signed = parse_authorization(last.headers["authorization"])
    assert signed is not None
    assert "host" in signed.header_list
    assert last.endpoint.scheme == "https"
    assert last.url.startswith(f"https://{SECOND}/")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_that_is_not_of_cos_switches_at_once(status: int, waits: list[float]) -> None:
    names = Names(first=by_gateway(status))
    names.put()
    assert names.hosts == [FIRST, SECOND]
    assert not waits


def test_a_redirect_at_both_names_is_an_error() -> None:
    names = Names(first=by_gateway(302), second=by_gateway(302))
    with pytest.raises(cosxfer.ServerError) as caught:
        names.put()
    assert names.hosts == [FIRST, SECOND]
    assert f"the last attempt went to {SECOND}:443" in caught.value.__notes__


def test_a_redirect_of_cos_itself_is_an_error() -> None:
    names = Names(first=lambda request: HttpResponse(status=301, headers={"x-cos-request-id": "id"}))
    with pytest.raises(cosxfer.ServerError):
        names.put()
    assert names.hosts == [FIRST]


@pytest.mark.parametrize("how", [by_cos(500), by_gateway(403), by_gateway(404)])
def test_an_answer_of_cos_and_a_final_error_do_not_switch(how: Callable[[HttpRequest], HttpResponse]) -> None:
    names = Names(first=how)
    with pytest.raises(cosxfer.ServerError):
        names.put()
    assert set(names.hosts) == {FIRST}


def test_a_certificate_that_is_not_trusted_does_not_switch() -> None:
    def untrusted(request: HttpRequest) -> HttpResponse:
        raise ConnectError("the certificate is not trusted", permanent=True)

    names = Names(first=untrusted)
    with pytest.raises(ConnectError):
        names.put()
    assert names.hosts == [FIRST]


def test_if_both_names_fail_the_error_names_the_second(caplog: pytest.LogCaptureFixture) -> None:
    names = Names(first=silence, second=silence)
    with pytest.raises(TransportError) as caught:
        names.put(max_attempts=3)
    assert names.hosts == [FIRST, FIRST, SECOND]
    assert caught.value.__notes__ == [f"the last attempt went to {SECOND}:443", "sent 3 times"]


def unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    return context


@pytest.mark.parametrize(
    "settings",
    [
        {"switch_host": False},
        {"anonymous": True, "secret_id": None, "secret_key": None},
        {"verify": False},
        {"verify": unchecked()},
        {"max_attempts": 1},
        {"endpoint": "http://{bucket}.cos.{region}.myqcloud.com"},
        {"endpoint": "https://{bucket}.cos.{region}.myqcloud.com:8443"},
        {"endpoint": "https://{bucket}.cos.accelerate.myqcloud.com"},
        {"endpoint": "https://{bucket}.cos-internal.{region}.myqcloud.com"},
        {"endpoint": "https://{bucket}.cos.{region}.tencentcos.cn"},
        {"endpoint": "https://files.example.com"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_nothing_else_is_switched(settings: dict[str, object]) -> None:
    hosts: list[str] = []
    names = Names()

    def down(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        hosts.append(request.endpoint.host)
        raise TransportError("down")

    names.cos.faults.clear()
    names.cos.fault("put_object", down, times=99)
    with pytest.raises(TransportError):
        names.put(**settings)
    assert len(set(hosts)) == 1


@pytest.mark.parametrize(
    ("no_proxy", "switches"),
    [
        ("", True),
        ("*", True),
        (".myqcloud.com", False),
        (".tencentcos.cn", False),
        (".myqcloud.com,.tencentcos.cn", True),
    ],
)
def test_both_names_must_have_the_same_proxy(monkeypatch: pytest.MonkeyPatch, no_proxy: str, switches: bool) -> None:
    for name in ("all_proxy", "ALL_PROXY", "NO_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", no_proxy)
    names = Names(first=silence, second=silence)
    with pytest.raises(TransportError):
        names.put()
    assert (SECOND in names.hosts) is switches


def test_a_body_that_was_read_is_not_sent_to_the_second_name() -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield b"content"

    names = Names(first=by_gateway(302))

    async def main() -> None:
        async with names.cos.client() as client:
            with pytest.raises(cosxfer.ServerError):
                await client.put_object(BUCKET, "k", stream(), content_length=7)

    asyncio.run(main())
    assert names.hosts == [FIRST]


def test_a_form_is_not_switched() -> None:
    hosts: list[str] = []

    class Forms:
        async def send(self, request: HttpRequest) -> HttpResponse:
            hosts.append(request.endpoint.host)
            raise TransportError("down")

        async def aclose(self) -> None: ...

    async def main() -> None:
        async with FakeCos().client() as client:
            client._session.transport = Forms()
            with pytest.raises(TransportError):
                await client.post_object(BUCKET, "k", b"content", filename="f")

    asyncio.run(main())
    assert hosts == [FIRST] * 5


def test_the_second_name_is_kept_for_a_while(
    clock: types.SimpleNamespace, caplog: pytest.LogCaptureFixture, waits: list[float]
) -> None:
    names = Names(first=by_gateway(302))

    async def main() -> None:
        async with names.cos.client() as client:
            for _ in range(3):
                await client.put_object(BUCKET, "k", b"content")
            clock.now = SWITCHED_SECONDS
            names.down.clear()
            for _ in range(2):
                await client.put_object(BUCKET, "k", b"content")

    asyncio.run(main())
    assert names.hosts == [FIRST, SECOND, SECOND, SECOND, FIRST, FIRST]
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told == [f"COS does not answer at {FIRST}; using {SECOND} for 10 minutes (switch_host)"]


def test_a_second_name_that_stops_working_is_given_up(clock: types.SimpleNamespace) -> None:
    names = Names(first=by_gateway(302))

    async def main() -> None:
        async with names.cos.client() as client:
            await client.put_object(BUCKET, "k", b"content")
            names.down = {SECOND: no_name}
            await client.put_object(BUCKET, "k", b"content")
            await client.put_object(BUCKET, "k", b"content")

    asyncio.run(main())
    assert names.hosts == [FIRST, SECOND, SECOND, FIRST, FIRST]


def test_an_upload_in_parts_goes_on_at_the_second_name(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(4 * MIB))
    names = Names()

    def goes_down(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        names.down[FIRST] = no_name
        return names._do(request, proceed)

    names.cos.faults.insert(0, type(names.cos.faults[0])(operation="multipart_upload", do=goes_down, part=2))

    async def main() -> cosxfer.UploadResult:
        async with names.cos.client(part_size=MIB, concurrency=1, journal=None, max_attempts=2) as client:
            return await client.upload_file(BUCKET, "k", path, sse_customer_algorithm="AES256", **KEY)  # type: ignore[arg-type]

    assert asyncio.run(main()).verified
    assert names.hosts == [FIRST, FIRST, FIRST, SECOND, SECOND, SECOND, SECOND]


KEY = {
    "sse_customer_key": "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY=",
    "sse_customer_key_md5": "XX1qz/6JK5sWnqsfB0x7mA==",
}


@pytest.mark.parametrize(
    ("template", "host"),
    [
        ("https://{bucket}.cos.{region}.myqcloud.com", SECOND),
        (f"https://{FIRST}", SECOND),
        ("https://{bucket}.cos.{region}.myqcloud.com/path", None),
        ("https://{bucket}.cos.{region}.myqcloud.com.", None),
        ("https://{bucket}.cos-website.{region}.myqcloud.com", None),
        ("https://{bucket}.cos.{region}.myqcloud.com.example.com", None),
        ("http://{bucket}.localhost:80", None),
    ],
)
def test_only_default_hosts_have_a_second_name(template: str, host: str | None) -> None:
    try:
        endpoint = resolve_endpoint(template, bucket=BUCKET, region=REGION)
    except cosxfer.UsageError:
        assert host is None
        return
    assert other_host(endpoint) == host
