"""Both stubs with a real daemon process: what a build sees, whatever happens to the daemon."""

import json
import os
import select
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from reapi.clients.compile import python_stub
from reapi.clients.compile.control import ask_daemon

from .conftest import Stub


def test_what_the_daemon_has_done_is_printed_and_ends_as_it_says(stub: Stub) -> None:
    assert stub.run("compiler", "finish") == (3, "out\n", "\x1b[1merr\n")
    assert stub.run("compiler", "late", "x") == (0, "late\n", "")


def test_a_call_arrives_as_it_was_made(stub: Stub) -> None:
    odd = os.fsdecode(b"caf\xe9 \n'")
    ended, stdout, _ = stub.run("compiler", "tell", odd, "", VARIABLE=odd)
    told = json.loads(stdout)
    assert ended == 0
    assert told["arguments"] == [str(stub.home / "compilers/compiler"), "tell", odd, ""]
    assert told["variable"] == odd
    assert told["directory"] == str(stub.home)
    assert told["umask"] == os.umask(0o022)


def test_a_local_call_becomes_the_compiler_under_the_name_it_was_called_by(stub: Stub) -> None:
    compiler = stub.home / "compilers/compiler"
    assert stub.run("compiler", "link", "a b") == (5, f"{compiler} link a b\n", "")
    assert stub.run("compiler", "probe") == (5, f"{compiler} probe\n", "")
    assert stub.run("compiler", "link", PATH="/usr/bin")[0] == 127
    assert stub.run("./compilers/compiler", "link")[1] == "./compilers/compiler link\n"


def test_REAPI_CC_LOCAL_asks_nobody(stub: Stub) -> None:
    assert stub.run("compiler", "finish", REAPI_CC_LOCAL="1")[0] == 5
    assert not Path(stub.socket).exists()
    assert stub.run("compiler", "finish", REAPI_CC_LOCAL="0")[0] == 3


def test_under_the_name_of_a_compiler_it_finds_the_next_of_that_name(stub: Stub) -> None:
    links = stub.home / "links"
    links.mkdir()
    (links / "compiler").symlink_to(stub.path)
    path = f"{links}:{stub.home / 'nowhere'}:{stub.environment['PATH']}"
    compiler = stub.home / "compilers/compiler"
    told = json.loads(stub.run("tell", program=links / "compiler", PATH=path)[1])
    assert told["arguments"] == [str(compiler), "tell"]
    assert stub.run("link", program=links / "compiler", PATH=path)[:2] == (5, f"{compiler} link\n")
    assert stub.run(links / "compiler", "link", PATH=path)[:2] == (5, f"{compiler} link\n")


def test_a_compiler_that_calls_the_stub_again_ends(stub: Stub) -> None:
    stub.script("compilers/loop", f"exec {stub.path} loop")
    ended, _, stderr = stub.run("loop", "link")
    assert (ended, stderr) == (126, f"reapi-cc: {stub.home}/compilers/loop calls itself\n")


def test_a_call_within_a_local_call_needs_no_second_slot(stub: Stub) -> None:
    stub.script("compilers/outer", f"exec {stub.path} compiler inner")
    assert stub.run("outer", "link", REAPI_CC_LOCAL_SLOTS="1")[0] == 5


def test_twenty_calls_at_once_start_one_daemon(stub: Stub) -> None:
    ready = 'kill -STOP $$; exec "$0" compiler tell'
    shell = Path("/bin/sh")
    processes = [stub.start("-c", ready, stub.path, program=shell) for _ in range(20)]
    for process in processes:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    for process in processes:
        process.send_signal(signal.SIGCONT)
    told = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert len({each["pid"] for each in told}) == 1
    assert (stub.home / "daemon.log").read_text().count(" serves ") == 1


def test_a_daemon_that_is_killed_in_the_middle_is_replaced_and_the_call_repeated(
    stub: Stub,
) -> None:
    assert stub.run("compiler", "die-once", "marker") == (0, "late\n", "")


def test_a_daemon_that_always_dies_leaves_the_call_to_the_compiler_and_says_so_once(
    stub: Stub,
) -> None:
    ended, stdout, stderr = stub.run("compiler", "die")
    assert (ended, stdout) == (5, f"{stub.home}/compilers/compiler die\n")
    assert stderr.count("\n") == 1
    assert "warning: the daemon does not answer" in stderr
    assert stub.run("compiler", "die")[::2] == (5, "")
    marker = Path(stub.socket + ".failed")
    long_ago = time.time() - 3600
    os.utime(marker, (long_ago, long_ago))
    assert stub.run("compiler", "finish")[0] == 3


def test_a_daemon_of_another_version_leaves_the_call_to_the_compiler(stub: Stub) -> None:
    Path(stub.socket).parent.mkdir(0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(stub.socket)
        listener.listen()
        process = stub.start("compiler", "finish")
        for _ in range(3):
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 20)
                connection.sendall(b"\0" * 20)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "warning: the daemon does not answer" in stderr


def test_a_stale_socket_is_replaced(stub: Stub) -> None:
    Path(stub.socket).parent.mkdir(0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(stub.socket)
    assert stub.run("compiler", "finish")[0] == 3


@pytest.mark.parametrize("trap", ["open", "symlink"])
def test_a_directory_that_others_may_write_is_refused(stub: Stub, trap: str) -> None:
    directory = Path(stub.socket).parent
    if trap == "open":
        directory.mkdir()
        directory.chmod(0o777)
    else:
        (stub.home / "elsewhere").mkdir(0o700)
        directory.symlink_to("elsewhere")
    ended, _, stderr = stub.run("compiler", "finish")
    assert ended == 5
    line = f"warning: {directory} is not a directory of this user alone: compiling here\n"
    assert stderr == f"reapi-cc: {line}"


def test_a_path_too_long_for_a_socket_has_a_short_stand_in(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = stub.home / ("long" * 30)
    long.mkdir()
    stub.environment["REAPI_CC_CACHE_DIR"] = str(long)
    told = json.loads(stub.run("compiler", "tell")[1])
    socket_path = json.loads(stub.run("--stats", "--json")[1])["daemon"]["socket"]
    assert socket_path.startswith(f"/tmp/reapi-cc-{os.geteuid()}/")
    monkeypatch.setattr(python_stub, "_environment", {b"REAPI_CC_CACHE_DIR": bytes(long)})
    key = Path(stub.socket).stem
    assert python_stub.socket_path(key.encode()) == socket_path.encode()
    facts = ask_daemon(socket_path, "stop")
    assert facts is not None
    assert facts["pid"] == told["pid"]
    for left in Path("/tmp").glob(f"reapi-cc-{os.geteuid()}/{Path(socket_path).name}*"):
        left.unlink(missing_ok=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_call_that_is_interrupted_is_cancelled(stub: Stub, number: int) -> None:
    pipe = stub.pipe("pipe")
    process = stub.start("compiler", "wait", pipe)
    with pipe.open() as told:
        assert told.readline() == "begun\n"
        process.send_signal(number)
        assert told.readline() == "cancelled\n"
    process.communicate()
    assert process.returncode == -number


def test_a_killed_compiler_gives_its_slot_back(stub: Stub) -> None:
    pipe = stub.pipe("pipe")
    stub.script("compilers/slow", f"exec sh -c 'echo $$ > {pipe}; exec sleep 1000'")
    stub.environment["REAPI_CC_LOCAL_SLOTS"] = "1"
    first = stub.start("slow", "link")
    with pipe.open() as told:
        assert int(told.readline()) == first.pid
    second = stub.start("compiler", "link")
    first.kill()
    first.communicate()
    second.communicate(timeout=60)
    assert second.returncode == 5


def test_trouble_with_the_service_is_told_once_per_build(stub: Stub) -> None:
    line = (
        "reapi-cc: warning: the server grpc://x cannot be reached: compiling here; "
        "reapi-cc --stats counts\n"
    )
    assert stub.run("compiler", "trouble")[::2] == (5, line)
    assert stub.run("compiler", "trouble")[::2] == (5, "")


def test_trouble_with_sharing_is_told_too_and_nothing_is_said_to_be_compiled_here(
    stub: Stub,
) -> None:
    line = "reapi-cc: warning: nothing is shared; reapi-cc --stats counts\n"
    assert stub.run("compiler", "unshared")[::2] == (0, line)
    assert stub.run("compiler", "unshared")[::2] == (0, "")


def test_a_mistake_in_the_settings_fails_the_call(stub: Stub) -> None:
    message = "reapi-cc: reapi.toml: [compile] mode must be one of these\n"
    assert stub.run("compiler", "mistake") == (1, "", message)


def test_a_fault_of_the_engine_leaves_the_call_to_the_compiler(stub: Stub) -> None:
    ended, _, stderr = stub.run("compiler", "fault")
    assert ended == 5
    assert "a fault of reapi-cc (RuntimeError: a fault): compiling here" in stderr
    assert "Traceback" in (stub.home / "daemon.log").read_text()


def test_a_daemon_that_nobody_calls_ends(stub: Stub) -> None:
    told = json.loads(stub.run("compiler", "tell", IDLE_SECONDS="0.2")[1])
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(told["pid"])
        select.select([pidfd], [], [])
        os.close(pidfd)
    assert not Path(stub.socket).exists()
    assert json.loads(stub.run("compiler", "tell")[1])["pid"] != told["pid"]


def test_files_of_the_daemon_are_its_user_s_alone(stub: Stub) -> None:
    stub.run("compiler", "miss")
    stub.run("--stats")
    for path in (stub.home / "statistics.json", stub.home / "journal.jsonl", Path(stub.socket)):
        assert path.stat().st_mode & 0o077 == 0
