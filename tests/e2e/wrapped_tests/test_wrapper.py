"""`reapi-cli run --wrapper`: tests of a Meson and of a CMake project, run remotely and cached."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import PROGRAMS, installed
from tests.server_process import ServerProcess

PROJECT = Path(__file__).parent / "project"
REAPI_CLI = PROGRAMS / "reapi-cli"
WRAPPER = f"{REAPI_CLI} run --wrapper --input own.*"
DEADLINE_SECONDS = 120


@pytest.fixture
def environment(server: ServerProcess, open_path: Path) -> dict[str, str]:
    own = {"REAPI_SERVER": server.grpc, "XDG_CACHE_HOME": str(open_path / "cache")}
    return {**os.environ, **own}


@pytest.fixture
def project(open_path: Path) -> Path:
    return Path(shutil.copytree(PROJECT, open_path / "project"))


def run(
    directory: Path, environment: dict[str, str], *command: str | Path, exit_code: int = 0
) -> str:
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == exit_code, done.stdout
    return done.stdout


def program(name: str) -> Path:
    return installed(Path("/usr/bin") / name, f"scripts/install_system_packages.sh {name}")


def times(log: str) -> list[str]:
    """When the tests of a log ran that say so."""
    return sorted(re.findall(r"ran at ([\d.]+)", log))


def test_meson_test_runs_remotely_and_again_from_the_cache(
    project: Path, environment: dict[str, str]
) -> None:
    meson = program("meson")
    program("ninja")
    run(project, environment, meson, "setup", "build")
    run(project, environment, meson, "compile", "-C", "build")
    wrapper = f"--wrapper={WRAPPER} --"
    logs = []
    for _ in range(2):
        said = run(
            project, environment, meson, "test", "-C", "build", "--no-rebuild", "--verbose", wrapper
        )
        assert re.search(r"^Ok: +3 *$", said, re.MULTILINE), said
        logs.append(times(said))
    assert len(logs[0]) == 3
    assert logs[0] == logs[1]


def test_ctest_runs_remotely_and_again_from_the_cache(
    project: Path, environment: dict[str, str]
) -> None:
    cmake, ctest = program("cmake"), program("ctest")
    emulator = f"-DCMAKE_CROSSCOMPILING_EMULATOR={WRAPPER} --".replace(" ", ";")
    run(project, environment, cmake, "-S", ".", "-B", "build", emulator)
    run(project, environment, cmake, "--build", "build")
    logs = []
    for _ in range(2):
        said = run(project / "build", environment, ctest, "--verbose", "--parallel", "2")
        assert "100% tests passed, 0 tests failed out of 4" in said
        assert "is_skipped (Skipped)" in said
        logs.append(times(said))
    assert len(logs[0]) == 2
    assert logs[0] == logs[1]


def test_the_exit_code_is_that_of_the_program(project: Path, environment: dict[str, str]) -> None:
    run(project, environment, "gcc", "-shared", "half.c", "-o", "libhalf.so")
    run(project, environment, "gcc", "checker.c", "libhalf.so", "-o", "checker")
    wrapped = (*WRAPPER.split(), "--")
    near = environment | {"LD_LIBRARY_PATH": str(project)}
    for arguments, exit_code in ((("numbers.txt",), 0), (("odd.txt",), 1), ((), 77)):
        run(project, near, *wrapped, "./checker", *arguments, exit_code=exit_code)
    run(project, near, *wrapped, "./checker", "--numbers=numbers.txt", exit_code=2)
    said = run(project, environment, *wrapped, "./checker", exit_code=125)
    assert "cannot be loaded here" in said
    assert "no program" in run(project, environment, *wrapped, "./absent", exit_code=125)
    assert "not an ELF" in run(project, environment, *wrapped, "./half.c", exit_code=125)


def test_outputs_come_back_to_the_directory_of_the_program(
    project: Path, environment: dict[str, str]
) -> None:
    (project / "out").mkdir()
    wrapped = (*WRAPPER.split(), "--output", "out/copy.txt", "--")
    for cached in (False, True):  # what is to be made is no input, though an argument names it
        command = [*wrapped[:3], "--json", *wrapped[3:], "cp", "numbers.txt", "./out/copy.txt"]
        assert json.loads(run(project, environment, *command))["cached"] is cached
        assert (project / "out" / "copy.txt").read_text() == "2\n4\n"
