"""Temporary credentials of a web identity open a bucket of a real MinIO.

The token service is a stub, for MinIO would want an identity provider: it checks the token and has
MinIO itself make the temporary keys, which come with a session token.
"""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from minio import MinioAdmin
from minio.credentials.providers import AssumeRoleProvider, StaticProvider

from reapi.cas.objects.s3_config import S3Config
from reapi.core.digest import digest_of
from reapi.core.errors import Unavailable
from tests.integration.s3_system import MIB, listed, open_objects, read, write
from tests.minio import S3Server

TOKEN = "the-token-of-the-pod"
ANSWER = (
    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
    "<AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>"
    "<SessionToken>{}</SessionToken><Expiration>{}</Expiration>"
    "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
)


@pytest.fixture
def temporary_keys(minio_server: S3Server) -> AssumeRoleProvider:
    """Keys that MinIO makes for a user of its own."""
    root = StaticProvider(minio_server.access_key, minio_server.secret_key)
    admin = MinioAdmin(
        endpoint=minio_server.endpoint, credentials=root, secure=False, region="us-east-1"
    )
    admin.user_add("role-user", "role-secret")
    admin.policy_set("readwrite", "role-user")
    return AssumeRoleProvider(
        sts_endpoint=f"http://{minio_server.endpoint}",
        access_key="role-user",
        secret_key="role-secret",
        region="us-east-1",
    )


@pytest.fixture
def token_service(temporary_keys: AssumeRoleProvider) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            keys = temporary_keys.retrieve()
            is_known = body["WebIdentityToken"] == [TOKEN]
            self.send_response(200 if is_known else 400)
            self.end_headers()
            if is_known:
                expiration = f"{keys.expiration:%Y-%m-%dT%H:%M:%SZ}"
                parts = (keys.access_key, keys.secret_key, keys.session_token, expiration)
                self.wfile.write(ANSWER.format(*parts).encode())
            else:
                self.wfile.write(b"<Error><Code>InvalidIdentityToken</Code></Error>")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def identity_config(
    token_service: str, s3_config: S3Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> S3Config:
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", token_service)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/cache")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    return replace(s3_config, access_key_id_file=None, secret_access_key_file=None)


async def test_a_web_identity_reads_and_writes(identity_config: S3Config, tmp_path: Path) -> None:
    async with open_objects(identity_config, tmp_path / "spool") as objects:
        await objects.check()
        for size in (1000, 20 * MIB):
            data = os.urandom(size)
            assert await read(objects, await write(objects, data), digest_of(data)) == (data, True)
        await objects.delete([info.name for info in await listed(objects)])
        assert await listed(objects) == []


async def test_a_refused_web_identity_is_unavailable(
    identity_config: S3Config, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("a forged token")
    async with open_objects(identity_config, tmp_path / "spool") as objects:
        with pytest.raises(Unavailable, match="InvalidIdentityToken"):
            await objects.check()
