"""Ends the multipart uploads of processes that were killed: their parts cost space, unseen."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Self

from minio import Minio
from minio.credentials.providers import Provider
from minio.datatypes import Upload
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from reapi.core.errors import ReapiError

from .s3_clients import admin_client
from .s3_config import S3Config
from .s3_metrics import S3Metrics

logger = logging.getLogger(__name__)

_SWEEP_SECONDS = 900


class S3Janitor:
    """Looks for abandoned uploads at once and then every quarter of an hour, while it is entered.

    Abandoned is an upload that began longer than `deadline_seconds` ago and has had no part since:
    a slow one of another process is left alone. Its failures are logged and counted, nothing more;
    a lifecycle rule of the bucket does the same after a day, where the store knows such rules.
    """

    def __init__(
        self,
        config: S3Config,
        credentials: Provider,
        *,
        deadline_seconds: float,
        metrics: S3Metrics,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config = config
        self._credentials = credentials
        self._deadline = timedelta(seconds=deadline_seconds)
        self._metrics = metrics
        self._now = now
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _run(self) -> None:
        while True:
            await self.sweep()
            await asyncio.sleep(_SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Looks once. Does not fail."""
        try:
            aborted = await asyncio.to_thread(self._abort_abandoned)
        except (MinioException, HTTPError, ReapiError, ValueError) as error:
            self._metrics.failed_sweeps.inc()
            logger.warning(
                "cannot look for abandoned uploads in the bucket %s: %s",
                self._config.bucket,
                getattr(error, "code", "") or type(error).__name__,
            )
            return
        if aborted:
            logger.info("aborted %d abandoned uploads in %s", aborted, self._config.bucket)

    def _abort_abandoned(self) -> int:
        """Blocks; says how many there were."""
        client = admin_client(self._config, self._credentials)
        aborted = 0
        for upload in self._uploads(client):
            key, upload_id = upload.object_name, upload.upload_id or ""
            try:
                if self._is_abandoned(client, key, upload_id):
                    client._abort_multipart_upload(self._config.bucket, key, upload_id)
                    self._metrics.aborted_uploads.inc()
                    aborted += 1
            except S3Error as error:
                if error.code != "NoSuchUpload":  # it ended meanwhile
                    raise
        return aborted

    def _uploads(self, client: Minio) -> Iterator[Upload]:
        """Those below our prefix that began long ago.

        MinIO lists all uploads or those of one key, never those below a prefix; so all are asked
        for. The client has no public methods for this.
        """
        prefix = self._config.key("cas") + "/"
        marker = None
        while True:
            page = client._list_multipart_uploads(self._config.bucket, key_marker=marker)
            for upload in page.uploads:
                is_ours = upload.object_name.startswith(prefix)
                if is_ours and self._is_long_ago(upload.initiated_time):
                    yield upload
            if not page.is_truncated:
                return
            marker = page.next_key_marker

    def _is_abandoned(self, client: Minio, key: str, upload_id: str) -> bool:
        marker = None
        while True:
            page = client._list_parts(
                self._config.bucket, key, upload_id, part_number_marker=marker
            )
            if not all(self._is_long_ago(part.last_modified) for part in page.parts):
                return False
            if not page.is_truncated:
                return True
            marker = page.next_part_number_marker

    def _is_long_ago(self, moment: datetime | None) -> bool:
        """By our clock and the store's, which may differ by less than the deadline."""
        return moment is None or self._now() - moment >= self._deadline
