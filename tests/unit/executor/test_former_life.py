"""What a killed executor left running or mounted is gone when the next one begins."""

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from reapi.core.errors import FailedPrecondition
from reapi.executor import former_life, processes
from reapi.executor.action_uid import ActionUid
from reapi.executor.former_life import _mount_points, end_former_life
from reapi.executor.processes import end_all, others, state_of
from reapi.executor.work_area import WorkArea
from tests.unit.executor.harness import needs_root

SLEEP = "import time; print(flush=True); time.sleep(1000)"


class Left:
    """Starts processes as an executor that was killed may have left them; each runs on return."""

    def __init__(self, cache_dir: Path) -> None:
        self.slot = cache_dir / "slots" / "0"
        self.slot.mkdir(parents=True)
        self._stack = ExitStack()

    def start(
        self, *, python: str = SLEEP, arguments: tuple[str, ...] = (), **options: object
    ) -> "subprocess.Popen[bytes]":
        options = {"cwd": "/", "env": {}, "stdout": subprocess.PIPE} | options
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", python, *arguments],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **options,  # type: ignore[call-overload]
        )
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        if process.stdout is not None:
            assert process.stdout.readline()
        return process

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Left]:
    made = Left(tmp_path / "cache")
    yield made
    made.close()


def _with_output(left: Left) -> "subprocess.Popen[bytes]":
    with (left.slot / "log").open("wb") as log:
        (left.slot / "log").unlink()
        return left.start(stderr=log)


def _with_root(left: Left) -> "subprocess.Popen[bytes]":
    if os.geteuid() != 0:
        pytest.skip("only root can change the root")
    script = f"import os; os.chroot({str(left.slot)!r}); {SLEEP}"
    return left.start(python=script)


MARKS: dict[str, Callable[[Left], "subprocess.Popen[bytes]"]] = {
    "directory": lambda left: left.start(cwd=left.slot),
    "environment": lambda left: left.start(env={"TMPDIR": f"{left.slot}/tmp"}),
    "output": _with_output,
    "root": _with_root,
}


@pytest.mark.parametrize("mark", MARKS)
def test_S12_a_process_of_a_dead_life_is_known_by_its(
    left: Left, tmp_path: Path, mark: str
) -> None:
    process = MARKS[mark](left)
    end_former_life(tmp_path / "cache")
    assert process.wait() == -9


def test_the_directory_may_be_named_in_any_way(left: Left, tmp_path: Path) -> None:
    process = left.start(cwd=left.slot)
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    end_former_life(tmp_path / "link")
    assert process.wait() == -9


def test_others_are_left_in_peace(left: Left, tmp_path: Path) -> None:
    """Also those of an executor beside this one, and a person who looks around in a slot."""
    beside = tmp_path / "cache" / "slots-of-another" / "0"
    beside.mkdir(parents=True)
    ours, theirs = os.openpty()
    terminal = f"import os; os.open({os.ttyname(theirs)!r}, os.O_RDWR); {SLEEP}"
    spared = [
        left.start(cwd=tmp_path / "cache"),
        left.start(cwd=beside, env={"TMPDIR": str(beside)}),
        left.start(env={"OTHER": f"{left.slot}/tmp"}),
        left.start(cwd=left.slot, python=terminal),
    ]
    end_former_life(tmp_path / "cache")
    assert [process.poll() for process in spared] == [None] * len(spared)
    os.close(ours)
    os.close(theirs)


def test_a_slot_process_is_given_the_time_to_end_its_command(
    left: Left, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows all processes below it, however they hide."""
    control, ours = os.pipe()
    script = f"import os; print(flush=True); os.read({control}, 1); os._exit(14)"
    with (left.slot / "log").open("wb") as log:
        process = left.start(
            python=script, arguments=("slot_process",), pass_fds=(control, log.fileno())
        )

    def wait(pids: Collection[int], seconds: float) -> None:
        assert list(pids) == [process.pid]
        os.close(ours)
        processes.wait_for_end(pids, seconds)

    monkeypatch.setattr(former_life, "wait_for_end", wait)
    end_former_life(tmp_path / "cache")
    assert process.wait() == 14
    os.close(control)


@needs_root
def test_S12_what_runs_under_a_uid_is_ended_by_who_claims_it() -> None:
    claim = ActionUid()
    number = claim.number
    with subprocess.Popen(["sleep", "1000"], env={}, cwd="/", user=number) as hidden:
        claim.release()
        again = ActionUid()
        if again.number == number:  # else somebody else on this machine has it, and ends it
            assert hidden.wait() == -9
        hidden.kill()
        again.release()


@needs_root
@pytest.mark.parametrize("is_taken", [False, True])
def test_S12_a_process_of_a_dead_life_is_known_by_its_uid(
    left: Left, tmp_path: Path, is_taken: bool
) -> None:
    """Unless another executor has that uid now: then it is the other one's."""
    claim = ActionUid()
    os.chown(left.slot, -1, claim.number)
    with subprocess.Popen(["sleep", "1000"], env={}, cwd="/", user=claim.number) as hidden:
        if not is_taken:
            claim.release()
        end_former_life(tmp_path / "cache")
        if is_taken:
            assert hidden.poll() is None
            hidden.kill()
            claim.release()
        assert hidden.wait() == -9


def test_what_does_not_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_DEADLINE_SECONDS", 0.0)
    monkeypatch.setattr(os, "kill", lambda *_: None)
    with pytest.raises(FailedPrecondition, match=f"do not end: .{os.getpid()}"):
        end_all(lambda: [os.getpid()])


def test_a_process_that_only_its_parent_keeps_is_none(left: Left) -> None:
    process = left.start(python="print(flush=True)")
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process.pid not in dict(others())
    process.wait()
    assert state_of(process.pid) is None


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path, Path], None]]:
    """Binds a folder to another place."""

    def bind(folder: Path, point: Path) -> None:
        command = ["mount", "--bind", str(folder), str(point)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")

    yield bind
    for point in reversed(_mount_points(f"{tmp_path}/")):
        subprocess.run(["umount", point], check=True)


@needs_root
def test_what_is_mounted_in_the_area_is_unmounted_and_its_files_are_not_touched(
    tmp_path: Path, mount: Callable[[Path, Path], None]
) -> None:
    bait = tmp_path / "bait"
    (bait / "inner").mkdir(parents=True)
    (bait / "file").write_text("precious")
    point = tmp_path / "cache" / "slots" / "0" / "with space"
    point.mkdir(parents=True)
    mount(bait, point)
    mount(bait, point / "inner")
    WorkArea(tmp_path / "cache").close()
    assert (bait / "file").read_text() == "precious"
    assert not point.parent.exists()


@needs_root
def test_what_cannot_be_unmounted_stops_the_executor_before_it_deletes_anything(
    tmp_path: Path, mount: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    bait, point = tmp_path / "bait", tmp_path / "cache" / "slots" / "0"
    bait.mkdir()
    point.mkdir(parents=True)
    (bait / "file").write_text("precious")
    mount(bait, point)
    monkeypatch.setattr(former_life, "_MNT_DETACH", 0xBAD)
    with pytest.raises(FailedPrecondition, match="cannot be unmounted: Invalid argument"):
        WorkArea(tmp_path / "cache")
    assert (bait / "file").read_text() == "precious"
