"""Cgroups of slots: made, limited, counted and removed; on this machine's own, where it lets us."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reapi.core.errors import Internal
from reapi.executor.cgroup_places import Place, find_places
from reapi.executor.cgroups import Cgroups, remove_stale
from reapi.executor.limits import CPU, MEMORY, OWN_PROCESSES, PROCESSES, Limits
from reapi.executor.run_outcome import RunOutcome
from reapi.executor.runner import Runner
from reapi.executor.slot_cgroup import SlotCgroup
from reapi.executor.slot_limits import ProcessLimit
from tests.unit.executor.harness import new_cgroups

LIMITS = Limits(memory_bytes=64 << 20, cpu_milli=1500, processes=10)


@pytest.fixture
def cgroups(tmp_path: Path) -> Iterator[Cgroups]:
    found = new_cgroups(tmp_path, LIMITS)
    if found.absent:
        pytest.skip(found.report())
    yield found
    assert _left(found) == []


def _left(cgroups: Cgroups) -> list[Path]:
    """What still bears the name of the work area."""
    slot = cgroups.slot("any")
    assert slot is not None
    prefix = Path(slot.entrances[0]).parent.name.removesuffix("any")
    slot.close()
    directories = {place.directory for place in cgroups.places.values()}
    return [path for directory in directories for path in directory.glob(f"{prefix}*")]


def _members(slot: SlotCgroup) -> set[int]:
    return {int(pid) for entrance in slot.entrances for pid in Path(entrance).read_text().split()}


def _enter(slot: SlotCgroup, *command: str) -> "subprocess.Popen[bytes]":
    script = " ".join(f"echo 0 > {entrance};" for entrance in slot.entrances)
    line = ["sh", "-c", f'{script} echo in; exec "$@"', "sh", *command]
    process = subprocess.Popen(line, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    return process


def test_reliability_F5_what_a_dead_executor_left_is_killed_and_removed(
    cgroups: Cgroups, tmp_path: Path
) -> None:
    slot = cgroups.slot("0")
    assert slot is not None
    script = "setsid sleep 1000 & trap '' TERM; wait"
    with _enter(slot, "sh", "-c", script) as process:
        remove_stale(tmp_path)
        assert process.wait() == -9
    assert not Path(slot.entrances[0]).parent.exists()
    slot.close()


async def test_reliability_S12_what_a_killed_slot_process_leaves_is_dead_without_a_uid_too(
    cgroups: Cgroups, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    slot = cgroups.slot("0")
    async with Runner(tmp_path, limits=LIMITS, cgroup=slot) as runner:

        async def sh(script: str) -> RunOutcome:
            return await runner.run(["sh", "-c", script], {"PATH": "/bin"}, str(tmp_path), 30)

        run = asyncio.ensure_future(sh("setsid sh -c 'echo $1 > fifo; exec sleep 1000' - $PPID"))
        os.kill(int(await asyncio.to_thread(fifo.read_text)), signal.SIGKILL)
        with pytest.raises(Internal):
            await run
        assert slot is not None
        assert _members(slot) == set()
        assert (await sh("true")).exit_code == 0
    slot.close()


def test_what_other_executors_have_is_left_alone(cgroups: Cgroups, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    slot = new_cgroups(tmp_path / "other", LIMITS).slot("0")
    assert slot is not None
    remove_stale(tmp_path)
    assert Path(slot.entrances[0]).exists()
    slot.close()


def test_the_peak_is_counted_from_the_start_of_an_action(cgroups: Cgroups) -> None:
    slot = cgroups.slot("0")
    assert slot is not None
    for mebibytes in (20, 1):
        slot.start()
        with _enter(slot, "python3", "-c", f"x = b'x' * ({mebibytes} << 20)") as process:
            assert process.wait() == 0
        is_large = slot.peak_bytes() >= 20 << 20
        assert is_large == (mebibytes == 20)
    slot.close()


def test_refused_forks_are_told_once(cgroups: Cgroups) -> None:
    slot = cgroups.slot("0")
    assert slot is not None
    assert slot.processes is not None
    limit = ProcessLimit(*slot.processes)
    sleeps = " ".join(["sleep 1000 &"] * (LIMITS.processes + OWN_PROCESSES + 1))
    with _enter(slot, "sh", "-c", f"{sleeps} true") as process:
        process.wait()
    assert limit.was_met()
    assert not limit.was_met()
    for pid in _members(slot):
        os.kill(pid, signal.SIGKILL)
    _wait_until_empty(slot)
    slot.close()


def _wait_until_empty(slot: SlotCgroup) -> None:
    while _members(slot):
        os.sched_yield()


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which new cgroups of version 2 have files, which a plain one has not."""
    contents = {
        "memory.max": "max",
        "memory.swap.max": "max",
        "memory.current": "1000",
        "memory.peak": "1000",
        "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n",
        "pids.max": "max",
        "pids.events": "max 0\n",
        "cpu.max": "max 100000",
        "cpu.weight": "100",
        "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\n",
        "cgroup.procs": "",
    }
    mkdir = Path.mkdir

    def made(path: Path, *arguments: Any, **options: Any) -> None:
        mkdir(path, *arguments, **options)
        for name, text in contents.items():
            (path / name).write_text(text)

    monkeypatch.setattr(Path, "mkdir", made)
    return tmp_path


def _text(plain: Path, file: str) -> str:
    return (plain / "slot" / file).read_text()


def test_limits_of_version_2_stand_in_its_files(plain: Path) -> None:
    places = {name: Place(2, plain) for name in (MEMORY, PROCESSES, CPU)}
    slot = SlotCgroup("slot", places, LIMITS)
    assert _text(plain, "pids.max") == str(LIMITS.processes + OWN_PROCESSES)
    assert _text(plain, "memory.swap.max") == "0"
    slot.change(0, 0)
    assert _text(plain, "memory.max") == str(64 << 20)
    assert _text(plain, "cpu.max") == "150000 100000"
    assert not slot.needs_change(0, 1000)
    assert slot.needs_change(1 << 20, 0)
    slot.change(1 << 20, 2500)
    assert (_text(plain, "memory.max"), slot.memory_bytes) == (str(1 << 20), 1 << 20)
    assert _text(plain, "cpu.weight") == "250"
    assert slot.out_of_memory is not None
    assert len(set(slot.out_of_memory)) == 1
    assert slot.entrances == [str(plain / "slot" / "cgroup.procs")]


def test_times_of_version_2_are_counted_from_the_start_of_an_action(plain: Path) -> None:
    slot = SlotCgroup("slot", {CPU: Place(2, plain)}, LIMITS)
    slot.start()
    (plain / "slot" / "cpu.stat").write_text("usage_usec 90\nuser_usec 50\nsystem_usec 40\n")
    assert slot.seconds() == (30e-6, 30e-6)


def test_no_limit_is_no_limit(plain: Path) -> None:
    slot = SlotCgroup("slot", {MEMORY: Place(2, plain), CPU: Place(2, plain)}, Limits())
    slot.change(0, 0)
    assert (_text(plain, "memory.max"), slot.memory_bytes) == ("max", None)
    assert _text(plain, "cpu.max") == "max 100000"


def _proc(directory: Path, cgroup: str, *mounts: str) -> Path:
    (directory / "cgroup").write_text(cgroup)
    (directory / "mountinfo").write_text("".join(f"{mount}\n" for mount in mounts))
    return directory


def test_places_of_a_machine_that_mixes_versions(tmp_path: Path) -> None:
    unified = tmp_path / "unified"
    own = unified / "user.slice"
    own.mkdir(parents=True)
    (own / "cgroup.controllers").write_text("cpu io\n")
    process = _proc(
        tmp_path,
        "4:memory:/box/one\n1:name=systemd:/x\n0::/user.slice\n",
        "35 31 0:32 /box /cg/memory rw,relatime - cgroup cgroup rw,memory",
        f"41 31 0:38 / {unified} rw,relatime - cgroup2 cgroup2 rw",
    )
    assert find_places((MEMORY, PROCESSES, CPU), process) == {
        MEMORY: Place(1, Path("/cg/memory/one")),
        CPU: Place(2, own),
    }


def test_a_process_that_was_moved_down_makes_its_cgroups_above(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("memory pids cpu\n")
    process = _proc(
        tmp_path,
        "0::/service/reapi-processes\n",
        f"41 31 0:38 /service {tmp_path} rw - cgroup2 cgroup2 rw",
    )
    assert find_places((MEMORY,), process) == {MEMORY: Place(2, tmp_path)}


def test_a_cgroup_outside_of_what_is_mounted_is_no_place(tmp_path: Path) -> None:
    mount = "35 31 0:32 /other /cg/memory rw - cgroup cgroup rw,memory"
    assert find_places((MEMORY,), _proc(tmp_path, "4:memory:/box\n", mount)) == {}
