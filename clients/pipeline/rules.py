"""Which rules hold for a change: branch, event, tag, changed files and matrix values."""

from collections.abc import Mapping
from dataclasses import dataclass

from .globs import matches, matches_any
from .model import Rules, StageRules


@dataclass(frozen=True, slots=True)
class Change:
    """What a plan is run for.

    None for what is not known: then no branch, event or tag matches, and every path does, since
    everything may have changed.
    """

    branch: str | None = None
    event: str | None = None
    tag: str | None = None
    changed_paths: tuple[str, ...] | None = None


def reason_against(rules: Rules, change: Change) -> str | None:
    """Why the rules leave it out; None if they do not."""
    for key in ("branch", "event", "tag"):
        patterns = getattr(rules, key)
        value = getattr(change, key)
        if patterns is not None and (
            value is None or not any(matches(pattern, value) for pattern in patterns)
        ):
            said = f"{key} {value!r}" if value is not None else f"no {key}"
            return f"{said}, not {' or '.join(patterns)}"
    if rules.path is not None and change.changed_paths is not None:
        patterns = rules.path
        if not any(matches_any(patterns, path) for path in change.changed_paths):
            return f"nothing changed in {' or '.join(patterns)}"
    return None


def matrix_reason_against(rules: StageRules, values: Mapping[str, str]) -> str | None:
    """Why the rules leave out a job with these matrix values."""
    for axis, patterns in (rules.matrix or {}).items():
        if not any(matches(pattern, values[axis]) for pattern in patterns):
            return f"{axis} {values[axis]!r}, not {' or '.join(patterns)}"
    return None
