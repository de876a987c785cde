"""The settings below [executor]."""

import os
import re
import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from reapi.executor.machine import cpu_milli, memory_bytes
from reapi.executor.sandbox_choice import SandboxSetting
from reapi.scheduler.model import Resources
from reapi.scheduler.policy import MODULO

from .limits_section import LimitsSection
from .scheduler_section import SchedulerSection, amounts_of
from .section import Amount, NotNegative, Positive, PositiveSeconds, Section

_TRAILING_NUMBER = re.compile(r"(?:^|\D)(\d{1,9})\Z", re.ASCII)


class ExecutorSection(Section):
    """[executor]"""

    # Unique in the fleet and the same after a restart.
    worker_id: str = Field(default_factory=socket.gethostname, min_length=1, max_length=200)
    # Its place in a fleet of numbered workers, from 0, for scheduler.placement = "modulo"; the
    # number at the end of worker_id if unset, as 3 of builder-3.
    ordinal: NotNegative | None = None
    # Actions that run at once.
    slots: Positive = Field(default_factory=lambda: max(2, len(os.sched_getaffinity(0))))
    # Platform properties that this worker offers.
    platform: dict[str, str] = Field(default_factory=dict)
    # What actions may book: cpu, memory, gpu and tokens of any name. By default cpu is what this
    # process may use, and memory what the machine or the container has.
    resources: dict[str, Amount] = Field(default_factory=dict)
    # How inputs come and outputs go: by gRPC through a frontend, or straight from and to database
    # and bucket, which then every executor can reach.
    storage: Literal["frontend", "direct"] = "frontend"
    # HOST:PORT for inputs and outputs, where the scheduler's address has none.
    frontend_endpoint: str | None = None
    # How long an action waits for inputs, and keeps its outputs, while their storage is away.
    storage_patience_seconds: PositiveSeconds = 300
    # Where inputs are cached and actions run; DATA_DIR/executor by default.
    cache_dir: Path | None = None
    # What isolates actions: "auto" takes bubblewrap if it works here, else "none"; "bubblewrap", or
    # "required", refuses to start without it.
    sandbox: SandboxSetting = "auto"
    # Paths of this machine that actions see in the sandbox, read-only, beside /usr and the like.
    sandbox_paths: list[str] = Field(default_factory=list)
    # How long a persistent worker (a compiler that Bazel marks as one) waits for its next action
    # before it is ended; 0 for none at all.
    persistent_worker_idle_seconds: NotNegative = 300
    # Cached inputs beyond this are removed, oldest use first.
    cache_max_size_bytes: Positive = 20 << 30
    # What one action may use.
    limits: LimitsSection = Field(default_factory=LimitsSection)

    @field_validator("resources")
    @classmethod
    def _check_resources(cls, resources: dict[str, str]) -> dict[str, str]:
        amounts_of(resources)
        return resources

    @field_validator("sandbox_paths")
    @classmethod
    def _check_sandbox_paths(cls, paths: list[str]) -> list[str]:
        for path in paths:
            if not path.startswith("/") or os.path.normpath(path) != path or path == "/":
                raise ValueError(f"{path!r} must be an absolute path below / without . and ..")
        return paths

    def number(self) -> int | None:
        """The ordinal that is set, or that worker_id ends with."""
        match = _TRAILING_NUMBER.search(self.worker_id)
        return self.ordinal if self.ordinal is not None or match is None else int(match[1])

    def check_number(self, scheduler: SchedulerSection) -> None:
        """Raises ValueError when the placement needs an ordinal and there is no good one."""
        if scheduler.placement != MODULO:
            return
        number, count = self.number(), scheduler.expected_workers
        if number is None:
            raise ValueError(
                'scheduler.placement = "modulo" needs the ordinal of each worker: set ordinal, or '
                f"a worker_id that ends with it; {self.worker_id!r} does not"
            )
        if number >= count:
            raise ValueError(
                f"ordinal {number} is not below scheduler.expected_workers = {count}: ordinals "
                "begin at 0"
            )

    def offered(self) -> Resources:
        """What is set, and what the machine has of the others."""
        machine = {"cpu": f"{cpu_milli()}m", "memory": str(memory_bytes())}
        return amounts_of(machine | self.resources)
