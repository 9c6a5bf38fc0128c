"""Reading the proxy variables of the environment."""

from __future__ import annotations

import pytest

from cosxfer.transport.proxies import Proxies


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)


def where(host: str, port: int = 443, scheme: str = "https") -> str:
    found = Proxies().of(scheme, host, port)
    return found.where if found else ""


def test_the_proxy_of_the_scheme_overrides_all_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://every:1")
    monkeypatch.setenv("HTTP_PROXY", "http://plain:2")
    assert where("h", 80, "http") == "plain:2"
    assert where("h") == "every:1"


def test_lower_case_overrides_upper_case_even_if_it_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://upper:1")
    monkeypatch.setenv("https_proxy", "http://lower:2")
    assert where("h") == "lower:2"
    monkeypatch.setenv("https_proxy", "")
    assert where("h") == ""


def test_a_cgi_script_does_not_take_a_header_for_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    monkeypatch.setenv("HTTP_PROXY", "http://evil:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://good:2")
    assert where("h", 80, "http") == ""
    assert where("h") == "good:2"
    monkeypatch.setenv("http_proxy", "http://good:3")
    assert where("h", 80, "http") == "good:3"


@pytest.mark.parametrize(
    ("no_proxy", "host", "past"),
    [
        ("*", "a.example", True),
        ("example", "a.example", True),
        (".example", "a.example", True),
        ("ample", "a.example", False),
        ("*.example", "a.example", True),
        (" *.Example ", "b.A.example", True),
        ("*.example", "example", False),
        ("*.example", "aexample", False),
        ("*.example:443", "a.example", True),
        ("*.example:80", "a.example", False),
        ("*.", "a.example", False),
        ("x, A.Example ,y", "a.example", True),
        ("x,*", "a.example", True),
        (" * , x", "a.example", True),
        (" * ", "10.0.0.1", True),
        ("x A.Example", "a.example", True),
        ("x\ta.example,,", "a.example", True),
        (",, ,", "a.example", False),
        (".", "a.example", False),
        ("*.*", "a.example", False),
        ("a.example.", "a.example", True),
        ("*.example.", "a.example", True),
        ("example", "a.example.", True),
        ("*.example", "a.example.", True),
        ("10.0.0.0/", "10.0.0.1", False),
        ("10.0.0.0/-1", "10.0.0.1", False),
        ("fe80::/10%eth0", "fe80::1", False),
        ("[", "10.0.0.1", False),
        ("a.example:443", "a.example", True),
        (".example:443", "a.example", True),
        ("a.example:80", "a.example", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.0/8", "10.0.0.1", True),
        ("x, 10.0.0.1/8 ", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8:443", "10.0.0.1", True),
        ("10.0.0.0/8:80", "10.0.0.1", False),
        ("10.0.0.0/33", "10.0.0.1", False),
        ("10.0.0.0/8", "10.example", False),
        ("10.0.0.0/8", "::1", False),
        ("fd00::/8", "fd12::1", True),
        ("[fd00::]/8", "fd12::1", True),
        ("[fd00::/8]:443", "fd12::1", True),
        ("[fd00::/8]:80", "fd12::1", False),
        ("fd00::/8", "fe00::1", False),
        ("0:0:0:0:0:0:0:1", "::1", True),
        ("::1", "::1", True),
        ("[::1]", "::1", True),
        ("[::1]:443", "::1", True),
        ("[::1]:80", "::1", False),
        ("1", "::1", False),
        ("2001:db8::1", "2001:db8::10", False),
    ],
)
def test_the_entries_of_no_proxy(monkeypatch: pytest.MonkeyPatch, no_proxy: str, host: str, past: bool) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert where(host) == ("" if past else "proxy:1")


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    proxies = Proxies()
    monkeypatch.setenv("NO_PROXY", "*")
    assert proxies.of("https", "h", 443)
    assert not Proxies().of("https", "h", 443)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://{bucket}.cos.{region}.myqcloud.com",
        "{bucket}.cos.{region}.MyQCloud.com:443",
        "https://{bucket}-x.cos.example:9000",
        "https://cos.{region}.example/{bucket}",
        "https://cos.example:9000/{bucket}",
        "https://[::1]/{bucket}",
        "http://{bucket}.cos.{region}.myqcloud.com",
    ],
)
def test_whether_all_hosts_of_a_client_use_the_same_route(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    fillings = [(bucket, region) for bucket in ("a-1", "b-2") for region in ("1", "ap-guangzhou", "ap-beijing")]
    hosts = [endpoint.replace("{bucket}", bucket).replace("{region}", region) for bucket, region in fillings]
    names = {host.rpartition("://")[2].partition("/")[0] for host in hosts}
    tails = {name.split(".", cut)[-1] for name in names for cut in range(5)}
    bare = {tail.rpartition(":")[0] for tail in tails}
    entries = [
        "",
        "*",
        "localhost",
        "10.0.0.0/25",
        "11.0.0.0/8",
        "fd00::/8",
        "com",
        "cloud.com",
        "x.cos.example",
        "::1",
        *tails,
        *bare,
        *names,
    ]
    below = [f"{start}{entry}" for start in (".", "*.") for entry in entries]
    for entry in [*entries, *below, "localhost, .example", "x,ap-guangzhou.myqcloud.com", "x *", "x com."]:
        monkeypatch.setenv("NO_PROXY", entry)
        proxies = Proxies()
        ways = {proxies.of_template(host, None) for host in hosts}
        assert proxies.same_for_all(endpoint) == (len(ways) == 1), entry
        if len(ways) == 1:
            assert ways == {proxies.of_template(endpoint, "ap-shanghai")}, entry


def test_a_network_may_divide_the_addresses_of_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/25")
    assert not Proxies().same_for_all("https://10.0.0.{region}/{bucket}")
    assert Proxies().same_for_all("https://{bucket}.cos.{region}.myqcloud.com")
    assert Proxies().same_for_all("https://10.0.0.1/{bucket}")


def test_an_invalid_address_is_reported_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    for endpoint in ("https://[::1", "https://host:port", "https://"):
        assert Proxies().same_for_all(endpoint)
        assert Proxies().of_template(endpoint, None) is None


def test_the_systems_settings_are_used_if_the_environment_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings with their own list of exceptions, as on macOS."""
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://system:1"})
    monkeypatch.setattr("urllib.request.proxy_bypass", lambda host: host == "here")
    assert (where("there"), where("here")) == ("system:1", "")
    assert not Proxies().same_for_all("https://{bucket}.example")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    assert where("here") == "proxy:1"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("proxy:3128", "proxy:3128"),
        ("https://proxy", "proxy:443"),
        ("socks5h://u:p@proxy", "proxy:1080"),
        ("http://u:p@[::1]:3128", "[::1]:3128"),
        ("http://u:p@ss/word@proxy:1", ""),
        ("http://u:p@proxy:port", ""),
    ],
)
def test_an_address_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch, url: str, shown: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    proxies = Proxies()
    found = proxies.of("https", "h", 443)
    assert found is not None
    assert found.where == shown
    assert "u:p" not in f"{found!r}{proxies!r}"
