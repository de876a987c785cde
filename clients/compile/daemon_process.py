"""The process of the daemon: begins with a socket that listens already, ends when nobody calls."""

import asyncio
import gc
import logging
import logging.handlers
import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import uvloop

from reapi.core.allocator import keep_freed_memory

from .daemon import Daemon
from .engine_interface import Engine
from .journal import JOURNAL_FILE, Journal
from .local_slots import LocalSlots
from .settings import CompileSettings, load_daemon_settings
from .statistics import STATISTICS_FILE, Statistics

IDLE_SECONDS = 30 * 60.0
_LISTENER = 3
"""Where a stub leaves the socket."""
_LARGEST_LOG_BYTES = 1 << 20

MakeEngine = Callable[
    [CompileSettings, LocalSlots, Callable[[str], None]], AbstractAsyncContextManager[Engine]
]
"""Of the daemon's settings, its slots, and what counts a failure that no call has waited for."""
"""Makes what answers calls, in the daemon's event loop; it is left when no call is under way."""

_log = logging.getLogger(__name__)


def main(socket_path: str, make_engine: MakeEngine, *, idle_seconds: float = IDLE_SECONDS) -> None:
    """Serves until it is stopped, or nobody has called for so long."""
    keep_freed_memory()
    os.umask(0o077)
    listener = socket.socket(fileno=_LISTENER)
    settings = load_daemon_settings(os.environ)
    cache_directory = Path(settings.cache_dir)
    cache_directory.mkdir(parents=True, exist_ok=True)
    log = logging.handlers.RotatingFileHandler(
        cache_directory / "daemon.log", maxBytes=_LARGEST_LOG_BYTES, backupCount=1, delay=True
    )
    log.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[log])
    uvloop.run(_serve(listener, socket_path, settings, make_engine, idle_seconds))


async def _serve(
    listener: socket.socket,
    socket_path: str,
    settings: CompileSettings,
    make_engine: MakeEngine,
    idle_seconds: float,
) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stopping)
    own_socket = os.stat(socket_path)
    directory = Path(settings.cache_dir)
    slots = LocalSlots(settings.local_slots)
    statistics = Statistics(directory / STATISTICS_FILE)
    async with make_engine(settings, slots, statistics.count_failure) as engine:
        daemon = Daemon(
            engine,
            slots,
            statistics,
            Journal(directory / JOURNAL_FILE),
            facts={"cache_dir": settings.cache_dir, "socket": socket_path},
            stop=stopping.set,
        )
        gc.freeze()  # what is loaded by now is never garbage
        server = await loop.create_unix_server(daemon.connection, sock=listener)
        _log.info("serves %s with %d local slots", socket_path, slots.count)
        async with asyncio.TaskGroup() as watches:
            watch = watches.create_task(_end_when_idle(daemon, stopping, idle_seconds))
            await stopping.wait()
            watch.cancel()
        _remove(socket_path, own_socket)
        server.close()
        await daemon.wait_until_idle()
    daemon.flush()
    _log.info("ends")


def _stop(stopping: asyncio.Event) -> None:
    """The second signal does not wait for what is under way."""
    if stopping.is_set():
        raise SystemExit(1)
    stopping.set()


async def _end_when_idle(daemon: Daemon, stopping: asyncio.Event, idle_seconds: float) -> None:
    rest = idle_seconds
    while rest > 0:
        await asyncio.sleep(rest)
        unused = time.monotonic() - daemon.last_use if daemon.is_idle else 0.0
        rest = idle_seconds - unused
    stopping.set()


def _remove(socket_path: str, own: os.stat_result) -> None:
    """Lets the next stub start a new daemon; a socket that is another's by now stays."""
    with suppress(FileNotFoundError):
        found = os.stat(socket_path)
        if stat.S_ISSOCK(found.st_mode) and (found.st_dev, found.st_ino) == (
            own.st_dev,
            own.st_ino,
        ):
            os.unlink(socket_path)
