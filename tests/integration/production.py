"""Servers as in production: processes of several machines on one database and one bucket."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from reapi.cas.objects.s3_config import S3Config
from reapi.core.postgresql.dsn import Dsn
from tests.server_process import ServerProcess


@dataclass
class Production:
    """A database and a bucket, and the configuration that all servers on them have in common.

    `storage` are further keys of its [storage].
    """

    folder: Path
    dsn: Dsn
    s3: S3Config
    storage: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config_file = self.folder / "config.toml"
        dsn_file = self.folder / "dsn"
        dsn_file.write_text(self.dsn.url)
        storage = [f"{key} = {value}" for key, value in self.storage.items()]
        lines = [
            *("[storage]", *storage),
            *("[storage.state]", 'kind = "postgresql"', f"dsn_file = {json.dumps(str(dsn_file))}"),
            *("[storage.blobs]", *self._blobs()),
        ]
        self.config_file.write_text("\n".join(lines))

    def _blobs(self) -> list[str]:
        keys = {
            "kind": "s3",
            "bucket": self.s3.bucket,
            "endpoint": self.s3.endpoint,
            "key_prefix": self.s3.key_prefix,
            "use_ssl": self.s3.use_ssl,
            "access_key_id_file": str(self.s3.access_key_id_file),
            "secret_access_key_file": str(self.s3.secret_access_key_file),
        }
        return [f"{key} = {json.dumps(value)}" for key, value in keys.items()]

    def frontend(self, name: str, scheduler: str = "") -> ServerProcess:
        """A frontend with a data directory of its own."""
        endpoint = {"REAPI_SCHEDULER__ENDPOINT": scheduler} if scheduler else {}
        return self._server(name, "frontend", endpoint)

    def scheduler(
        self, name: str = "scheduler", *, listen: str = "", **settings: str
    ) -> ServerProcess:
        """On a free port unless it is to `listen` somewhere; `settings` are of its [scheduler]."""
        environment = {f"REAPI_SCHEDULER__{key.upper()}": text for key, text in settings.items()}
        return self._server(name, "scheduler", environment, listen)

    def executor(self, name: str, scheduler: str, **settings: str) -> ServerProcess:
        """An executor that offers the property `executor` with its name.

        `settings` are further keys of its [executor].
        """
        environment = {f"REAPI_EXECUTOR__{key.upper()}": text for key, text in settings.items()}
        environment |= {
            "REAPI_SCHEDULER__ENDPOINT": scheduler,
            "REAPI_EXECUTOR__WORKER_ID": name,
            "REAPI_EXECUTOR__PLATFORM": json.dumps({"executor": name}),
        }
        return self._server(name, "executor", environment)

    def _server(
        self, name: str, role: str, environment: dict[str, str], listen: str = ""
    ) -> ServerProcess:
        data_dir = self.folder / name
        data_dir.mkdir(exist_ok=True)
        os.chmod(data_dir, 0o711)  # the users of actions have to get at their inputs
        arguments = ["--config", str(self.config_file), "--role", role]
        if listen:
            arguments += ["--listen", listen]
        return ServerProcess(data_dir, *arguments, environment=environment)
