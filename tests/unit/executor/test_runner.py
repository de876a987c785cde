"""Real processes: how they start, what they can reach, and that none outlives its command."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reapi.core.errors import Internal, InvalidArgument
from reapi.executor.action_uid import ActionUid
from reapi.executor.run_outcome import RunOutcome
from reapi.executor.runner import Runner
from tests.unit.executor.harness import needs_root

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}

LEAVE_A_DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open(sys.argv[1], "w") as file:
            file.write(str(os.getpid()))
        os.rename(sys.argv[1], sys.argv[2])
        time.sleep(1000)
    os._exit(0)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.001)
"""


class Bed:
    """A runner and a directory in which its commands may write."""

    def __init__(self, runner: Runner, directory: Path) -> None:
        self.runner = runner
        self.directory = directory

    async def run(self, *arguments: str, timeout_seconds: float = 60, **env: str) -> RunOutcome:
        environment = {**ENVIRONMENT, **env}
        return await self.runner.run(arguments, environment, str(self.directory), timeout_seconds)

    async def sh(self, script: str, timeout_seconds: float = 60) -> RunOutcome:
        return await self.run("sh", "-c", script, timeout_seconds=timeout_seconds)

    @property
    def stdout(self) -> str:
        return self.runner.stdout.read(1 << 20).decode()

    @property
    def stderr(self) -> str:
        return self.runner.stderr.read(1 << 20).decode()


@pytest.fixture(params=[pytest.param("separate-uid", marks=needs_root), "same-uid"])
async def bed(request: pytest.FixtureRequest, reachable_path: Path) -> AsyncIterator[Bed]:
    uid = ActionUid() if request.param == "separate-uid" else None
    work = reachable_path / "work"
    work.mkdir()
    work.chmod(0o777)
    async with Runner(reachable_path, uid.number if uid else None) as runner:
        yield Bed(runner, work)
    if uid:
        uid.release()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def started(bed: Bed, path: Path, run: "asyncio.Future[RunOutcome]") -> int:
    """The pid that a command writes to the FIFO `path`, as soon as it has."""
    return int(await asyncio.to_thread(path.read_text))


class TestOutcome:
    async def test_EX5_a_non_zero_exit_code_is_an_outcome(self, bed: Bed) -> None:
        outcome = await bed.sh("echo out; echo err >&2; exit 3")
        assert (outcome.ended_by, outcome.exit_code) == ("exit", 3)
        assert (bed.stdout, bed.stderr) == ("out\n", "err\n")

    async def test_death_by_a_signal_is_128_and_its_number(self, bed: Bed) -> None:
        assert (await bed.sh("kill -SEGV $$")).exit_code == 128 + signal.SIGSEGV

    async def test_logs_of_the_command_before_are_gone(self, bed: Bed) -> None:
        await bed.sh("echo a longer first text; echo x >&2")
        await bed.sh("echo second")
        assert (bed.stdout, bed.stderr) == ("second\n", "")

    async def test_a_command_can_open_its_stderr_by_path(self, bed: Bed) -> None:
        assert (await bed.sh("echo by path > /dev/stderr")).exit_code == 0
        assert bed.stderr == "by path\n"

    async def test_times_are_those_of_the_command(self, bed: Bed) -> None:
        outcome = await bed.sh("true")
        assert outcome.started_ns < outcome.ended_ns
        assert 0 < outcome.seconds < 30


class TestStart:
    async def test_IN1_a_bare_name_is_looked_up_in_the_path_of_the_command(self, bed: Bed) -> None:
        tools = bed.directory / "tools"
        tools.mkdir()
        (tools / "greet").write_text("#!/bin/sh\necho hello\n")
        (tools / "greet").chmod(0o755)
        outcome = await bed.run("greet", PATH=f"/nonexistent:{tools}:/usr/bin")
        assert (outcome.exit_code, bed.stdout) == (0, "hello\n")

    async def test_IN1_a_name_with_a_slash_is_relative_to_the_working_directory(
        self, bed: Bed
    ) -> None:
        (bed.directory / "tool").write_text("#!/bin/sh\necho $0\n")
        (bed.directory / "tool").chmod(0o755)
        outcome = await bed.run("./tool")
        assert (outcome.exit_code, bed.stdout) == (0, "./tool\n")

    async def test_IN1_a_bare_name_is_not_looked_up_in_the_working_directory(
        self, bed: Bed
    ) -> None:
        (bed.directory / "tool").write_text("#!/bin/sh\n")
        (bed.directory / "tool").chmod(0o755)
        assert (await bed.run("tool")).exit_code == 127

    async def test_a_command_that_is_not_there_ends_with_127_and_a_reason(self, bed: Bed) -> None:
        assert (await bed.run("no-such-command")).exit_code == 127
        assert bed.stderr == "reapi: no-such-command: command or its interpreter not found\n"

    async def test_a_file_that_is_not_executable_ends_with_126_and_a_reason(self, bed: Bed) -> None:
        (bed.directory / "notes").write_text("text")
        assert (await bed.run("./notes")).exit_code == 126
        assert "Permission denied" in bed.stderr

    async def test_B15_more_arguments_than_the_system_takes_are_refused(self, bed: Bed) -> None:
        with pytest.raises(InvalidArgument, match="larger than this system takes"):
            await bed.run("true", "x" * (3 << 20))
        assert (await bed.run("true")).exit_code == 0

    async def test_IN3_the_environment_is_exactly_what_was_asked_for(self, bed: Bed) -> None:
        await bed.run("/usr/bin/env", GREETING="grüße")
        assert sorted(bed.stdout.splitlines()) == ["GREETING=grüße", "PATH=/usr/bin:/bin"]

    async def test_S14_only_the_three_standard_descriptors_are_open(self, bed: Bed) -> None:
        await bed.sh("for fd in /proc/self/fd/*; do echo ${fd##*/}; done; readlink /proc/$$/fd/0")
        fds = bed.stdout.split()
        assert fds[-1] == "/dev/null"
        # A shell opens the directory itself to expand the pattern, and ls would, too.
        assert set(fds[:-1]) - {"3"} == {"0", "1", "2"}

    async def test_it_has_a_session_a_umask_and_signals_of_its_own(self, bed: Bed) -> None:
        await bed.sh("umask; echo $$; cut -d' ' -f6 /proc/self/stat; grep SigIgn /proc/self/status")
        umask, pid, session, ignored = bed.stdout.splitlines()
        assert umask == "0022"
        assert session == pid
        signals_of_glibc = 1 << 31 | 1 << 32  # its posix_spawn ignores those of its own threads
        assert int(ignored.split()[1], 16) & ~signals_of_glibc == 0

    async def test_no_process_can_gain_rights(self, bed: Bed) -> None:
        await bed.sh("grep NoNewPrivs /proc/self/status")
        assert bed.stdout.split() == ["NoNewPrivs:", "1"]


class TestEnd:
    async def test_S12_a_daemon_in_a_session_of_its_own_is_dead_when_the_command_is_over(
        self, bed: Bed
    ) -> None:
        bait = bed.directory / "pid"
        outcome = await bed.run("python3", "-c", LEAVE_A_DAEMON, f"{bait}.new", str(bait))
        assert outcome.exit_code == 0
        assert not is_alive(int(bait.read_text()))

    async def test_EX18_a_timeout_kills_children_that_ignore_signals_and_keep_pipes_open(
        self, bed: Bed
    ) -> None:
        script = "trap '' TERM INT HUP; (trap '' TERM; sleep 1000) & echo $! > child; wait"
        outcome = await bed.sh(script, timeout_seconds=3)
        assert (outcome.ended_by, outcome.exit_code) == ("timeout", 137)
        assert outcome.seconds >= 3
        assert not is_alive(int((bed.directory / "child").read_text()))

    async def test_what_was_written_before_the_timeout_is_kept(self, bed: Bed) -> None:
        await bed.sh("echo early; sleep 1000", timeout_seconds=3)
        assert bed.stdout == "early\n"

    async def test_cancelling_returns_when_the_process_tree_is_dead(self, bed: Bed) -> None:
        fifo = bed.directory / "pid"
        os.mkfifo(fifo)
        fifo.chmod(0o666)
        run = asyncio.ensure_future(bed.sh("setsid sh -c 'echo $$ > pid; sleep 1000' & wait"))
        pid = await started(bed, fifo, run)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert not is_alive(pid)
        assert (await bed.sh("echo next")).exit_code == 0
        assert bed.stdout == "next\n"

    async def test_when_the_executor_goes_away_the_command_dies(
        self, bed: Bed, reachable_path: Path
    ) -> None:
        fifo = bed.directory / "pid"
        os.mkfifo(fifo)
        fifo.chmod(0o666)
        async with Runner(reachable_path) as other:
            script = ["sh", "-c", "echo $$ > pid; exec sleep 1000"]
            run = asyncio.ensure_future(other.run(script, ENVIRONMENT, str(bed.directory), 1000))
            pid = int(await asyncio.to_thread(fifo.read_text))
            run.cancel()
            await asyncio.wait((run,))
        assert not is_alive(pid)


@needs_root
class TestSeparateUid:
    @pytest.fixture
    async def uid_bed(self, reachable_path: Path) -> AsyncIterator[Bed]:
        uid = ActionUid()
        work = reachable_path / "work"
        work.mkdir()
        work.chmod(0o777)
        async with Runner(reachable_path, uid.number) as runner:
            yield Bed(runner, work)
        uid.release()

    async def test_a_command_has_no_right_of_root_left(self, uid_bed: Bed) -> None:
        await uid_bed.sh("grep -E '^(Uid|Gid|Groups|CapPrm|CapEff|CapAmb)' /proc/self/status")
        status = dict(line.split(":") for line in uid_bed.stdout.splitlines())
        assert len(set(status["Uid"].split())) == len(set(status["Gid"].split())) == 1
        assert int(status["Uid"].split()[0]) > 0
        assert status["Groups"].split() == []
        assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapAmb")} == {0}

    async def test_a_command_cannot_signal_or_inspect_what_runs_it(self, uid_bed: Bed) -> None:
        started = "until grep -q 'Uid:.0' /proc/$PPID/status; do :; done"
        outcome = await uid_bed.sh(f"{started}; kill -9 $PPID; ls /proc/$PPID/fd")
        assert outcome.ended_by == "exit"
        assert "not permitted" in uid_bed.stderr
        assert "Permission denied" in uid_bed.stderr

    async def test_S12_when_the_slot_process_is_killed_its_command_dies_and_the_next_one_runs(
        self, uid_bed: Bed
    ) -> None:
        fifo = uid_bed.directory / "pid"
        os.mkfifo(fifo)
        fifo.chmod(0o666)
        run = asyncio.ensure_future(
            uid_bed.sh("setsid sh -c 'echo $$ $1 > pid; exec sleep 1000' - $PPID & wait")
        )
        pid, slot_process = map(int, (await asyncio.to_thread(fifo.read_text)).split())
        os.kill(slot_process, signal.SIGKILL)
        with pytest.raises(Internal, match="was killed"):
            await run
        assert not is_alive(pid)
        assert (await uid_bed.sh("echo next")).exit_code == 0
        assert uid_bed.stdout == "next\n"
