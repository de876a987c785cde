"""The client for code without an event loop: the same methods, each waiting for its end."""

import asyncio
import concurrent.futures
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

from .client import Client
from .tls import SYSTEM_TLS, ClientTls

P = ParamSpec("P")
T = TypeVar("T")

_FINISH_SECONDS = 10.0
_WAKE_UP_SECONDS = 0.5


def _waiting(
    method: Callable[Concatenate[Client, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["SyncClient", P], T]:
    @functools.wraps(method)
    def call(self: "SyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._wait(method(self._client, *args, **kwargs))

    return call


class SyncClient:
    """Client (client.py) with methods that block; use it as a context manager.

    Takes the arguments of Client. Its event loop runs in a thread of its own, so it may be used
    from several threads and inside of programs that have an event loop. An interrupted method
    (Ctrl-C) cancels its work, at the server too, and so does leaving the context with whatever is
    still under way. Not to be used after a fork.
    """

    def __init__(
        self,
        server: str,
        *,
        instance_name: str = "",
        token: str | None = None,
        tls: ClientTls = SYSTEM_TLS,
        digest_function: str = "SHA256",
        tool_name: str = "reapi-client",
        remembers_digests: bool = True,
    ) -> None:
        self._client = Client(
            server,
            instance_name=instance_name,
            token=token,
            tls=tls,
            digest_function=digest_function,
            tool_name=tool_name,
            remembers_digests=remembers_digests,
        )
        self._calls = set[asyncio.Task[Any]]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="reapi-client", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait(self._client.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(self._listed(work), self._loop)
        try:
            # A signal that arrives as this thread falls asleep does not wake it (the interpreter
            # looks for signals before it waits for a lock, not atomically with it).
            while not concurrent.futures.wait([future], _WAKE_UP_SECONDS).done:
                pass
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    async def _listed(self, work: Coroutine[Any, Any, T]) -> T:
        task = cast("asyncio.Task[T]", asyncio.current_task())
        self._calls.add(task)
        try:
            return await work
        finally:
            self._calls.remove(task)

    async def _finish(self) -> None:
        """Cancels the calls under way, at the server too, which takes little time."""
        calls = self._calls - {asyncio.current_task()}
        for call in calls:
            if not call.cancelling():
                call.cancel()
        if calls:
            await asyncio.wait(calls, timeout=_FINISH_SECONDS)
        await self._client.__aexit__()
        await self._loop.shutdown_default_executor()

    run = _waiting(Client.run)
    execute = _waiting(Client.execute)
    get_action = _waiting(Client.get_action)
    get_action_result = _waiting(Client.get_action_result)
    upload_blobs = _waiting(Client.upload_blobs)
    upload_bytes = _waiting(Client.upload_bytes)
    upload_file = _waiting(Client.upload_file)
    upload_tree = _waiting(Client.upload_tree)
    import_image = _waiting(Client.import_image)
    read_bytes = _waiting(Client.read_bytes)
    list_directory = _waiting(Client.list_directory)
    download_file = _waiting(Client.download_file)
    download_tree = _waiting(Client.download_tree)
    get_operation = _waiting(Client.get_operation)
    list_operations = _waiting(Client.list_operations)
    cancel_operation = _waiting(Client.cancel_operation)
    list_results = _waiting(Client.list_results)
    revoke_results = _waiting(Client.revoke_results)
    explain = _waiting(Client.explain)
    list_history = _waiting(Client.list_history)
    list_workers = _waiting(Client.list_workers)
    get_status = _waiting(Client.get_status)
