"""Which sandbox a worker takes, and what it says of it."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reapi.core.errors import FailedPrecondition
from reapi.executor.sandbox_choice import SandboxSetting, choose_sandbox
from tests.unit.executor.harness import needs_bubblewrap, needs_root

USER = 60999


@pytest.fixture
def directory(reachable_path: Path) -> Path:
    made = reachable_path / "sandbox"
    made.mkdir()
    made.chmod(0o711)
    return made


@needs_bubblewrap
@pytest.mark.parametrize("separate_uid", [pytest.param(True, marks=needs_root), False])
async def test_auto_takes_bubblewrap_where_it_works(
    directory: Path, caplog: pytest.LogCaptureFixture, *, separate_uid: bool
) -> None:
    caplog.set_level(logging.INFO)
    choice = await choose_sandbox("auto", directory, (), separate_uid=separate_uid)
    assert choice.kind == "bubblewrap"
    (line,) = caplog.messages
    assert line.startswith("sandbox bubblewrap: ")
    assert ("cached inputs" in line) is not separate_uid


@pytest.mark.parametrize("setting", ["auto", "bubblewrap", "required"])
async def test_without_bubblewrap_auto_goes_without_and_others_refuse(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    setting: SandboxSetting,
) -> None:
    monkeypatch.setenv("PATH", "/absent")
    if setting == "auto":
        choice = await choose_sandbox(setting, directory, (), separate_uid=False)
        assert choice.kind == "none"
        assert "install the package bubblewrap" in choice.reason
        assert {"the network", "what this executor's user may do"} <= {*choice.not_isolated}
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "not isolated: the network" in record.getMessage()
    else:
        with pytest.raises(FailedPrecondition, match=f'"{setting}".* install the package'):
            await choose_sandbox(setting, directory, (), separate_uid=False)


async def test_none_is_none_though_bubblewrap_works(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await choose_sandbox("none", directory, (), separate_uid=False)).kind == "none"
    assert not caplog.messages


@pytest.mark.parametrize("setting", ["auto", "required"])
async def test_a_path_to_show_that_is_not_there_is_the_operators_mistake(
    directory: Path, setting: SandboxSetting
) -> None:
    with pytest.raises(FailedPrecondition, match=r"sandbox_paths: /absent does not exist"):
        await choose_sandbox(setting, directory, ("/absent",), separate_uid=False)


CHOOSE = """
import asyncio, concurrent.futures.thread, encodings.idna, json, os, sys
from pathlib import Path
from reapi.core.errors import FailedPrecondition
from reapi.executor import slot_kernel
from reapi.executor.sandbox_choice import choose_sandbox
from reapi.executor.seccomp import filter_program, sealed_file
home, user, setting, kernel, python = sys.argv[1:]
os.chdir("/")
os.setgroups([])
os.setresgid(*[int(user)] * 3)
os.setresuid(*[int(user)] * 3)
sys.executable = python  # the one that runs this may be out of reach now
slot_kernel.refuse_privileges()
if kernel == "forbidding":
    slot_kernel.install_filter(sealed_file(filter_program()))
directory = Path(home, "sandbox")
directory.mkdir()
try:
    choice = asyncio.run(choose_sandbox(setting, directory, (), separate_uid=False))
except FailedPrecondition as error:
    print(json.dumps(["refused", error.message]))
else:
    print(json.dumps([choice.kind, choice.reason]))
"""


def chosen(folder: Path, setting: str, kernel: str) -> tuple[str, str]:
    """What a process chooses that gave up all rights, where the kernel is as said."""
    python = shutil.which("python3", path="/usr/bin:/bin")
    if python is None:
        pytest.skip("no Python of the system, which other users can run")
    home = folder / "home"
    home.mkdir()
    os.chown(home, USER, USER)
    arguments = [str(home), str(USER), setting, kernel, python]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", CHOOSE, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        env=environment,
    )
    kind, reason = json.loads(done.stdout)
    return kind, reason


@needs_root
@needs_bubblewrap
def test_without_root_bubblewrap_works_where_user_namespaces_do(reachable_path: Path) -> None:
    kind, reason = chosen(reachable_path, "required", "permitting")
    assert (kind, reason) == ("bubblewrap", f"{shutil.which('bwrap')} works as this user")


@needs_root
@pytest.mark.parametrize(("setting", "kind"), [("auto", "none"), ("required", "refused")])
def test_without_root_and_namespaces_as_in_a_restricted_pod_it_says_why_there_is_none(
    reachable_path: Path, setting: str, kind: str
) -> None:
    """No capability, no_new_privs, and a filter that denies namespaces: our own one will do."""
    found, reason = chosen(reachable_path, setting, "forbidding")
    assert found == kind
    assert "bwrap: " in reason
    assert "perm" in reason  # "No permissions to create new namespace", or "not permitted"
