"""Queue and utilisation over the simulated time as a PNG: two panels for each policy.

matplotlib is an extra of this package, `reapi[plot]`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reapi.core.errors import FailedPrecondition

from .results import Results

_HOUR = 3_600_000_000
_QUEUE = "#b3541e"
_BUSY = "#1f5f8b"


def check_plotting() -> None:
    """Raises FailedPrecondition, with what to do, if nothing can be drawn here."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise FailedPrecondition(
            "a plot needs matplotlib: install it with `pip install 'reapi[plot]'`"
        ) from error


def plot(results: Sequence[Results], title: str, path: Path) -> None:
    """Writes the picture; raises FailedPrecondition if that cannot be done."""
    check_plotting()
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 4.6 * len(results) + 0.8), dpi=120, layout="constrained")
    panels: Any = figure.subplots(2 * len(results), 1, sharex=True, squeeze=False)
    figure.suptitle(title, fontsize=13)
    most = max((sample.queued for one in results for sample in one.samples), default=0)
    for number, one in enumerate(results):
        _draw_queue(panels[2 * number][0], one, most)
        _draw_utilisation(panels[2 * number + 1][0], one)
    bottom = panels[-1][0]
    bottom.xaxis.set_major_locator(MaxNLocator(nbins=14, steps=[1, 2, 3, 6, 10]))
    bottom.set_xlabel("simulated time (hours)")
    bottom.set_xlim(0, max((one.simulated_hours for one in results), default=1))
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise FailedPrecondition(f"cannot write {path}: {error}") from error


def _draw_queue(panel: Any, results: Results, most: int) -> None:
    hours = [sample.at / _HOUR for sample in results.samples]
    queued = [sample.queued for sample in results.samples]
    panel.fill_between(hours, queued, step="post", color=_QUEUE, alpha=0.25, linewidth=0)
    panel.step(hours, queued, where="post", color=_QUEUE, linewidth=1.2, label="waiting actions")
    panel.set_title(results.policy, loc="left", fontsize=12, fontweight="bold")
    panel.set_ylabel("queue (actions)")
    panel.set_ylim(0, max(1, 1.05 * most))
    panel.yaxis.set_major_formatter("{x:,.0f}")
    _finish(panel)


def _draw_utilisation(panel: Any, results: Results) -> None:
    hours = [sample.at / _HOUR for sample in results.samples]
    busy = [100 * sample.running / max(1, sample.slots) for sample in results.samples]
    panel.fill_between(hours, busy, step="post", color=_BUSY, alpha=0.25, linewidth=0)
    panel.step(hours, busy, where="post", color=_BUSY, linewidth=1.2, label="slots in use")
    if results.utilisation is not None:
        mean = 100 * results.utilisation
        panel.axhline(mean, color="0.3", linewidth=1, linestyle="--", label=f"mean {mean:.1f} %")
    panel.set_ylabel("utilisation (% of slots)")
    panel.set_ylim(0, 105)
    _finish(panel)


def _finish(panel: Any) -> None:
    panel.grid(color="0.88", linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    # Above the panel: there it covers nothing.
    panel.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, frameon=False)
