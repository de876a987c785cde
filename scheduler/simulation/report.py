"""Results of several policies side by side, as lines of text."""

from collections.abc import Iterator, Sequence

from .results import Results, Spread

Row = tuple[str, ...]


def report_rows(results: Sequence[Results]) -> Iterator[Row]:
    """The head, then a row for each measure with a cell for each policy."""
    yield ("", *(one.policy for one in results))
    yield ("actions", *(f"{one.actions:,}" for one in results))
    yield ("  ended well", *(f"{one.finished - one.failed:,}" for one in results))
    yield ("  failed", *(f"{one.failed:,}" for one in results))
    yield ("  still waiting", *(f"{one.actions - one.finished:,}" for one in results))
    yield ("attempts", *(f"{one.attempts:,}" for one in results))
    yield ("utilisation", *(_percent(one.utilisation) for one in results))
    yield ("queue time p50/p95/max, s", *(_spread(one.queue_seconds) for one in results))
    yield ("most queued at once", *(f"{one.most_queued:,}" for one in results))
    yield ("cache locality", *(_percent(one.locality) for one in results))
    yield ("  of recurring inputs", *(_percent(one.locality_of_recurring) for one in results))
    yield ("on the preferred worker", *(_percent(one.preferred) for one in results))
    yield (
        "slowdown of small invocations p50/p95/max",
        *(_spread(one.small_slowdown) for one in results),
    )
    for tenant in sorted({name for one in results for name in one.tenants}):
        name = f"share of tenant {tenant or '(none)'} (by weight)"
        yield (name, *(_tenant(one, tenant) for one in results))
    for number, moved in enumerate(results[0].moved if results else ()):
        name = f"moved by {moved.before:,} -> {moved.after:,} workers (least)"
        yield (name, *(_moved(one, number) for one in results))
    yield ("simulated", *(f"{one.simulated_hours:.1f} h in {one.seconds:.1f} s" for one in results))
    yield ("events", *(f"{one.events:,}" for one in results))
    yield ("events/s", *(f"{one.events / max(one.seconds, 1e-9):,.0f}" for one in results))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return " / ".join(f"{value:,.2f}" for value in (spread.p50, spread.p95, spread.max))


def _tenant(results: Results, name: str) -> str:
    share = results.tenants.get(name)
    return "-" if share is None else f"{_percent(share.share)} ({_percent(share.entitled)})"


def _moved(results: Results, number: int) -> str:
    if number >= len(results.moved):
        return "-"
    moved = results.moved[number]
    return f"{_percent(moved.share)} ({_percent(moved.least)})"
