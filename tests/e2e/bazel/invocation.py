"""Runs one Bazel command in a test's own workspace and reads what Bazel says of it."""

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.command import run_command

TEMPLATE = Path(__file__).parent / "workspace"
DEADLINE_SECONDS = 120
PROCESSES = re.compile(r"^INFO: (\d+) process(?:es)?: (.+)\.$", re.MULTILINE)


@dataclass(frozen=True)
class Invocation:
    """How a command ended and all that it said."""

    exit_code: int
    output: str

    @property
    def processes(self) -> Mapping[str, int]:
        """How many actions ran where, for example {'remote': 26}, without Bazel's internal ones."""
        summary = PROCESSES.findall(self.output)
        if len(summary) != 1:
            raise AssertionError(f"expected one line of process counts in:\n{self.output}")
        counts = (part.split(" ", 1) for part in summary[0][1].split(", "))
        return {place: int(count) for count, place in counts if place != "internal"}


@dataclass(frozen=True)
class Bazel:
    """One Bazel program with a workspace of its own, and all of its state, below `machine`.

    Every command is a process of its own (--batch), so nothing is left running.
    """

    program: Path
    machine: Path

    def __post_init__(self) -> None:
        shutil.copytree(TEMPLATE, self.workspace)

    @property
    def workspace(self) -> Path:
        return self.machine / "workspace"

    def elsewhere(self) -> "Bazel":
        """The same program and sources in another place, without state: a colleague's machine."""
        return Bazel(self.program, self.machine.with_name("elsewhere"))

    def run(
        self, command: str, *arguments: str, interrupt_after: Callable[[], None] | None = None
    ) -> Invocation:
        """Runs to the end whatever the exit code, within a deadline.

        Its user presses Ctrl-C when `interrupt_after` has returned.
        """
        startup = ["--batch", "--nohome_rc", f"--output_user_root={self.machine / 'state'}"]
        exit_code, output = run_command(
            [self.program, *startup, command, *arguments],
            self.workspace,
            deadline_seconds=DEADLINE_SECONDS,
            interrupt_after=interrupt_after,
        )
        return Invocation(exit_code, output)

    def succeed(self, command: str, *arguments: str) -> Invocation:
        """Runs a command that has to end with exit code 0."""
        invocation = self.run(command, *arguments)
        assert invocation.exit_code == 0, f"bazel {command} ended with {invocation.exit_code}"
        return invocation

    def output(self, path: str) -> Path:
        """Where the last build of this workspace left an output."""
        return self.workspace / "bazel-bin" / path
