"""Runs one BuildStream command in a test's own project and reads what BuildStream says of it."""

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.command import run_command

TEMPLATE = Path(__file__).parent / "project"
BUSYBOX = Path("/bin/busybox")
APPLETS = ("chmod", "cp", "ln", "ls", "mkdir", "rm", "sh", "tr", "wc")
DEADLINE_SECONDS = 120
BUILD_QUEUE = re.compile(r"Build Queue: +processed (\d+), skipped (\d+), failed (\d+)")
USER_CONFIGURATION = """
cachedir: {machine}/cache
logdir: {machine}/logs
remote-execution:
  storage-service: {{url: "http://{server}"}}
  action-cache-service: {{url: "http://{server}"}}
  execution-service: {{url: "http://{server}"}}
"""


@dataclass(frozen=True)
class Invocation:
    """How a command ended and all that it said."""

    exit_code: int
    output: str

    @property
    def built(self) -> tuple[int, int, int]:
        """Elements that were built, that needed no build, and that failed."""
        (counts,) = BUILD_QUEUE.findall(self.output)
        processed, skipped, failed = counts
        return int(processed), int(skipped), int(failed)

    @property
    def remote_builds(self) -> int:
        """Actions that the server has executed."""
        return self.output.count("SUCCESS Waiting for the remote build to complete")

    @property
    def cached_builds(self) -> int:
        """Actions whose results the server had."""
        return self.output.count("Action result found in action cache")


class BuildStream:
    """BuildStream with a project of its own, and all of its state, below `machine`."""

    def __init__(self, packages: Path, machine: Path, server: str) -> None:
        self._packages = packages
        self._machine = machine
        self._configuration = machine / "user.conf"
        self.project = machine / "project"
        shutil.copytree(TEMPLATE, self.project)
        root = self.project / "files" / "rootfs"
        (root / "bin").mkdir(parents=True)
        shutil.copy(BUSYBOX, root / "bin" / "busybox")
        for applet in APPLETS:
            (root / "bin" / applet).symlink_to("busybox")
        self._configuration.write_text(USER_CONFIGURATION.format(machine=machine, server=server))

    def forget(self) -> None:
        """Removes the local cache: the server has all that is left of the builds."""
        shutil.rmtree(self._machine / "cache")

    def run(self, *arguments: str) -> Invocation:
        """Runs to the end whatever the exit code, within a deadline."""
        configured = ("--no-interactive", "--no-colors", "--config", str(self._configuration))
        exit_code, output = run_command(
            [sys.executable, "-m", "buildstream", *configured, *arguments],
            self.project,
            environment={
                **os.environ,
                "PYTHONPATH": str(self._packages),
                "HOME": str(self._machine),
            },
            deadline_seconds=DEADLINE_SECONDS,
        )
        return Invocation(exit_code, output)

    def succeed(self, *arguments: str) -> Invocation:
        """Runs a command that has to end with exit code 0."""
        invocation = self.run(*arguments)
        assert invocation.exit_code == 0, f"bst {arguments[0]} ended with {invocation.exit_code}"
        return invocation

    def checkout(self, element: str) -> Path:
        """What an element has installed, without what it depends on."""
        directory = self._machine / "checkout" / element
        self.succeed(
            *("artifact", "checkout", element, "--deps", "none", "--directory", str(directory))
        )
        return directory
