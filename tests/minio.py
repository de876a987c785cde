"""A real S3 server for tests: MinIO, built once with Go, or moto's where there is no Go."""

import itertools
import os
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Self

from minio import Minio

from reapi.cas.objects.s3_config import S3Config
from tests.ports import lasting_port

ROOT = Path(__file__).parent.parent
MINIO = ROOT / ".cache" / "tools" / "minio"
START_DEADLINE_SECONDS = 60

_buckets = itertools.count()


def has_minio() -> bool:
    """Whether there is a MinIO, or it can be built."""
    return MINIO.exists() or shutil.which("go") is not None


def build_minio() -> None:
    """Takes minutes the first time. Other processes that want it too wait meanwhile."""
    if not MINIO.exists():
        subprocess.run([ROOT / "scripts" / "install_tools.sh", "minio"], check=True)


class S3Server:
    """An S3 server on a free loopback port with its data in `directory`, ready on entry.

    It is ended by its process id. MinIO keeps its objects when it is killed and restarted; moto
    forgets them, and takes every key for a good one.
    """

    access_key = "test-access-key"
    secret_key = "test-secret-key"

    def __init__(self, directory: Path, *, is_minio: bool, certs_dir: Path | None = None) -> None:
        self.is_minio = is_minio
        self.endpoint = ""
        self._directory = directory
        self._certs_dir = certs_dir
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        self.endpoint = f"127.0.0.1:{lasting_port()}"
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL; nothing listens any more on return."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def start(self) -> None:
        """Starts it where it was before, and waits until it answers."""
        environment = os.environ | {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_KMS_SECRET_KEY": f"test:{b64encode(bytes(32)).decode()}",
            "MINIO_CI_CD": "1",  # its data may be on the disk of the system
            "HOME": str(self._directory),
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, env=environment
            )
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                log_text = self._log.read_text(errors="replace")
                raise AssertionError(f"no S3 server starts: {log_text[-3000:]}")
            time.sleep(0.02)

    @property
    def _log(self) -> Path:
        return self._directory / "server.log"

    def _command(self) -> list[str]:
        host, port = self.endpoint.split(":")
        if not self.is_minio:
            return [sys.executable, "-m", "moto.server", "-H", host, "-p", port]
        certs = ["--certs-dir", str(self._certs_dir)] if self._certs_dir else []
        data = str(self._directory / "data")
        return [str(MINIO), "server", "--quiet", *certs, "--address", self.endpoint, data]

    def _answers(self) -> bool:
        """Whether it refuses strangers, which it does not before it has read its data."""
        scheme = "https" if self._certs_dir else "http"
        untrusting = ssl._create_unverified_context()
        path = "" if self.is_minio else "moto-api/"
        url = f"{scheme}://{self.endpoint}/{path}"
        try:
            with urllib.request.urlopen(url, timeout=5, context=untrusting):
                return True
        except urllib.error.HTTPError as error:
            with error:
                return error.code == 403
        except OSError:
            return False


def new_bucket(server: S3Server, directory: Path, key_prefix: str = "a/prefix") -> S3Config:
    """Makes a bucket, and puts the credentials for it into `directory`."""
    config = S3Config(
        f"bucket-{next(_buckets)}",
        server.endpoint,
        key_prefix=key_prefix,
        use_ssl=False,
        access_key_id_file=directory / "access-key-id",
        secret_access_key_file=directory / "secret-access-key",
    )
    (directory / "access-key-id").write_text(server.access_key)
    (directory / "secret-access-key").write_text(f"{server.secret_key}\n")
    minio_client(server).make_bucket(config.bucket)
    return config


def minio_client(server: S3Server) -> Minio:
    """Looks at buckets as somebody else does."""
    return Minio(
        server.endpoint, server.access_key, server.secret_key, secure=False, region="us-east-1"
    )
