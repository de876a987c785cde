"""Actions that use too much: each ends with a clear result, and the slot is as it was."""

import asyncio
import itertools
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from google.rpc import code_pb2

from reapi.core.resource_usage import usage_of
from reapi.executor import run_watch
from reapi.executor.limits import CPU, MEMORY, PROCESSES, Limits, resource_limits, size_text
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.mounts import small_disk
from tests.unit.executor.harness import (
    Harness,
    add_lease,
    needs_root,
    new_cgroups,
    open_harness,
)

MIB = 1 << 20
SMALL = Limits(
    memory_bytes=100 * MIB,
    processes=50,
    file_size_bytes=8 * MIB,
    outputs_size_bytes=12 * MIB,
    log_size_bytes=MIB,
    disk_size_bytes=4 * MIB,
)
EXHAUSTED = code_pb2.RESOURCE_EXHAUSTED

FORK_BOMB = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(300):
    try:
        if os.fork() == 0:
            os.setsid()
            time.sleep(1000)
    except OSError as error:
        print(error)
        raise SystemExit(3)
"""
ENDLESS_BOMB = """
import os, time
print("up", flush=True)
while True:
    try:
        if os.fork() == 0:
            os.setsid()
            time.sleep(1000)
    except OSError:
        pass
"""
MEMORY_BOMB = "x = b'x' * (300 << 20)"
PTRACERS = """
import ctypes, os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
traced = os.fork()
if traced == 0:
    time.sleep(1000)
tracer = os.fork()
if tracer == 0:
    os.setsid()
    if os.fork() == 0:
        ctypes.CDLL(None).ptrace(16, traced, 0, 0)  # PTRACE_ATTACH
        time.sleep(1000)
    os._exit(0)
os.waitpid(tracer, 0)
file = open("held", "w")
if os.fork() == 0:
    time.sleep(1000)
"""


def can_limit(controller: str) -> pytest.MarkDecorator:
    """Skips a test where this machine lets us make no cgroup of that kind."""
    with tempfile.TemporaryDirectory() as work_area:  # two processes of tests may ask at once
        absent = new_cgroups(Path(work_area), Limits()).absent
    return pytest.mark.skipif(controller in absent, reason=absent.get(controller, ""))


needs_memory_cgroup = can_limit(MEMORY)
needs_process_cgroup = can_limit(PROCESSES)


ISOLATIONS = [
    pytest.param((True, "bubblewrap"), marks=needs_root, id="separate-uid-bubblewrap"),
    pytest.param((True, "none"), marks=needs_root, id="separate-uid"),
    pytest.param((False, "bubblewrap"), id="same-uid-bubblewrap"),
    pytest.param((False, "none"), id="same-uid"),
]


@pytest.fixture(params=ISOLATIONS)
async def limited(request: pytest.FixtureRequest, reachable_path: Path) -> AsyncIterator[Harness]:
    """A slot with small limits, in cgroups if it can have them."""
    separate_uid, sandbox = request.param
    async with open_harness(
        reachable_path,
        separate_uid=separate_uid,
        sandbox=sandbox,
        limits=SMALL,
        cgroups=new_cgroups(reachable_path, SMALL),
    ) as harness:
        yield harness


def add_linked_file(directory: str) -> None:
    Path(directory, "a").write_bytes(b"x" * 1_000_000)
    os.link(f"{directory}/a", f"{directory}/b")


async def python(harness: Harness, script: str, **options: Any) -> re_pb2.ExecuteResponse:
    return await harness.run(["python3", "-c", script], **options)


@contextmanager
def sleeping(count: int, uid: int) -> Iterator[None]:
    """Processes that the slot knows nothing of."""
    processes = [subprocess.Popen(["sleep", "1000"], user=uid) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def killed_first() -> Iterator[None]:
    """What is started inside is as likely to be killed for memory as what an action starts."""
    score = Path("/proc/self/oom_score_adj")
    own = score.read_text()
    score.write_text("1000")
    try:
        yield
    finally:
        score.write_text(own)


async def assert_free(harness: Harness) -> None:
    """The slot holds nothing of the action before, and runs the next one."""
    assert list(harness.slot.runner.processes()) == []
    response = await harness.sh("ls -A; ls -A $TMPDIR; echo next")
    assert (response.result.exit_code, response.message) == (0, "")
    assert harness.stdout(response) == "next\n"


class TestProcesses:
    @needs_process_cgroup
    async def test_reliability_S10_a_fork_bomb_meets_its_limit_and_is_told(
        self, limited: Harness
    ) -> None:
        response = await python(limited, FORK_BOMB)
        assert (response.status.code, response.result.exit_code) == (code_pb2.OK, 3)
        assert response.message == "the action met its limit of 50 processes"
        assert "Resource temporarily unavailable" in limited.stdout(response)
        await assert_free(limited)

    @needs_process_cgroup
    @pytest.mark.parametrize("limited", ISOLATIONS[:2], indirect=True)
    async def test_what_else_runs_under_the_uid_does_not_count(self, limited: Harness) -> None:
        uid = limited.slot._uid
        assert uid is not None
        with sleeping(20, uid.number):
            response = await python(limited, FORK_BOMB)
        assert response.message == "the action met its limit of 50 processes"

    async def test_reliability_S10_an_endless_fork_bomb_dies_at_its_timeout(
        self, isolated_without_cgroups: Harness
    ) -> None:
        harness = isolated_without_cgroups
        response = await python(harness, ENDLESS_BOMB, timeout_seconds=3)
        assert response.status.message == "execution timeout exceeded"
        assert harness.stdout(response) == "up\n"
        await assert_free(harness)

    @needs_process_cgroup
    async def test_reliability_S10_an_endless_fork_bomb_in_a_cgroup_dies_at_its_timeout(
        self, limited: Harness
    ) -> None:
        response = await python(limited, ENDLESS_BOMB, timeout_seconds=3)
        assert response.status.message == "execution timeout exceeded"
        await assert_free(limited)

    @needs_process_cgroup
    async def test_a_slot_process_that_dies_while_nothing_may_be_born_is_replaced(
        self, limited: Harness
    ) -> None:
        cgroup = limited.slot.runner._enforcement._cgroup
        assert cgroup is not None
        assert cgroup.processes is not None

        process = limited.slot.runner._process
        assert process is not None
        os.pwrite(cgroup.processes[0], b"0", 0)
        process.kill()
        assert (await limited.sh("true")).status.code == code_pb2.INTERNAL
        await assert_free(limited)

    async def test_reliability_S12_tracers_and_whoever_holds_files_are_gone(
        self, limited: Harness
    ) -> None:
        response = await python(limited, PTRACERS)
        assert response.result.exit_code == 0
        await assert_free(limited)


class TestMemory:
    @needs_memory_cgroup
    async def test_reliability_S11_a_memory_bomb_is_137_with_the_limit(
        self, limited: Harness
    ) -> None:
        response = await python(limited, MEMORY_BOMB)
        assert response.result.exit_code == 128 + signal.SIGKILL
        expected = "the action used more than its memory limit of 100 MiB and was killed"
        assert (response.status.code, response.message) == (code_pb2.OK, expected)
        await assert_free(limited)

    @needs_memory_cgroup
    async def test_reliability_S11_all_of_an_action_dies_when_a_part_of_it_has_no_memory(
        self, limited: Harness
    ) -> None:
        response = await limited.sh(f'python3 -c "{MEMORY_BOMB}"; sleep 1000')
        assert response.result.exit_code == 137
        assert "memory limit of 100 MiB" in response.message
        await assert_free(limited)

    @needs_memory_cgroup
    async def test_what_an_action_books_is_its_limit(self, limited: Harness) -> None:
        command = re_pb2.Command(arguments=["python3", "-c", "x = b'x' * (150 << 20)"])
        lease = add_lease(limited.store, command, {})
        lease.resources.add(name="memory", amount=300 * MIB)
        lease.resources.add(name="cpu", amount=2000)
        assert (await limited.run_lease(lease)).result.exit_code == 0
        lease.resources[0].amount = 50 * MIB
        response = await limited.run_lease(lease)
        assert (response.result.exit_code, "of 50 MiB" in response.message) == (137, True)
        del lease.resources[:]
        assert "of 100 MiB" in (await limited.run_lease(lease)).message

    @needs_memory_cgroup
    async def test_reliability_S11_a_full_tmpfs_counts_as_memory(
        self, reachable_path: Path
    ) -> None:
        await self._fill_tmpfs(reachable_path)

    @needs_memory_cgroup
    async def test_reliability_S11_the_death_of_the_slot_process_for_memory_is_that_of_the_action(
        self, reachable_path: Path
    ) -> None:
        """As when something needs memory before that of the one that was killed is free."""
        with killed_first():  # the slot process is too, and has most in its memory
            await self._fill_tmpfs(reachable_path)

    async def _fill_tmpfs(self, path: Path) -> None:
        async with open_harness(
            path,
            separate_uid=os.geteuid() == 0,
            sandbox="bubblewrap",
            limits=SMALL,
            cgroups=new_cgroups(path, SMALL),
        ) as harness:
            script = "i=0; while head -c 4M /dev/zero > /dev/shm/$i; do i=$((i + 1)); done"
            response = await harness.sh(script)
            assert response.result.exit_code == 137
            assert "memory limit of 100 MiB" in response.message
            await assert_free(harness)

    async def test_without_a_cgroup_each_process_is_held_to_the_limit(
        self, isolated_without_cgroups: Harness
    ) -> None:
        response = await python(isolated_without_cgroups, MEMORY_BOMB)
        assert response.result.exit_code == 1
        assert "MemoryError" in isolated_without_cgroups.stderr(response)


class TestFiles:
    async def test_reliability_S11_a_sparse_terabyte_is_too_large(self, limited: Harness) -> None:
        response = await limited.sh("exec truncate -s 1T out", output_paths=["out"])
        assert response.result.exit_code == 128 + signal.SIGXFSZ
        assert response.message == "the action wrote to a file beyond its limit of 8 MiB"
        assert [file.digest.size_bytes for file in response.result.output_files] == [0]
        await assert_free(limited)

    async def test_reliability_S11_sparse_outputs_count_in_full(self, limited: Harness) -> None:
        response = await limited.sh(
            "truncate -s 7M one two", output_paths=["one", "two"], timeout_seconds=60
        )
        assert response.status.code == EXHAUSTED
        assert response.status.message == "the outputs are larger than their limit of 12 MiB"
        await assert_free(limited)

    async def test_reliability_S11_an_endless_log_ends_the_action_and_is_kept_up_to_its_limit(
        self, limited: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(run_watch, "_INTERVAL_SECONDS", 0.02)
        script = "while :; do head -c 100000 /dev/zero; done 2>/dev/null"
        response = await limited.sh(script)
        assert response.status.code == EXHAUSTED
        assert response.status.message == (
            "the action wrote more than its limit of 1 MiB to stdout"
        )
        assert response.result.stdout_digest.size_bytes == MIB
        await assert_free(limited)

    @pytest.mark.parametrize(
        "write",
        [
            "i=0; while :; do head -c 1000000 /dev/zero > $i; i=$((i + 1)); done",
            "exec 3>file; rm file; head -c 6000000 /dev/zero >&3; sleep 1000",
        ],
        ids=["many files", "a file without a name"],
    )
    async def test_what_fills_the_disk_is_killed(
        self, limited: Harness, monkeypatch: pytest.MonkeyPatch, write: str
    ) -> None:
        free = itertools.chain([1 << 40], itertools.repeat(0))
        monkeypatch.setattr(run_watch, "_free_bytes", lambda _: next(free))
        monkeypatch.setattr(run_watch, "_INTERVAL_SECONDS", 0.02)
        response = await limited.sh(write)
        assert response.status.code == EXHAUSTED
        assert response.status.message == (
            "the action used more than its disk limit of 4 MiB and was killed"
        )
        await assert_free(limited)

    async def test_inputs_do_not_count_and_links_count_once(self, limited: Harness) -> None:
        tree = {"large": b"x" * (5 * MIB)}
        lease = add_lease(limited.store, re_pb2.Command(arguments=["true"]), tree)
        action = limited.action(lease)
        await action.run(limited.slot, lambda: None)
        try:
            add_linked_file(limited.root)
            used = run_watch.disk_use_bytes([limited.root], os.getpid(), 1 << 40)
            assert 1_000_000 <= used < MIB + 100_000
        finally:
            await limited.slot.restore(action.started_ns)

    @needs_root
    async def test_reliability_D1_an_action_on_a_full_disk_fails_and_the_next_one_runs(
        self, reachable_path: Path
    ) -> None:
        async with AsyncExitStack() as stack:
            disk = stack.enter_context(small_disk(reachable_path / "disk", "size=4m,mode=711"))
            opened = open_harness(disk, separate_uid=True)
            harness = await stack.enter_async_context(opened)
            response = await harness.sh("head -c 100000000 /dev/zero > out", output_paths=["out"])
            assert response.result.exit_code == 1
            # Of its stderr nothing is left, for that is on the same disk.
            too_large = {"input": b"x" * (8 * MIB)}
            assert (await harness.sh("true", too_large)).status.code == EXHAUSTED
            await assert_free(harness)


class TestUsage:
    async def test_a_result_tells_what_its_action_used(self, limited: Harness) -> None:
        script = "x = b'x' * (60 << 20); open('out', 'w').write('out')\nfor i in range(10**6): pass"
        tree: dict[str, Any] = {"one": b"1", "deep": {"two": b"22"}}
        response = await python(limited, script, tree=tree, output_paths=["out"])
        usage = usage_of(response.result.execution_metadata)
        assert usage is not None
        assert usage.user_time.ToMicroseconds() > 0
        assert 60 * MIB < usage.largest_process_bytes <= usage.peak_memory_bytes < 100 * MIB
        assert (usage.inputs_fetched.count, usage.inputs_fetched.size_bytes) == (2, 3)
        assert (usage.outputs_uploaded.count, usage.outputs_uploaded.size_bytes) == (1, 3)
        again = await limited.sh("true", tree | {"three": b"333"})
        usage = usage_of(again.result.execution_metadata)
        assert usage is not None
        assert (usage.inputs_fetched.count, usage.inputs_fetched.size_bytes) == (1, 3)
        assert (usage.inputs_reused.count, usage.inputs_reused.size_bytes) == (2, 3)

    @needs_memory_cgroup
    async def test_the_time_of_what_was_killed_is_told(self, limited: Harness) -> None:
        response = await python(limited, "while True: pass", timeout_seconds=3)
        usage = usage_of(response.result.execution_metadata)
        assert usage is not None
        assert usage.user_time.ToMicroseconds() > 50_000

    @needs_memory_cgroup
    async def test_the_peak_of_memory_is_that_of_all_processes_together(
        self, limited: Harness
    ) -> None:
        one = (
            "python3 -c \"import sys; x = b'x' * (30 << 20); print(flush=True); sys.stdin.read()\""
        )
        script = f"mkfifo f; exec 3<>f; {one} <f >o & {one} <f >p & "
        script += "until [ -s o -a -s p ]; do :; done; kill %1 %2"
        response = await limited.sh(script)
        usage = usage_of(response.result.execution_metadata)
        assert usage is not None
        assert usage.largest_process_bytes < 50 * MIB < usage.peak_memory_bytes


@pytest.fixture
async def isolated_without_cgroups(reachable_path: Path) -> AsyncIterator[Harness]:
    if os.geteuid() != 0:
        pytest.skip("only root can change uids")
    async with open_harness(reachable_path, separate_uid=True, limits=SMALL) as harness:
        yield harness


async def test_a_limit_that_the_executor_does_not_have_itself_is_not_raised(
    limited: Harness,
) -> None:
    response = await limited.sh("ulimit -Hn; ulimit -c")
    files, core = limited.stdout(response).split()
    assert (int(files) <= 65_536, core) == (True, "0")


def test_resource_limits_stand_in_for_controllers_that_are_absent() -> None:
    own = resource_limits(SMALL, (), has_own_uid=True)
    assert (own["RLIMIT_DATA"], own["RLIMIT_NPROC"]) == (100 * MIB, 58)
    assert "RLIMIT_NPROC" not in resource_limits(SMALL, (PROCESSES,), has_own_uid=True)
    shared = resource_limits(SMALL, (MEMORY, CPU), has_own_uid=False)
    assert shared.keys() == {"RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_NOFILE"}


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(100, "100 bytes"), (1536, "1.5 KiB"), (2 << 30, "2 GiB"), (1 << 40, "1 TiB")],
)
def test_sizes_are_told_in_the_unit_that_fits(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text


async def test_a_watch_that_is_stopped_calls_nobody() -> None:
    called: list[str] = []

    class Log:
        size_bytes = 10 * MIB

    watch = run_watch.RunWatch({"stdout": Log()}, ["/tmp"], SMALL, called.append)
    watch.start(os.getpid())
    await watch.stop()
    await asyncio.sleep(0)
    assert called == []
