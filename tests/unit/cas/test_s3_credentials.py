"""Credentials come from files, the environment or a web identity, in this order."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from reapi.cas.objects.s3_config import S3Config
from reapi.cas.objects.s3_credentials import find_credentials, for_obstore
from reapi.core.errors import FailedPrecondition, Unavailable

ROLE = "arn:aws:iam::123456789012:role/cache"
ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>key-{number}</AccessKeyId>
<SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken>
<Expiration>{expiration}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""
REFUSAL = """<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>"""


@dataclass
class TokenService:
    """What a token service was asked, and what it answers."""

    url: str = ""
    valid_for: timedelta = timedelta(hours=1)
    refuses: bool = False
    requests: list[dict[str, list[str]]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@pytest.fixture
def service() -> Iterator[TokenService]:
    state = TokenService()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            state.requests.append(parse_qs(body))
            state.paths.append(self.path)
            expiration = f"{datetime.now(UTC) + state.valid_for:%Y-%m-%dT%H:%M:%SZ}"
            text = ANSWER.format(number=len(state.requests), expiration=expiration)
            self.send_response(403 if state.refuses else 200)
            self.end_headers()
            self.wfile.write((REFUSAL if state.refuses else text).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def web_identity(
    service: TokenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> TokenService:
    (tmp_path / "token").write_text("a-token")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)
    return service


def _files(folder: Path) -> S3Config:
    (folder / "id").write_text("file-key\n")
    (folder / "secret").write_text("file-secret\n")
    return S3Config(
        "bucket", access_key_id_file=folder / "id", secret_access_key_file=folder / "secret"
    )


def test_files_come_first_then_the_environment_then_the_web_identity(
    web_identity: TokenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "environment-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "environment-secret")
    files, source = find_credentials(_files(tmp_path))
    assert files.retrieve().access_key == "file-key"
    assert "secret" in source
    assert "file-secret" not in source
    environment, source = find_credentials(S3Config("bucket"))
    assert environment.retrieve().access_key == "environment-key"
    assert "environment-secret" not in source
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    identity, source = find_credentials(S3Config("bucket"))
    assert identity.retrieve().access_key == "key-1"
    assert ROLE in source
    assert "a-token" not in source


def test_changed_files_are_read_again(tmp_path: Path) -> None:
    provider, _ = find_credentials(_files(tmp_path))
    current = for_obstore(provider)
    assert current()["secret_access_key"] == "file-secret"
    (tmp_path / "secret").write_text("new-secret")
    assert current()["secret_access_key"] == "new-secret"
    expires_at = current()["expires_at"]
    assert expires_at is not None
    assert expires_at > datetime.now(UTC)


@pytest.mark.parametrize("damage", ["absent", "empty"])
def test_a_file_that_says_nothing_is_named(tmp_path: Path, damage: str) -> None:
    provider, _ = find_credentials(_files(tmp_path))
    if damage == "absent":
        (tmp_path / "secret").unlink()
    else:
        (tmp_path / "secret").write_text(" \n")
    with pytest.raises(FailedPrecondition, match=str(tmp_path / "secret")):
        provider.retrieve()


def test_a_token_is_exchanged_for_keys_and_never_stands_in_a_url(
    web_identity: TokenService,
) -> None:
    provider, _ = find_credentials(S3Config("bucket"))
    credentials = for_obstore(provider)()
    assert credentials["access_key_id"] == "key-1"
    assert credentials["secret_access_key"] == "secret"
    assert credentials["token"] == "session"
    (request,) = web_identity.requests
    assert request["Action"] == ["AssumeRoleWithWebIdentity"]
    assert request["RoleArn"] == [ROLE]
    assert request["WebIdentityToken"] == ["a-token"]
    assert web_identity.paths == ["/"]


def test_keys_are_kept_until_shortly_before_their_end(
    web_identity: TokenService, tmp_path: Path
) -> None:
    provider, _ = find_credentials(S3Config("bucket"))
    assert provider.retrieve() is provider.retrieve()
    web_identity.valid_for = timedelta(minutes=4)
    provider, _ = find_credentials(S3Config("bucket"))
    assert provider.retrieve().access_key == "key-2"
    (tmp_path / "token").write_text("a-newer-token")
    assert provider.retrieve().access_key == "key-3"
    assert web_identity.requests[-1]["WebIdentityToken"] == ["a-newer-token"]


def test_a_refused_token_is_said_without_the_token(web_identity: TokenService) -> None:
    web_identity.refuses = True
    provider, _ = find_credentials(S3Config("bucket"))
    with pytest.raises(FailedPrecondition, match="InvalidIdentityToken") as caught:
        provider.retrieve()
    assert "a-token" not in caught.value.message


def test_a_token_service_that_cannot_be_reached_may_be_back_later(
    web_identity: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    provider, _ = find_credentials(S3Config("bucket"))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        provider.retrieve()


@pytest.mark.parametrize(
    ("config", "url"),
    [
        (S3Config("bucket", region="eu-west-1"), "https://sts.eu-west-1.amazonaws.com"),
        (S3Config("bucket", "minio:9000"), "https://minio:9000"),
    ],
)
def test_the_token_service_is_that_of_aws_or_the_store_itself(
    web_identity: TokenService, monkeypatch: pytest.MonkeyPatch, config: S3Config, url: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_STS")
    provider, _ = find_credentials(config)
    assert provider._sts_url == url  # type: ignore[attr-defined]


def test_without_any_the_ways_to_give_them_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(FailedPrecondition, match=r"access_key_id_file.*AWS_ROLE_ARN"):
        find_credentials(S3Config("bucket"))
