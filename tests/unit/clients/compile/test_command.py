"""`reapi-cc` with options: what it tells of the calls before."""

import json
import os
import select
from pathlib import Path

from .conftest import Stub


def test_statistics_count_every_kind_of_call(stub: Stub) -> None:
    stub.run("compiler", "miss")
    stub.run("compiler", "trouble")
    stub.run("compiler", "link")
    found = json.loads(stub.run("--stats", "--json")[1])
    assert found["calls"] == {"miss-remote": 1, "fallback": 1, "local": 1}
    assert found["reasons"] == {"miss-remote: an input differs": 1, "local: a link": 1}
    assert found["failures"] == {"unavailable": 1}
    assert found["bytes"] == {"uploaded": 1 << 20}
    assert found["hit_rate"] == 0
    shown = stub.run("--stats")[1]
    assert "misses, service" in shown
    assert "1  unavailable" in shown


def test_statistics_outlive_the_daemon_and_are_zeroed(stub: Stub) -> None:
    stub.run("compiler", "miss")
    daemon = json.loads(stub.run("--stats", "--json")[1])["daemon"]
    pidfd = os.pidfd_open(daemon["pid"])
    assert stub.run("--stop")[0] == 0
    select.select([pidfd], [], [])
    os.close(pidfd)
    assert not Path(stub.socket).exists()
    found = json.loads(stub.run("--stats", "--json")[1])
    assert (found["calls"], found["daemon"]) == ({"miss-remote": 1}, None)
    stub.run("--zero-stats")
    assert json.loads(stub.run("--stats", "--json")[1])["calls"] == {}


def test_why_names_the_input_that_differs(stub: Stub) -> None:
    stub.run("compiler", "miss")
    for name in ("a.c", "a.o", str(stub.home / "a.o")):
        shown = stub.run("--why", name)[1]
        assert "a.c -> a.o" in shown
        assert "because: an input differs" in shown
        assert "changed: a.h" in shown
    assert json.loads(stub.run("--why", "a.c", "--json")[1])[0]["details"] == ["changed: a.h"]
    assert stub.run("--why", "b.c")[0] == 1


def test_why_knows_local_calls_by_their_arguments(stub: Stub) -> None:
    stub.run("compiler", "-o", "program", "a.o")
    assert "because: a link" in stub.run("--why", "program")[1]


def test_a_trace_has_the_calls_with_their_phases(stub: Stub) -> None:
    stub.run("compiler", "miss")
    assert stub.run("--trace", "trace.json")[0] == 0
    events = json.loads((stub.home / "trace.json").read_text())["traceEvents"]
    assert [event["name"] for event in events] == ["process_name", "a.c", "upload"]


def test_an_installation_has_links_that_are_compilers(stub: Stub) -> None:
    assert stub.run("--install", "links", "compiler", "ld")[0] == 0
    assert (stub.home / "links/compiler").readlink() == Path("reapi-cc")
    (stub.home / "links/gcc").write_text("")
    assert stub.run("--install", "links", "gcc")[0] == 1
    assert stub.run("--install", "links", "../gcc")[0] == 2


def test_help_teaches_and_mistakes_are_told(stub: Stub) -> None:
    for arguments in ([], ["--help"]):
        _, stdout, stderr = stub.run(*arguments)
        assert "CMAKE_C_COMPILER_LAUNCHER" in stdout + stderr
    assert stub.run("--version")[1].startswith("reapi-cc, version ")
    ended, _, stderr = stub.run("--stats", "gcc")
    assert ended == 2
    assert "a compiler comes before all options" in stderr
