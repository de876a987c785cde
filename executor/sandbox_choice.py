"""Chooses the sandbox of a worker at its start, by running a command in it."""

import asyncio
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reapi.core.errors import FailedPrecondition, ReapiError

from .action_uid import ActionUid
from .command import DEFAULT_PATH
from .host_tools import find_host_tools
from .runner import Runner
from .sandbox import INPUT_ROOT, Bubblewrap, Enclosure
from .seccomp import is_supported

_LOG = logging.getLogger(__name__)
_PROBE_SECONDS = 30.0

SandboxSetting = Literal["auto", "bubblewrap", "required", "none"]
"""`auto` takes the best that works here, `bubblewrap` and `required` refuse to go without it."""


@dataclass(frozen=True, slots=True)
class SandboxChoice:
    """The sandbox of all actions of a worker, and why it is this one."""

    bubblewrap: Bubblewrap | None
    separate_uid: bool
    reason: str

    @property
    def kind(self) -> Literal["bubblewrap", "none"]:
        return "bubblewrap" if self.bubblewrap else "none"

    @property
    def not_isolated(self) -> tuple[str, ...]:
        """What an action is not kept from; docs/sandbox.md has the table."""
        gaps: list[str] = []
        if self.bubblewrap is None:
            gaps += ("the network", "files of the host that its user may read", "processes")
        if not self.separate_uid:
            gaps += ("cached inputs, whose alterations are only noticed",)
            if self.bubblewrap is None:
                gaps += ("what this executor's user may do",)
        if not is_supported():
            gaps += ("system calls, for which there is no filter on this processor",)
        return tuple(gaps)

    def __str__(self) -> str:
        gaps = ", ".join(self.not_isolated)
        return f"{self.kind}: {self.reason}; " + (f"not isolated: {gaps}" if gaps else "isolated")


async def choose_sandbox(
    setting: SandboxSetting, directory: Path, more_paths: Sequence[str], *, separate_uid: bool
) -> SandboxChoice:
    """The sandbox that `setting` wants and this machine allows, in one line of the log.

    `directory`, which actions can reach, exists for this; it gets the files that the sandbox shows
    to commands, and must stay. With `separate_uid` the probe runs as actions will.

    Raises FailedPrecondition when a path is absent, or a sandbox is required and does not work.
    """
    if setting == "none":
        choice = SandboxChoice(None, separate_uid, "it is set so")
    else:
        bubblewrap, reason = await _find(directory, more_paths, separate_uid=separate_uid)
        if bubblewrap is None and setting != "auto":
            raise FailedPrecondition(
                f'executor.sandbox = "{setting}", but bubblewrap does not work here: {reason}'
            )
        choice = SandboxChoice(bubblewrap, separate_uid, reason)
    expected = choice.bubblewrap or setting == "none"
    _LOG.log(logging.INFO if expected else logging.WARNING, "sandbox %s", choice)
    return choice


async def _find(
    directory: Path, more_paths: Sequence[str], *, separate_uid: bool
) -> tuple[Bubblewrap | None, str]:
    """A bubblewrap that works here, or none, and why."""
    program = shutil.which("bwrap")
    if program is None:
        return None, "bwrap is not on the PATH; install the package bubblewrap"
    tools = await asyncio.to_thread(find_host_tools, directory / "etc", more_paths)
    bubblewrap = Bubblewrap(program, tools)
    uid = ActionUid() if separate_uid else None
    user = f"uid {uid.number}" if uid else "this user"
    try:
        trouble = await _probe(bubblewrap, directory, uid.number if uid else None)
    finally:
        if uid:
            uid.release()
    if trouble:
        return None, f"it fails as {user}: {trouble}"
    return bubblewrap, f"{program} works as {user}"


async def _probe(bubblewrap: Bubblewrap, directory: Path, uid: int | None) -> str | None:
    """Runs a command in it as slots do; says what went wrong."""
    root, temporary = directory / "root", directory / "tmp"
    for made in (root, temporary):
        made.mkdir(mode=0o700)
        if uid is not None:
            os.chown(made, uid, uid)
    enclosure = Enclosure(
        bubblewrap.host_tools,
        str(root),
        str(temporary),
        is_root=uid is None and os.geteuid() == 0,
    )
    try:
        async with Runner(directory, uid, bubblewrap.program) as runner:
            outcome = await runner.run(
                ["true"], {"PATH": DEFAULT_PATH}, INPUT_ROOT, _PROBE_SECONDS, enclosure
            )
            said = runner.stderr.read(500).decode(errors="replace").strip()
    except ReapiError as error:
        return error.message
    finally:
        for made in (root, temporary):
            shutil.rmtree(made)
    if (outcome.ended_by, outcome.exit_code) != ("exit", 0):
        return f"a command in it ended by {outcome.ended_by}, code {outcome.exit_code}: {said}"
    return None
