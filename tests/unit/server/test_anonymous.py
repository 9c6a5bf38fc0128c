"""An anonymous server serves no request that a web page can make a browser send."""

from __future__ import annotations

import pytest

from cosxfer.server.cors import check_local
from cosxfer.server.http import CosError


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:80", "b-1.localhost:8080", "127.0.0.1", "127.1.2.3:1", "[::1]:80", "[::1]", "box.lan:80"],
)
def test_a_local_host_is_served(host: str) -> None:
    check_local({"host": host}, host="box.lan")
    check_local({"host": host, "sec-fetch-site": "none"}, host="BOX.lan")
    check_local({"host": host, "sec-fetch-site": "same-origin"}, host="box.lan")


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.example", "evil.example:80", "localhost.evil.example", "evillocalhost", "127.0.0.1.evil.example",
        "127.0.0.1@evil.example", "10.0.0.1", "192.168.0.1:80", "[fe80::1]", "[::2]:80", "0.0.0.0", "box",
        "b-1.cos.ap-guangzhou.myqcloud.com", "2130706433.example", "x.box.lan",
    ],
)  # fmt: skip
def test_any_other_host_is_refused(host: str) -> None:
    with pytest.raises(CosError, match="Host") as caught:
        check_local({"host": host}, host="box.lan")
    assert caught.value.status == 403


@pytest.mark.parametrize("listening", ["0.0.0.0", "::"])
def test_a_server_on_every_address_is_reached_by_address_and_not_by_name(listening: str) -> None:
    check_local({"host": "192.168.0.1:80"}, host=listening)
    check_local({"host": "[fe80::1]:80"}, host=listening)
    with pytest.raises(CosError, match="Host"):
        check_local({"host": "evil.example"}, host=listening)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://localhost:80"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "x"},
    ],
)
def test_a_page_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(CosError, match="pages") as caught:
        check_local({"host": "localhost", **headers}, host="127.0.0.1")
    assert caught.value.status == 403
