"""What a run has found out: rows of the table, and what could not be measured and why."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.comparison import Comparison


class CompileError(Exception):
    """A compile or a build did not do what it is measured for; it says what it did."""


@dataclass(frozen=True)
class Findings:
    """Of all parts of a run, in the order of the table."""

    rows: list[Comparison] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def noting(self, name: str) -> Iterator[None]:
        """A tool that is missing or fails costs its own rows only, and the reason is told."""
        try:
            yield
        except (CompileError, OSError, subprocess.SubprocessError) as error:
            self.troubles.append(f"{name}: {error}")
            print(f"  {self.troubles[-1]}", flush=True)
