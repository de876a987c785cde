"""Objects in a bucket of any S3: the byte store of many machines.

    <key_prefix>/cas/<name>          whole objects, named as names.py says
    <key_prefix>/quarantine/<name>   damaged, kept for whoever looks for the cause
    <key_prefix>/probe/<random>      written and deleted by `check`

Bytes from a bucket count for nothing until they are hashed: readers feed them to the caller's
hasher. Whoever can write to the bucket can make blobs go missing, and nothing else.
"""

import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Self

import obstore
from obstore.store import S3Store

from reapi.core.digest import Digest
from reapi.core.errors import InvalidArgument, Unavailable

from .interface import NoObject, ObjectInfo
from .s3_clients import data_client
from .s3_config import S3Config
from .s3_credentials import find_credentials
from .s3_errors import S3_ERRORS
from .s3_janitor import S3Janitor
from .s3_metrics import S3Metrics
from .s3_reader import S3Reader
from .s3_requests import PART_BYTES, Requests
from .s3_writer import S3Writer

logger = logging.getLogger(__name__)

_MOST_PARTS = 10_000
_LIST_BATCH = 1000
_DELETE_BATCH = 1000

_ANSWER_SECONDS = 10
_PART_ANSWER_SECONDS = 20
"""For requests that carry a whole part to a server that may be far away."""


class S3Objects:
    """An ObjectStore. Use it as an async context manager, in one event loop.

    `spool_dir` is where large objects wait for their upload, 16 MiB each at most. All that is
    under way is bounded: 128 requests, and 32 MiB of parts in memory.
    """

    def __init__(
        self,
        config: S3Config,
        *,
        spool_dir: Path,
        threads: Executor,
        metrics: S3Metrics,
        upload_deadline_seconds: float,
    ) -> None:
        self._config = config
        self._spool_dir = spool_dir
        self._threads = threads
        self._requests = Requests(config.bucket, metrics, threads)
        self._deadline_seconds = upload_deadline_seconds
        self._metrics = metrics
        self._exit = AsyncExitStack()
        self._store: S3Store
        self._part_store: S3Store

    async def __aenter__(self) -> Self:
        """Raises FailedPrecondition when no credentials are configured. Asks the bucket nothing."""
        credentials, source = find_credentials(self._config)
        logger.info("credentials for the bucket %s: %s", self._config.bucket, source)
        self._spool_dir.mkdir(parents=True, exist_ok=True)
        self._store = data_client(self._config, credentials, _ANSWER_SECONDS)
        self._part_store = data_client(self._config, credentials, _PART_ANSWER_SECONDS)
        janitor = S3Janitor(
            self._config,
            credentials,
            deadline_seconds=self._deadline_seconds,
            metrics=self._metrics,
        )
        await self._exit.enter_async_context(janitor)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def create(self, digest: Digest, ending: str = "") -> S3Writer:
        """See ObjectStore; InvalidArgument for a blob that is larger than a bucket can take."""
        if digest.size_bytes > _MOST_PARTS * PART_BYTES:
            raise InvalidArgument(
                f"a blob of {digest.size_bytes} bytes is too large: "
                f"the store takes {_MOST_PARTS * PART_BYTES}"
            )
        return S3Writer(
            digest,
            ending,
            self._config,
            stores=(self._store, self._part_store),
            requests=self._requests,
            spool_dir=self._spool_dir,
            threads=self._threads,
        )

    async def open(self, name: str, offset: int, end: int) -> S3Reader:
        """See ObjectStore."""
        key = self._config.key("cas", name)
        reader = S3Reader(
            self._store, key, offset, end, requests=self._requests, threads=self._threads
        )
        return await reader.open()

    async def delete(self, names: Sequence[str]) -> None:
        """See ObjectStore."""
        # Each once: a server may answer nonsense to a key that stands twice in a request.
        keys = list(dict.fromkeys(self._config.key("cas", name) for name in names))
        for start in range(0, len(keys), _DELETE_BATCH):
            batch = keys[start : start + _DELETE_BATCH]
            try:
                await self._requests.run(
                    "delete objects", partial(obstore.delete_async, self._store, batch)
                )
            except NoObject:
                continue  # of a server that minds

    async def quarantine(self, name: str) -> None:
        """See ObjectStore. The store itself copies the object."""
        key = self._config.key("cas", name)
        try:
            await self._requests.run(
                "quarantine an object",
                lambda: obstore.copy_async(self._store, key, self._config.key("quarantine", name)),
            )
        except NoObject:
            return  # it is out of the way
        await self.delete([name])

    async def list(self) -> AsyncIterator[Sequence[ObjectInfo]]:
        """See ObjectStore."""
        prefix = self._config.key("cas")
        begin = len(prefix) + 1
        batches = obstore.list(self._store, prefix, chunk_size=_LIST_BATCH)
        try:
            async for batch in batches:
                yield [
                    ObjectInfo(
                        found["path"][begin:],
                        found["size"],
                        int(found["last_modified"].timestamp()),
                    )
                    for found in batch
                ]
        except S3_ERRORS as error:
            self._requests.fail("list the objects", error)

    async def check(self) -> None:
        """See ObjectStore: writes, reads and deletes a tiny object."""
        key = self._config.key("probe", secrets.token_hex(8))
        store, run = self._store, self._requests.run
        try:
            await run("write to the bucket", lambda: obstore.put_async(store, key, b"probe"))
            await run("read from the bucket", lambda: obstore.get_async(store, key))
            await run("delete from the bucket", lambda: obstore.delete_async(store, [key]))
        except NoObject as error:
            raise Unavailable(
                f"the bucket {self._config.bucket} lost an object that was just written"
            ) from error
