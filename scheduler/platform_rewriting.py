"""Rewrites the platform properties of actions, instance by instance, before they are matched.

Clients that cannot be changed ask for what other services call things; the operator translates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .model import Properties


@dataclass(frozen=True)
class PlatformRewriting:
    """What is done to the properties of each action, in this order."""

    # Properties of these names are dropped.
    remove: frozenset[str] = frozenset()
    # All at once, so that two names may be swapped.
    rename: Mapping[str, str] = field(default_factory=dict)
    # In place of all values of that name.
    set: Mapping[str, str] = field(default_factory=dict)
    # Where the action has no property of that name.
    add: Mapping[str, str] = field(default_factory=dict)

    def apply(self, properties: Properties) -> Properties:
        """The rewritten properties, in order and each pair once."""
        pairs = {
            (self.rename.get(name, name), value)
            for name, value in properties
            if name not in self.remove
        }
        pairs = {(name, value) for name, value in pairs if name not in self.set}
        pairs.update(self.set.items())
        present = {name for name, _ in pairs}
        pairs.update((name, value) for name, value in self.add.items() if name not in present)
        return tuple(sorted(pairs))


UNCHANGED = PlatformRewriting()
