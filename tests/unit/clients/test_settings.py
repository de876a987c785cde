"""Where settings come from, and which of them wins."""

from pathlib import Path

import pytest

from reapi.clients.settings import DEFAULT_SERVER, Settings, load_settings
from reapi.core.errors import InvalidArgument


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home/reapi").mkdir(parents=True)
    return tmp_path / "home"


def load(
    directory: Path, home: Path, flags: dict[str, str | None] | None = None, **environment: str
) -> Settings:
    environment["XDG_CONFIG_HOME"] = str(home)
    return load_settings(flags or {}, environment=environment, working_directory=directory)


def test_without_any_setting_the_server_is_this_machine(tmp_path: Path, home: Path) -> None:
    assert load(tmp_path, home) == Settings(DEFAULT_SERVER, "", None)


def test_the_nearer_place_wins_for_each_key(tmp_path: Path, home: Path) -> None:
    (home / "reapi/config.toml").write_text('server = "user:1"\ninstance_name = "user"')
    assert load(tmp_path, home) == Settings("user:1", "user", None)
    below = tmp_path / "project/below"
    below.mkdir(parents=True)
    (tmp_path / "project/reapi.toml").write_text('server = "project:1"')
    assert load(below, home) == Settings("project:1", "user", None)
    assert load(below, home, REAPI_SERVER="env:1").server == "env:1"
    assert load(below, home, REAPI_INSTANCE="").instance_name == ""
    flags = {"server": "flag:1", "instance_name": None}
    assert load(below, home, flags, REAPI_SERVER="env:1") == Settings("flag:1", "user", None)


def test_the_digest_function_is_set_like_the_rest(tmp_path: Path, home: Path) -> None:
    assert load(tmp_path, home).digest_function == "SHA256"
    (tmp_path / "reapi.toml").write_text('digest_function = "SHA1"')
    assert load(tmp_path, home).digest_function == "SHA1"
    assert load(tmp_path, home, REAPI_DIGEST_FUNCTION="SHA512").digest_function == "SHA512"
    flags: dict[str, str | None] = {"digest_function": "BLAKE3"}
    assert load(tmp_path, home, flags, REAPI_DIGEST_FUNCTION="x").digest_function == "BLAKE3"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("servers = 'x'", r"reapi.toml: unknown key 'servers'; the keys are server, instance_name"),
        ("server = 1", r"reapi.toml: server must be a string"),
        ("server", r"cannot read .*reapi.toml"),
    ],
)
def test_a_bad_file_is_named_with_its_key(
    tmp_path: Path, home: Path, content: str, message: str
) -> None:
    (tmp_path / "reapi.toml").write_text(content)
    with pytest.raises(InvalidArgument, match=message):
        load(tmp_path, home)


def test_a_token_file_is_relative_to_the_file_that_names_it(tmp_path: Path, home: Path) -> None:
    (tmp_path / "reapi.toml").write_text('token_file = "token"')
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "below").mkdir()
    assert load(tmp_path / "below", home).read_token() == "secret"


@pytest.mark.parametrize("content", [None, "", "two\nlines", "two,parts", "\xff"])
def test_a_token_file_without_a_token_is_an_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    with pytest.raises(InvalidArgument, match="token"):
        Settings(token_file=str(tmp_path / "token")).read_token()


def test_tls_files_are_relative_to_the_file_that_names_them(tmp_path: Path, home: Path) -> None:
    (home / "reapi/config.toml").write_text('tls_ca_file = "ca.pem"')
    (tmp_path / "reapi.toml").write_text(
        'tls_client_certificate_file = "me.pem"\ntls_client_key_file = "/keys/me"'
    )
    tls = load(tmp_path, home).tls
    assert tls.ca_file == str(home / "reapi/ca.pem")
    assert (tls.certificate_file, tls.key_file) == (str(tmp_path / "me.pem"), "/keys/me")
    assert load(tmp_path, home, REAPI_TLS_CA_FILE="other").tls.ca_file == "other"


def test_settings_can_be_handed_on_as_variables(tmp_path: Path, home: Path) -> None:
    settings = Settings("grpcs://host:1", "name", "token", "BLAKE3", "ca", "certificate", "key")
    assert load(tmp_path, home, **settings.variables()) == settings
    assert load(tmp_path, home, **Settings().variables()) == Settings()
