"""`reapi-server check` says whether callers are asked, and whether files of tokens can be used."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from reapi.core.errors import InvalidArgument
from reapi.core.finding import Finding
from reapi.server.check_auth import check_auth
from reapi.server.config import ServerConfig, load_config
from reapi.server.roles import check_roles

TOKEN = "a-token-of-thirty-characters-00"


@pytest.fixture
def auth(tmp_path: Path) -> dict[str, Any]:
    """Settings with which all is well."""
    (tmp_path / "own").write_text(TOKEN)
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    file = tmp_path / "tokens.toml"
    file.write_text(
        f'[pods]\ntoken_sha256 = "{digest}"\nroles = ["executor"]\n'
        f'[ci]\ntoken_sha256 = "{"0" * 64}"\nroles = ["writer"]\ninstances = ["main"]\n'
    )
    return {"mode": "tokens", "tokens_file": file, "token_file": tmp_path / "own"}


def _check(auth: dict[str, Any], **server: Any) -> list[Finding]:
    return list(check_auth(ServerConfig.model_validate({"auth": auth, "server": server})))


def test_files_that_can_be_used_are_ok(auth: dict[str, Any]) -> None:
    tokens, own = _check(auth)
    assert (tokens.status, own.status) == ("ok", "ok")
    assert tokens.text.startswith("2 tokens in ")
    assert tokens.text.endswith("whoever shows none is refused")
    (anonymous, _) = _check(auth | {"anonymous": ["reader"]})
    assert anonymous.text.endswith("without a token: reader")


def test_a_file_that_cannot_be_used_fails_the_check(auth: dict[str, Any]) -> None:
    auth["tokens_file"].write_text("[ci]\nroles = []\n")
    (finding,) = _check(auth)
    assert finding.status == "failed"
    assert "ci" in finding.text
    assert finding.advice


@pytest.mark.parametrize(
    ("entry", "words"),
    [("", "is not in auth.tokens_file"), ('roles = ["reader"]', r"is that of pods (reader)")],
)
def test_an_own_token_that_is_no_executors_fails_the_check(
    auth: dict[str, Any], entry: str, words: str
) -> None:
    text = auth["tokens_file"].read_text()
    first, second = text.split("[ci]")
    kept = first.replace('roles = ["executor"]', entry) if entry else ""
    auth["tokens_file"].write_text(f"{kept}[ci]{second}")
    _, own = _check(auth)
    assert own.status == "failed"
    assert words in own.text


def test_a_token_for_an_instance_that_is_not_served_is_warned_of(auth: dict[str, Any]) -> None:
    findings = _check(auth, instance_names=("", "other"))
    (warning,) = (finding for finding in findings if finding.status == "warning")
    assert warning.text == "ci is for instances that are not served here: main"


@pytest.mark.parametrize(
    ("listen", "status"),
    [
        ("127.0.0.1:8980", "ok"),
        ("[::1]:8980", "ok"),
        ("localhost:8980", "ok"),
        ("0.0.0.0:8980", "warning"),
        ("[::]:8980", "warning"),
        ("build-server:8980", "warning"),
    ],
)
def test_who_listens_beyond_this_machine_and_asks_nobody_is_warned(
    listen: str, status: str
) -> None:
    (finding,) = _check({}, listen=listen)
    assert finding.status == status


def test_an_executor_alone_is_not_warned() -> None:
    (finding,) = _check({}, listen="0.0.0.0:8980", roles=("executor",))
    assert finding.status == "ok"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('mode = "tokens"', 'auth: mode = "tokens" needs tokens_file'),
        ('tokens_file = "x"', 'auth: tokens_file and anonymous need mode = "tokens"'),
        ('anonymous = ["reader"]', 'auth: tokens_file and anonymous need mode = "tokens"'),
        ('mode = "oidc"', "auth.mode"),
        ('mode = "tokens"\ntokens_file = "x"\nanonymous = ["admin"]', "auth.anonymous.0"),
        ('token = "secret"', "auth.token: there is no such key"),
    ],
)
def test_a_section_with_a_mistake_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"[auth]\n{text}\n")
    with pytest.raises(InvalidArgument, match=re.escape(reason)):
        load_config(file, {})


@pytest.mark.parametrize(
    "scheduler",
    [{"endpoint": "10.0.0.1:8980"}, {"shards": [{"name": "a", "endpoint": "10.0.0.1:8980"}]}],
)
def test_a_server_that_asks_and_has_another_scheduler_needs_a_token(
    auth: dict[str, Any], scheduler: dict[str, Any]
) -> None:
    def config(auth: dict[str, Any]) -> ServerConfig:
        roles = {"roles": ("frontend",)}
        sections = {"auth": auth, "scheduler": scheduler, "server": roles}
        return ServerConfig.model_validate(sections)

    check_roles(config(auth), is_storage_shared=True)
    del auth["token_file"]
    with pytest.raises(InvalidArgument, match=r"auth\.token_file is needed"):
        check_roles(config(auth), is_storage_shared=True)
