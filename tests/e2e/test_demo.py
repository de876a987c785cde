"""`make demo`, the first thing that anybody tries."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parent.parent.parent / "scripts" / "demo.py"
DEADLINE_SECONDS = 120


def test_the_demo_builds_from_the_caches_what_g_plus_plus_makes_and_stops_its_server() -> None:
    done = subprocess.run(
        [sys.executable, DEMO], capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr

    rows = re.findall(r"^(\w[\w ]*?) +[\d.]+ s +(\d+) +(\d+)$", done.stdout, re.MULTILINE)
    assert rows == [
        ("plain", "0", "6"),
        ("cold", "0", "6"),
        ("another machine", "6", "0"),
        ("warm", "6", "0"),
    ]
    assert "the same objects, byte for byte" in done.stdout
    assert "2 ^ 3 ^ 2 = 512" in done.stdout
    assert re.findall(r"s, (.*): all 18 cases passed", done.stdout) == [
        "by an executor",
        "from the cache",
    ]

    address = re.search(r"listens on (.+):(\d+); gRPC is carried by (native|grpc.aio)", done.stdout)
    assert address is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address[1], int(address[2])))
