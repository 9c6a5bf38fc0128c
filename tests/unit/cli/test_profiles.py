"""Profiles: what is understood, what is refused, and that no message repeats a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosxfer.cli.keys import find_keys
from cosxfer.cli.parameters import Access
from cosxfer.cli.profile_files import config_file, load, names
from cosxfer.cli.profiles import Profile
from cosxfer.cli.profiles_of_others import of_coscli, of_coscmd, parse_yaml
from cosxfer.errors import CredentialsError, UsageError

SECRET = "s3cr3tKeyOfTheTests0123456789abcd"

OWN = f"""
default = "work"
[profiles.work]
secret_id = "AKIDwork"
secret_key = "{SECRET}"
token = "the-token"
region = "ap-guangzhou"
[profiles.work.buckets]
"far-1250000000" = "ap-singapore"
[profiles.open]
anonymous = true
endpoint = "https://{{bucket}}.example.com"
"""

COSCLI = f"""cos:
    base:
        secretid: AKIDcoscli
        secretkey: {SECRET}
        sessiontoken: ""
        protocol: https
        mode: SecretKey
        cvmrolename: ""
        closeautoswitchhost: "false"
        disableencryption: "true"
    buckets:
        - name: a-1250000000
          alias: a
          region: ap-chengdu
          endpoint: cos.ap-chengdu.myqcloud.com
          ofs: false
        - name: b-1250000000
          alias: b
          region: ap-beijing
          endpoint: cos.ap-beijing.myqcloud.com
          ofs: false
"""

COSCMD = f"""[common]
secret_id = AKIDcoscmd
secret_key = {SECRET}
bucket = a-1250000000
region = ap-chengdu
max_thread = 5
part_size = 1
schema = https
verify = md5
anonymous = False
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a user with a file of profiles."""
    for name in ("COS_SECRET_ID", "COS_SECRET_KEY", "COS_TOKEN", "COS_REGION", "COS_ENDPOINT", "COSXFER_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / ".config/cosxfer/config.toml", OWN)
    return {"HOME": str(tmp_path)}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_the_file_is_that_of_xdg_or_in_the_home_directory() -> None:
    assert config_file({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}) == Path("/x/cosxfer/config.toml")
    assert config_file({"XDG_CONFIG_HOME": "relative", "HOME": "/h"}) == Path("/h/.config/cosxfer/config.toml")
    assert config_file({}) is None
    assert load(None, {}) is None
    assert names({}) == []


def test_the_option_then_the_environment_then_the_file_names_the_profile(home: dict[str, str]) -> None:
    named = load("open", home | {"COSXFER_PROFILE": "work"})
    assert named is not None
    assert (named.name, named.anonymous) == ("open", True)
    of_environment = load(None, home | {"COSXFER_PROFILE": "open"})
    assert of_environment is not None
    assert of_environment.name == "open"
    default = load(None, home)
    assert default is not None
    keys = default.keys()
    assert keys is not None
    assert (keys.secret_id, keys.secret_key, keys.token) == ("AKIDwork", SECRET, "the-token")
    assert (default.region_of("far-1250000000"), default.region_of("other-1")) == ("ap-singapore", "ap-guangzhou")


def test_a_repr_hides_the_secrets(home: dict[str, str]) -> None:
    profile = load("work", home)
    shown = repr(profile) + repr(Access(profile="work").connection())
    assert SECRET not in shown
    assert "the-token" not in shown


def test_options_are_above_a_named_profile_and_that_above_the_environment(
    home: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Access().connection().region == "ap-guangzhou"
    monkeypatch.setenv("COS_REGION", "ap-env")
    assert Access().connection().region == "ap-env"
    assert Access(profile="work").connection().region == "ap-guangzhou"
    assert Access(profile="work").connection(bucket="far-1250000000").region == "ap-singapore"
    assert Access(profile="work", region="ap-option").connection().region == "ap-option"
    assert Access(profile="work").connection().source_region("cos://far-1250000000/k") == "ap-singapore"


def test_keys_are_never_a_mixture(home: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    profile = load("work", home)
    monkeypatch.setenv("COS_SECRET_ID", "AKIDenv")
    monkeypatch.setenv("COS_SECRET_KEY", "other")
    keys = find_keys(None, profile=profile)
    assert (keys.secret_id, keys.secret_key, keys.token) == ("AKIDenv", "other", None)
    keys = find_keys(None, profile=profile, named=True)
    assert (keys.secret_id, keys.secret_key, keys.token) == ("AKIDwork", SECRET, "the-token")
    file = write(tmp_path / "key", "of-the-file\n")
    keys = find_keys(str(file), profile=profile, named=True)
    assert (keys.secret_id, keys.secret_key, keys.token) == ("AKIDwork", "of-the-file", "the-token")
    keys = find_keys(str(file), profile=profile)
    assert (keys.secret_id, keys.secret_key, keys.token) == ("AKIDenv", "of-the-file", None)
    monkeypatch.delenv("COS_SECRET_KEY")
    with pytest.raises(CredentialsError, match="COS_SECRET_KEY is not set"):
        find_keys(None, profile=profile)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("profiles = 1", "profiles must be tables"),
        ("other = 1", "has 'other', which is unknown"),
        ("default = 1", "default must be the name of a profile"),
        ('[profiles.work]\nsecret = "x"', "has 'secret', which is unknown; it can have anonymous, buckets"),
        ("[profiles.work]\nregion = 1", "region must be a text"),
        ('[profiles.work]\nregion = ""', "region must be a text"),
        ('[profiles.work]\nanonymous = "no"', "anonymous must be true or false"),
        ("[profiles.work]\nbuckets = 1", "buckets must be a table of regions"),
        (f"[profiles.work]\nsecret_key = {SECRET}", "is no TOML"),
        ("[profiles.other]", "there is no profile 'work' in"),
    ],
)
def test_what_is_not_understood_is_an_error(home: dict[str, str], text: str, says: str) -> None:
    write(Path(home["HOME"]) / ".config/cosxfer/config.toml", text)
    with pytest.raises(UsageError) as caught:
        load("work", home)
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_profile_with_half_of_its_keys_is_an_error() -> None:
    with pytest.raises(CredentialsError, match="has no secret_id"):
        Profile(name="p", path="f", secret_key="x").keys()
    with pytest.raises(CredentialsError, match="needs secret_key or secret_key_file"):
        Profile(name="p", path="f", secret_id="x").keys()
    assert Profile(name="p", path="f").keys() is None


def test_a_file_that_others_can_read_gets_a_warning(home: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    path = Path(home["HOME"]) / ".config/cosxfer/config.toml"
    load("work", home)
    assert capfd.readouterr().err == ""
    path.chmod(0o644)
    load("work", home)
    assert "can be read or changed by other users; protect it with chmod 600" in " ".join(
        capfd.readouterr().err.split()
    )


def test_the_names_are_those_of_all_files(home: dict[str, str]) -> None:
    root = Path(home["HOME"])
    assert names(home) == ["work", "open"]
    write(root / ".cos.conf", COSCMD)
    assert names(home) == ["work", "open", "coscmd"]
    write(root / ".config/cosxfer/config.toml", "broken")
    assert names(home) == []


def test_the_file_of_coscli_is_a_profile(home: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"is the file of coscli, but there is no .*\.cos\.yaml"):
        load("coscli", home)
    write(Path(home["HOME"]) / ".cos.yaml", COSCLI)
    profile = load("coscli", home)
    assert profile is not None
    keys = profile.keys()
    assert keys is not None
    assert (keys.secret_id, keys.secret_key, keys.token) == ("AKIDcoscli", SECRET, None)
    assert (profile.region, profile.region_of("a-1250000000"), profile.endpoint) == (None, "ap-chengdu", None)


def test_coscli_endpoints_protocol_and_forms() -> None:
    text = COSCLI.replace("cos.ap-beijing.myqcloud.com", "cos-internal.ap-chengdu.tencentcos.cn").replace(
        "region: ap-beijing", "region: ap-chengdu"
    )
    found = of_coscli(text.replace("protocol: https", "protocol: http"), "f")
    assert (found.region, found.endpoint) == ("ap-chengdu", "http://{bucket}.cos-internal.ap-chengdu.tencentcos.cn")
    flush = (
        "cos:\n  base:\n    secretid: 'AKID''x'\n    secretkey: \"a\\\"b\"\n  buckets:\n  - name: a-1\n    region: r\n"
    )
    found = of_coscli(flush, "f")
    assert (found.secret_id, found.secret_key, dict(found.buckets)) == ("AKID'x", 'a"b', {"a-1": "r"})
    assert of_coscli("cos:\n  base:\n    secretid: a\n  buckets: []\n", "f").buckets == {}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("mode: SecretKey", "mode: CvmRole", "cannot take keys from the role of a machine"),
        ('disableencryption: "true"', "unknownkey: x", "cos.base has unknownkey, which cosxfer does not know"),
        ("protocol: https", "protocol: ftp", "protocol must be http or https"),
        ("cos:\n", "coz:\n", "has no section cos"),
        (f"secretkey: {SECRET}", f"secretkey: {SECRET} # comment", "line 4 has a value of a form"),
        (f"secretkey: {SECRET}", f"secretkey: &a {SECRET}", "line 4 has a value of a form"),
        (f"secretkey: {SECRET}", f"secretkey: |\n  {SECRET}", "line 4 has a value of a form"),
        (f"secretkey: {SECRET}", f"secretkey:\n                {SECRET}", "line 5 is not of the form KEY: VALUE"),
        (f"secretkey: {SECRET}", f"secretid: {SECRET}", "line 4 has secretid a second time"),
        (f"        secretkey: {SECRET}", f"\tsecretkey: {SECRET}", "line 4 has a tab"),
        (f"        secretkey: {SECRET}", f"      secretkey: {SECRET}", "line 4 has an indentation that fits no"),
        (f"        secretkey: {SECRET}", f"{' ' * 70}secretkey: {SECRET}", "line 4 has an indentation of 70"),
        ("buckets:", "buckets: {a: b}\n    x:", "has a value of a form"),
    ],
)
def test_another_file_of_coscli_is_refused(old: str, new: str, says: str) -> None:
    assert old in COSCLI
    with pytest.raises(ValueError, match=r".") as caught:
        of_coscli(COSCLI.replace(old, new), "f")
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)


def test_encoded_secrets_of_coscli_are_named_as_such() -> None:
    encoded = "bm90IGEgcmVhbCBzZWNyZXQsIGp1c3QgYSB0ZXh0IG9mIDQ4IGJ5dGVzIGhlcmUu"  # 48 bytes
    text = COSCLI.replace("AKIDcoscli", encoded).replace('disableencryption: "true"', 'disableencryption: "false"')
    with pytest.raises(ValueError, match="its secrets are encoded"):
        of_coscli(text, "f")
    plain = COSCLI.replace("AKIDcoscli", "AKIDEXAMPLEexampleEXAMPLEexample0123").replace('"true"', '"false"')
    assert of_coscli(plain, "f").secret_id == "AKIDEXAMPLEexampleEXAMPLEexample0123"


def test_yaml_without_content_is_empty() -> None:
    assert parse_yaml("") == parse_yaml("# comment\n\n") == {}
    assert parse_yaml("---\na:\n- x\n- y\nb: null\n") == {"a": ["x", "y"], "b": ""}


def test_the_file_of_coscmd_is_a_profile() -> None:
    found = of_coscmd(COSCMD, "f")
    assert (found.secret_id, found.secret_key, found.region, found.endpoint) == (
        "AKIDcoscmd",
        SECRET,
        "ap-chengdu",
        None,
    )
    found = of_coscmd(COSCMD.replace("secret_id", "access_id").replace("schema = https", "schema = http"), "f")
    assert (found.secret_id, found.endpoint) == ("AKIDcoscmd", "http://{bucket}.cos.{region}.myqcloud.com")
    found = of_coscmd(COSCMD.replace("region = ap-chengdu", "endpoint = cos.ap-x.myqcloud.com"), "f")
    assert (found.region, found.endpoint) == (None, "https://{bucket}.cos.ap-x.myqcloud.com")
    found = of_coscmd(COSCMD.replace("anonymous = False", "anonymous = True"), "f")
    assert (found.anonymous, found.keys()) == (True, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no section"),
        (f"secret_key = {SECRET}", "it is no INI file: line 1"),
        (COSCMD + f"secret_key = {SECRET}\n", "it is no INI file"),
        (COSCMD.replace("https", "ftp"), "schema must be http or https"),
    ],
)
def test_another_file_of_coscmd_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        of_coscmd(text, "f")
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)
