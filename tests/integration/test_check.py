"""`reapi-server check` and `storage init` say what fails, and what to do about it."""

import fcntl
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from minio import MinioAdmin
from minio.commonconfig import ENABLED, Filter
from minio.credentials.providers import StaticProvider
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule
from minio.versioningconfig import VersioningConfig

from reapi.server.__main__ import main
from tests.certificates import certificate, new_key, private_pem
from tests.minio import S3Server, minio_client, new_bucket


@dataclass
class Settings:
    """A configuration file that tests change."""

    folder: Path
    blobs: dict[str, object] = field(default_factory=dict)

    def run(self, *command: str) -> Result:
        """A command of reapi-server with this configuration."""
        lines = [f"data_dir = {json.dumps(str(self.folder / 'data'))}", "[storage.blobs]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in self.blobs.items()]
        file = self.folder / "config.toml"
        file.write_text("\n".join(lines))
        return CliRunner().invoke(main, [*command, "--config", str(file)])


@pytest.fixture
def disk(tmp_path: Path) -> Settings:
    return Settings(tmp_path, {"kind": "disk"})


@pytest.fixture
def settings(s3_server: S3Server, tmp_path: Path) -> Settings:
    """A bucket with which all is well."""
    config = new_bucket(s3_server, tmp_path)
    return Settings(
        tmp_path,
        {
            "kind": "s3",
            "bucket": config.bucket,
            "endpoint": config.endpoint,
            "key_prefix": config.key_prefix,
            "use_ssl": False,
            "access_key_id_file": str(config.access_key_id_file),
            "secret_access_key_file": str(config.secret_access_key_file),
        },
    )


def _failures(result: Result) -> list[str]:
    """The lines of what failed, with the advice below each."""
    lines = result.output.splitlines()
    return [
        " ".join(f"{line} {' '.join(lines[number + 1 : number + 2])}".split())
        for number, line in enumerate(lines)
        if " FAILED " in line
    ]


def test_a_good_bucket_passes_every_check(settings: Settings) -> None:
    result = settings.run("check")
    assert result.exit_code == 0, result.output
    lines = [line.split()[:3] for line in result.output.splitlines()]
    for name in ("endpoint", "tls", "credentials", "bucket", "permission", "lifecycle"):
        assert ["s3", name, "ok"] in lines


def test_the_sandbox_of_actions_is_said_and_why(disk: Settings) -> None:
    result = disk.run("check", "--json")
    (sandbox,) = (one for one in json.loads(result.output) if one["name"] == "sandbox")
    assert sandbox["text"].startswith(("bubblewrap: ", "none: "))
    assert not [path for path in disk.folder.iterdir() if "sandbox" in path.name]


def test_a_sandbox_that_is_required_and_does_not_work_fails_the_check(
    disk: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/absent")
    monkeypatch.setenv("REAPI_EXECUTOR__SANDBOX", "required")
    (failure,) = _failures(disk.run("check"))
    assert "bwrap is not on the PATH" in failure
    monkeypatch.setenv("REAPI_EXECUTOR__SANDBOX", "auto")
    result = disk.run("check")
    assert result.exit_code == 0
    assert "none: bwrap is not on the PATH" in result.output


@pytest.mark.parametrize("roles", [[], ["--role", "executor"]])
def test_a_server_whose_sandbox_is_required_and_does_not_work_refuses_to_start(
    disk: Settings, monkeypatch: pytest.MonkeyPatch, roles: list[str]
) -> None:
    monkeypatch.setenv("PATH", "/absent")
    monkeypatch.setenv("REAPI_EXECUTOR__SANDBOX", "required")
    monkeypatch.setenv("REAPI_SERVER__HTTP_LISTEN", "127.0.0.1:0")
    result = disk.run("serve", "--listen", "127.0.0.1:0", *roles)
    assert result.exit_code == 1
    assert "ready" not in result.output
    assert 'executor.sandbox = "required", but bubblewrap does not work here' in result.output


def test_a_check_in_json_is_an_array_with_names(settings: Settings) -> None:
    settings.blobs["bucket"] = "absent"
    result = settings.run("check", "--json")
    assert result.exit_code == 1
    findings = json.loads(result.output)
    assert all(next(iter(finding)) == "name" for finding in findings)
    (failed,) = [finding for finding in findings if finding["status"] == "failed"]
    assert failed["name"] == "s3 bucket"
    assert "storage init" in failed["advice"]


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({"endpoint": "127.0.0.1:1"}, "s3 endpoint", "nobody listens at 127.0.0.1:1"),
        ({"endpoint": "no.invalid:9000"}, "s3 endpoint", "no.invalid cannot be resolved"),
        ({"use_ssl": True}, "s3 tls", "set use_ssl = false"),
        ({"bucket": "absent"}, "s3 bucket", "run `reapi-server storage init`"),
        ({"endpoint": "http://minio:1"}, "configuration", "the configuration is not valid"),
        ({"access_key_id_file": "/no/file"}, "s3 credentials", "credentials from /no/file"),
    ],
)
def test_the_part_that_fails_is_named(
    settings: Settings, changes: dict[str, object], name: str, expected: str
) -> None:
    settings.blobs |= changes
    result = settings.run("check")
    assert result.exit_code == 1
    (failure,) = _failures(result)
    assert failure.startswith(f"{name} FAILED")
    assert expected in failure


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("access_key_id_file", "InvalidAccessKeyId the store does not know this access key"),
        ("secret_access_key_file", "SignatureDoesNotMatch the secret access key does not belong"),
    ],
)
def test_wrong_credentials_are_told_apart(
    minio_server: S3Server, settings: Settings, file: str, expected: str
) -> None:
    Path(str(settings.blobs[file])).write_text("something-else")
    result = settings.run("check")
    assert result.exit_code == 1
    (failure,) = _failures(result)
    assert expected in failure
    assert "something-else" not in result.output


@pytest.fixture
def grant(minio_server: S3Server, settings: Settings) -> Callable[[list[str]], None]:
    """Gives the configuration a key that may do no more than what is named."""

    def grant(actions: list[str]) -> None:
        root = StaticProvider(minio_server.access_key, minio_server.secret_key)
        admin = MinioAdmin(
            endpoint=minio_server.endpoint, credentials=root, secure=False, region="us-east-1"
        )
        user = f"user-of-{settings.blobs['bucket']}"
        statement = {"Effect": "Allow", "Action": actions, "Resource": ["arn:aws:s3:::*"]}
        admin.user_add(user, "a-good-secret")
        admin.policy_add(user, policy={"Version": "2012-10-17", "Statement": [statement]})
        admin.policy_set(user, user)
        Path(str(settings.blobs["access_key_id_file"])).write_text(user)
        Path(str(settings.blobs["secret_access_key_file"])).write_text("a-good-secret")

    return grant


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        (["s3:GetObject"], "s3 permission FAILED our key may not do this"),
        (["s3:ListBucket", "s3:GetObject"], "cannot write objects"),
        (["s3:ListBucket", "s3:PutObject"], "cannot read objects"),
        (["s3:ListBucket", "s3:PutObject", "s3:GetObject"], "cannot delete objects"),
    ],
)
def test_a_right_that_is_missing_is_named(
    settings: Settings, grant: Callable[[list[str]], None], actions: list[str], expected: str
) -> None:
    grant(actions)
    result = settings.run("check")
    assert result.exit_code == 1
    (failure,) = _failures(result)
    assert expected in failure


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_versioning_is_a_warning(s3_server: S3Server, settings: Settings, status: str) -> None:
    bucket = str(settings.blobs["bucket"])
    minio_client(s3_server).set_bucket_versioning(bucket, VersioningConfig(status))
    result = settings.run("check")
    assert result.exit_code == 0
    assert f"warning  {status.lower()}: deleted blobs keep their bytes" in result.output


def test_a_rule_that_deletes_promised_blobs_is_a_warning(
    s3_server: S3Server, settings: Settings
) -> None:
    rule = Rule(ENABLED, rule_filter=Filter(prefix=""), expiration=Expiration(days=7), rule_id="x")
    bucket = str(settings.blobs["bucket"])
    minio_client(s3_server).set_bucket_lifecycle(bucket, LifecycleConfig([rule]))
    assert (
        "the rule 'x' deletes objects that the server has promised" in settings.run("check").output
    )


def test_init_makes_a_bucket_once_and_check_is_content_then(settings: Settings) -> None:
    settings.blobs["bucket"] = f"{settings.blobs['bucket']}-new"
    assert settings.run("check").exit_code == 1
    made = settings.run("storage", "init")
    assert made.exit_code == 0, made.output
    assert "made" in made.output
    assert "is there already" in settings.run("storage", "init").output
    assert settings.run("check").exit_code == 0


def test_init_keeps_the_rules_that_are_there(s3_server: S3Server, settings: Settings) -> None:
    other = Rule(
        ENABLED, rule_filter=Filter(prefix="logs/"), expiration=Expiration(days=7), rule_id="x"
    )
    client, bucket = minio_client(s3_server), str(settings.blobs["bucket"])
    client.set_bucket_lifecycle(bucket, LifecycleConfig([other]))
    assert settings.run("storage", "init").exit_code == 0
    assert settings.run("storage", "init").exit_code == 0
    lifecycle = client.get_bucket_lifecycle(bucket)
    assert lifecycle is not None
    identifiers = [rule.rule_id for rule in lifecycle.rules]
    assert identifiers.count("x") == 1
    assert len(identifiers) == (1 if s3_server.is_minio else 2)  # MinIO knows no such rule


def test_init_says_what_fails(settings: Settings) -> None:
    settings.blobs["endpoint"] = "127.0.0.1:1"
    result = settings.run("storage", "init")
    assert result.exit_code == 1
    assert "nobody listens" in result.output


@pytest.fixture
def tls_server(minio_server: S3Server, tmp_path: Path) -> Iterator[S3Server]:
    """A server whose certificate a private authority has signed."""
    certs = tmp_path / "certs"
    certs.mkdir()
    authority, key = new_key(), new_key()
    (tmp_path / "authority.pem").write_bytes(certificate("authority", authority, authority))
    (certs / "public.crt").write_bytes(certificate("server", key, authority))
    (certs / "private.key").write_bytes(private_pem(key))
    with S3Server(tmp_path / "tls", is_minio=True, certs_dir=certs) as server:
        yield server


def test_a_certificate_that_is_not_trusted_is_said_and_can_be_trusted(
    tls_server: S3Server, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.blobs |= {"endpoint": tls_server.endpoint, "use_ssl": True}
    (failure,) = _failures(settings.run("check"))
    assert failure.startswith("s3 tls FAILED the certificate of 127.0.0.1 is not trusted")
    assert "SSL_CERT_FILE" in failure
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    result = settings.run("storage", "init")
    assert result.exit_code == 0, result.output
    result = settings.run("check")
    assert result.exit_code == 0, result.output
    assert "TLSv1" in result.output


def test_plain_http_to_a_server_that_speaks_tls_is_said(
    tls_server: S3Server, settings: Settings
) -> None:
    settings.blobs |= {"endpoint": tls_server.endpoint, "use_ssl": False}
    (failure,) = _failures(settings.run("check"))
    assert failure.startswith("s3 tls FAILED 127.0.0.1 speaks TLS here")
    assert "use_ssl = true" in failure


def test_a_data_dir_that_can_be_made_passes(disk: Settings) -> None:
    result = disk.run("check")
    assert result.exit_code == 0
    assert not (disk.folder / "data").exists()


def test_a_data_dir_below_a_file_fails(disk: Settings) -> None:
    (disk.folder / "data").write_text("a file")
    result = disk.run("check")
    assert result.exit_code == 1
    assert "cannot be written" in _failures(result)[0]


def test_a_data_dir_in_use_is_a_warning(disk: Settings) -> None:
    (disk.folder / "data").mkdir()
    with (disk.folder / "data" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = disk.run("check")
    assert result.exit_code == 0
    assert "a server runs on it now" in result.output


def test_a_database_that_cannot_be_read_fails(disk: Settings) -> None:
    data_dir = disk.folder / "data"
    data_dir.mkdir()
    good = sqlite3.connect(data_dir / "good.db")
    good.execute("CREATE TABLE one (two)")
    good.close()
    (data_dir / "index.db").write_bytes(b"this is no database" * 1000)
    result = disk.run("check")
    assert result.exit_code == 1
    assert "database good.db ok" in " ".join(result.output.split())
    (failure,) = _failures(result)
    assert failure.startswith("database index.db FAILED cannot be read")
