"""What the machine itself can do, on the core that the server has: each figure bounds a row."""

import hashlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

_MIB = 1 << 20


def measure_limits(core: int, directory: Path) -> dict[str, float]:
    """Runs every limit for about half a second, pinned to `core`; `directory` is on the disk."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        return {
            "sha256, MiB/s": _rate(_hash(64 * _MIB), 64),
            "sha256 of 1 KiB blobs, /s": _rate(_hash_small, 1000),
            "disk write, MiB/s": _disk_write(directory, 1 << 30),
            "loopback, MiB/s": _loopback(),
            "fork and exec of /bin/true, /s": _rate(_spawn, 20),
            "create, write and rename a file, /s": _rate(_small_files(directory), 50),
        }
    finally:
        os.sched_setaffinity(0, before)


def _rate(once: Callable[[], None], units: int) -> float:
    once()
    started, rounds = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < 0.5:
        once()
        rounds += 1
    return rounds * units / elapsed


def _hash(size_bytes: int) -> Callable[[], None]:
    data = os.urandom(size_bytes)

    def once() -> None:
        hashlib.sha256(data).digest()

    return once


def _hash_small() -> None:
    data = bytes(1024)
    for _ in range(1000):
        hashlib.sha256(data).hexdigest()


def _disk_write(directory: Path, size_bytes: int) -> float:
    """Into the page cache. In one go: memory that was just freed would be much quicker."""
    data = os.urandom(_MIB)
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        started = time.perf_counter()
        for _ in range(size_bytes // _MIB):
            file.write(data)
        return size_bytes / _MIB / (time.perf_counter() - started)


def _spawn() -> None:
    for _ in range(20):
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def _small_files(directory: Path) -> Callable[[], None]:
    data = bytes(1024)

    def once() -> None:
        for number in range(50):
            path = directory / f"limit-{number}"
            path.write_bytes(data)
            path.rename(path.with_suffix(".done"))
        for path in directory.glob("limit-*.done"):
            path.unlink()

    return once


def _loopback() -> float:
    total = 512 * _MIB
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def send() -> None:
            with socket.create_connection(listener.getsockname()) as sender:
                data = bytes(_MIB)
                for _ in range(total // _MIB):
                    sender.sendall(data)

        thread = threading.Thread(target=send)
        thread.start()
        receiver, _ = listener.accept()
        with receiver:
            buffer = bytearray(_MIB)
            started, received = time.perf_counter(), 0
            while received < total:
                received += receiver.recv_into(buffer)
            elapsed = time.perf_counter() - started
        thread.join()
    return total / _MIB / elapsed
