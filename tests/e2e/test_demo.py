"""`make demo`, the first thing that anybody tries."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parent.parent.parent / "scripts" / "demo.py"
DEADLINE_SECONDS = 120


def test_the_demo_builds_again_entirely_from_the_cache_and_stops_its_server() -> None:
    done = subprocess.run(
        [sys.executable, DEMO], capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr

    rows = dict(re.findall(r"^(first|again) +[\d.]+ s +(.*)$", done.stdout, re.MULTILINE))
    assert {name: row.split() for name, row in rows.items()} == {
        "first": ["10", "0", "10"],
        "again": ["10", "10", "0"],
    }
    assert "2 ^ 3 ^ 2 = 512" in done.stdout

    address = re.search(r"listens on (.+):(\d+)\.", done.stdout)
    assert address is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address[1], int(address[2])))
