"""What a look at the whole storage has found."""

from collections.abc import Callable
from dataclasses import dataclass, field

from reapi.core.digest import Digest

_SHOWN_NAMES = 1000

Advance = Callable[[int], None]
"""Told of each piece of work that is done, in the unit of the step."""


@dataclass
class Kind:
    """Things of one kind: how many, of how many bytes, and the names of the first of them."""

    count: int = 0
    size_bytes: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, size_bytes: int, name: Digest | str = "") -> None:
        """One more, with its name if somebody may want to know it."""
        self.count += 1
        self.size_bytes += size_bytes
        if name and len(self.names) < _SHOWN_NAMES:
            self.names.append(str(name))


@dataclass
class Findings:
    """Of a verification. `damaged`, `missing` and `incomplete_results` mean lost data."""

    verified: Kind = field(default_factory=Kind)
    damaged: Kind = field(default_factory=Kind)
    missing: Kind = field(default_factory=Kind)
    orphaned: Kind = field(default_factory=Kind)
    incomplete_results: Kind = field(default_factory=Kind)

    @property
    def is_sound(self) -> bool:
        """Whether nothing was lost. Orphans are room lost, not data."""
        return not (self.damaged.count or self.missing.count or self.incomplete_results.count)
