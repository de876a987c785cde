"""What `reapi-server storage` prints: a bar while it works, then lines or one JSON object."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from reapi.cas.maintenance.findings import Advance, Findings, Kind
from reapi.cas.maintenance.stats import Statistics

_SHOWN_NAMES = 20
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def in_units(size_bytes: int) -> str:
    """A size for people."""
    size, unit = float(size_bytes), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:,.0f} {_UNITS[unit]}" if unit == 0 else f"{size:,.1f} {_UNITS[unit]}"


@contextmanager
def progress(label: str, total: int) -> Iterator[Advance]:
    """A bar on stderr, if that is a terminal."""
    stream = sys.stderr
    with click.progressbar(
        length=max(1, total), label=label, file=stream, hidden=not stream.isatty()
    ) as bar:

        def advance(done: int) -> None:
            bar.update(done)

        yield advance


def show(report: dict[str, Any], lines: Sequence[str], *, as_json: bool) -> None:
    """Prints one or the other."""
    click.echo(json.dumps(report, indent=2) if as_json else "\n".join(lines))


def findings_lines(findings: Findings, *, is_repaired: bool) -> list[str]:
    """A table, then the names of what is wrong."""
    done = {
        "verified": "",
        "damaged": "moved into quarantine, missing from now on",
        "missing": "taken out of the index",
        "orphaned": "deleted",
        "incomplete_results": "removed",
    }
    kinds: dict[str, Kind] = {name: getattr(findings, name) for name in done}
    lines = []
    for name, kind in kinds.items():
        what = done[name] if kind.count and is_repaired else ""
        line = f"{name.replace('_', ' '):<20}{kind.count:>12,}{in_units(kind.size_bytes):>16}"
        lines.append(f"{line}  {what}".rstrip())
    for name in ("damaged", "missing", "incomplete_results"):
        kind = kinds[name]
        lines += [f"{name.replace('_', ' ')}: {one}" for one in kind.names[:_SHOWN_NAMES]]
        if kind.count > _SHOWN_NAMES:
            lines.append(f"{name.replace('_', ' ')}: and {kind.count - _SHOWN_NAMES:,} more")
    return lines


def statistics_lines(statistics: Statistics) -> list[str]:
    """Groups overlap: each blob stands in several."""
    lines = [f"{'':<28}{'blobs':>12}{'':>4}{'size':>12}"]
    for group in sorted(statistics.blobs):
        count, size = statistics.blobs[group], in_units(statistics.bytes[group])
        lines.append(f"{group:<28}{count:>12,}{size:>16}")
    for instance, size_bytes in sorted(statistics.bytes_by_instance.items()):
        lines.append(f"{f'instance {instance!r}':<28}{'':>12}{in_units(size_bytes):>16}")
    results = in_units(statistics.result_bytes)
    lines.append(f"{'action results':<28}{statistics.results:>12,}{results:>16}")
    return lines
