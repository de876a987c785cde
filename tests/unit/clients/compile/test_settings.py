"""Where the settings of compiles come from, and that mistakes are told."""

from pathlib import Path

import pytest

from reapi.clients.compile.settings import (
    CallSettings,
    CompileSettings,
    SettingsOfCalls,
    load_daemon_settings,
)
from reapi.core.errors import InvalidArgument


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home/reapi").mkdir(parents=True)
    return tmp_path / "home"


def load(home: Path, directory: Path, **variables: str) -> CallSettings:
    return SettingsOfCalls().get(str(directory), {"XDG_CONFIG_HOME": str(home)} | variables)


def test_without_any_setting_all_is_at_its_default(home: Path) -> None:
    assert load(home, home).compile == CompileSettings()


def test_the_environment_wins_over_the_project_and_that_over_the_user(home: Path) -> None:
    (home / "reapi/config.toml").write_text(
        'server = "grpc://user"\n[compile]\nmode = "preprocess"\nlink = true\nlocal_slots = 3'
    )
    project = home / "project"
    (project / "below").mkdir(parents=True)
    (project / "reapi.toml").write_text(
        '[compile]\nroot = "."\nmode = "headers"\nprice_per_slot_hour = 2'
    )
    found = load(home, project / "below", REAPI_CC_STRATEGY="race", REAPI_CC_READ_ONLY="1")
    assert found.connection.server == "grpc://user"
    assert found.compile == CompileSettings(
        root=str(project),
        mode="headers",
        strategy="race",
        link=True,
        local_slots=3,
        read_only=True,
        price_per_slot_hour=2.0,
    )
    changed = load(home, project, REAPI_CC_PRICE_PER_SLOT_HOUR="0.5", REAPI_CC_LOCAL="1")
    assert changed.compile.price_per_slot_hour == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mod = 1", r"reapi.toml: \[compile\] mod: unknown key; the keys are root, portable"),
        ("mode = 'x'", r"\[compile\] mode must be one of headers, preprocess, not 'x'"),
        ("link = 1", r"\[compile\] link must be true or false"),
        ("root = 1", r"\[compile\] root must be a path"),
        ("price_per_slot_hour = -1", r"price_per_slot_hour must be a number from 0"),
        ("local_slots = 2", r"local_slots is the user's to set"),
        ("[", r"cannot read .*reapi.toml"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_key(home: Path, text: str, message: str) -> None:
    (home / "reapi.toml").write_text(f"[compile]\n{text}")
    with pytest.raises(InvalidArgument, match=message):
        load(home, home)


def test_compile_that_is_no_table_is_refused(home: Path) -> None:
    (home / "reapi.toml").write_text("compile = 1")
    with pytest.raises(InvalidArgument, match="compile must be a table"):
        load(home, home)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("REAPI_CC_MOD", "x", "REAPI_CC_MOD: unknown key"),
        ("REAPI_CC_LINK", "perhaps", "REAPI_CC_LINK must be true or false"),
        ("REAPI_CC_CACHE_MAX_SIZE_BYTES", "many", "'many' is not a number"),
        ("REAPI_CC_LOCAL_SLOTS", "0", "must be a number above 0"),
        ("REAPI_CC_ROOT", "below", "must be an absolute path, not 'below'"),
    ],
)
def test_a_mistake_in_a_variable_is_named(home: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        load(home, home, **{name: text})


def test_settings_follow_files_that_change_appear_or_go(home: Path) -> None:
    below = home / "below"
    below.mkdir()
    settings, environment = SettingsOfCalls(), {"XDG_CONFIG_HOME": str(home)}
    assert settings.get(str(below), environment).compile.link is False
    (home / "reapi.toml").write_text("[compile]\nlink = true")
    assert settings.get(str(below), environment).compile.link is True
    assert settings.get(str(below), environment) is settings.get(str(below), environment)
    (below / "reapi.toml").write_text("[compile]\nportable = true")
    assert settings.get(str(below), environment).compile == CompileSettings(portable=True)
    (below / "reapi.toml").unlink()
    assert settings.get(str(below), environment).compile.link is True
    assert settings.get(str(below), environment | {"REAPI_CC_LINK": "0"}).compile.link is False


def test_the_daemon_takes_what_is_its_own_and_nothing_of_a_call(home: Path) -> None:
    (home / "reapi/config.toml").write_text("[compile]\nlocal_slots = 7\nlink = true")
    environment = {"XDG_CONFIG_HOME": str(home), "REAPI_CC_CACHE_DIR": "/cache"}
    assert load_daemon_settings(environment) == CompileSettings(local_slots=7, cache_dir="/cache")
