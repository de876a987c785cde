"""What an operator may set of an executor."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .limits import Limits
from .sandbox_choice import SandboxSetting


@dataclass(frozen=True, slots=True)
class ExecutorConfig:
    """The `[executor]` table."""

    worker_id: str
    """Stable over restarts, unique in the fleet."""

    cache_dir: Path
    """Input files and input roots live here, on one file system. What a former life of the
    executor left in it is removed at the start; two executors cannot share it. When it runs as
    root, every directory above must be searchable by all (chmod o+x), so that actions can run
    under users of their own."""

    slots: int = field(default_factory=lambda: os.cpu_count() or 1)
    """How many actions run at once."""

    platform: Mapping[str, str] = field(default_factory=dict)
    """The properties that this worker offers."""

    resources: Mapping[str, int] = field(default_factory=dict)
    """What actions may book on it: `cpu` in thousandths of a core, `memory` in bytes, tokens."""

    sandbox: SandboxSetting = "auto"
    """What keeps actions apart from the machine and from each other."""

    sandbox_paths: Sequence[str] = ()
    """What of the machine they see in it, read-only, besides the usual tools."""

    persistent_worker_idle_seconds: float = 300
    """How long a warm tool waits for its next action before it is ended; 0 for none at all."""

    ordinal: int | None = None
    """Its place in a fleet of numbered workers, where the placement asks for one."""

    cache_max_size_bytes: int = 10 << 30
    """Of input files that no slot uses now; what slots use comes on top only as far as it must.
    An action whose input files are larger than this is refused."""

    limits: Limits = field(default_factory=Limits)
    """What one action may use."""

    delivery_seconds: float = 20.0
    """How long a worker that drains and has nothing left to run waits for the scheduler to take
    the results."""

    storage_patience_seconds: float = 300.0
    """How long an action waits for a storage that is away, for its inputs or with its outputs,
    before it ends as UNAVAILABLE."""
