"""The last line of CI covers all runs of pytest."""

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "scripts" / "add_up_summaries.py"


def summary(folder: Path, *logs: str) -> subprocess.CompletedProcess[str]:
    paths = [folder / str(number) for number in range(len(logs))]
    for path, log in zip(paths, logs, strict=True):
        path.write_text(log)
    return subprocess.run([sys.executable, PROGRAM, *paths], capture_output=True, text=True)


def test_counts_and_times_of_all_runs_are_added_up(tmp_path: Path) -> None:
    done = summary(
        tmp_path,
        "===== test session starts =====\n"
        "== 1 failed, 1500 passed, 2 skipped, 1 warning, 1 error in 712.34s (0:11:52) ==\n",
        "= 20 passed, 99 deselected, 2 warnings, 3 xfailed in 60.00s (0:01:00) =\nmake: done\n",
    )
    assert done.returncode == 0
    words = done.stdout.strip().strip("=").strip()
    assert words == (
        "1 failed, 1520 passed, 2 skipped, 3 xfailed, 3 warnings, 1 error in 772.34s (0:12:52)"
    )
    assert done.stdout.startswith("=")
    assert done.stdout.endswith("=\n")


def test_what_failed_in_any_run_is_named_before_the_summary(tmp_path: Path) -> None:
    done = summary(
        tmp_path,
        "ERROR: no such target\n"
        "FAILED tests/one.py::test_tea[2.1.0] - assert 'a cup' == 'a pot'\n"
        "== 1 failed in 1.00s ==\n",
        "//:test FAILED in 0.5s\nERROR tests/other.py::test_cup\n== 1 error in 1.00s ==\n",
    )
    assert done.stdout.splitlines()[:-1] == [
        "FAILED tests/one.py::test_tea[2.1.0] - assert 'a cup' == 'a pot'",
        "ERROR tests/other.py::test_cup",
    ]


def test_a_run_that_came_to_no_end_has_no_summary(tmp_path: Path) -> None:
    done = summary(tmp_path, "== 3 passed in 0.10s ==\n", "== session starts ==\nkilled\n")
    assert done.returncode == 1
    assert done.stdout == ""
