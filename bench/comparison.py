"""A figure beside what bounds it, measured in turns: machines differ, and so do moments."""

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from .load import Operation, measure, measure_burst

ROUNDS = 3
SECONDS = 1.5

Figure = Callable[[], Awaitable[float]]


@dataclass(frozen=True)
class Comparison:
    """A row of the table.

    `ratio` is that of the figure to its limit, the median of those of all rounds. `aim` is what the
    figure, or the ratio if `is_ratio`, has to reach, or not to exceed if `is_ceiling`; 0 for none.
    """

    name: str
    figure: float
    unit: str
    limit: float = 0
    limit_name: str = ""
    ratio: float = 0
    aim: float = 0
    is_ratio: bool = True
    is_ceiling: bool = False

    @property
    def is_met(self) -> bool | None:
        """None without an aim."""
        if not self.aim:
            return None
        reached = self.ratio if self.is_ratio else self.figure
        return reached <= self.aim if self.is_ceiling else reached >= self.aim


def compare(
    name: str,
    unit: str,
    figures: Sequence[float],
    limits: Sequence[float] = (),
    limit_name: str = "",
    *,
    aim: float = 0,
    is_ratio: bool = True,
    is_ceiling: bool = False,
) -> Comparison:
    """The row of the figures of all rounds, and of the limits of the same rounds, if there are."""
    return Comparison(
        name,
        statistics.median(figures),
        unit,
        statistics.median(limits) if limits else 0,
        limit_name,
        statistics.median(map(_ratio, figures, limits)) if limits else 0,
        aim,
        is_ratio,
        is_ceiling,
    )


def _ratio(figure: float, limit: float) -> float:
    return figure / limit


async def in_turns(figures: dict[str, Figure], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Measures one after the other, again and again."""
    taken: dict[str, list[float]] = {name: [] for name in figures}
    for _ in range(rounds):
        for name, figure in figures.items():
            taken[name].append(await figure())
    return taken


def rate(operation: Operation, in_flight: int, units: float = 1) -> Figure:
    """`units` a second, of an operation that counts for so many, for SECONDS."""

    async def figure() -> float:
        measured = await measure(operation, in_flight=in_flight, seconds=SECONDS)
        return measured.per_second * units

    return figure


def rate_of(count: int, operation: Operation, in_flight: int, units: float = 1) -> Figure:
    """`units` a second, of an operation that is done `count` times: for those that take long.

    They get the numbers below `count`.
    """

    async def figure() -> float:
        turns = asyncio.Semaphore(in_flight)

        async def in_turn(number: int) -> None:
            async with turns:
                await operation(number)

        return (await measure_burst(in_turn, count=count)).per_second * units

    return figure


def table(rows: Sequence[Comparison], title: str) -> Iterator[str]:
    """The lines of the table."""
    header = f"{title:68}{'':>20}{'ratio':>8}{'aim':>12}"
    yield f"{header}        limit of this run"
    for row in rows:
        ratio = f"{row.ratio:.2f}" if row.limit else ""
        limit = f"{row.limit:,.{_places(row.limit)}f} {row.unit}, {row.limit_name}"
        yield (
            f"{row.name:68}{row.figure:>11,.{_places(row.figure)}f} {row.unit:8}{ratio:>8}"
            f"{_aim(row):>12} {_VERDICTS[row.is_met]:6} {limit if row.limit else ''}"
        ).rstrip()


_VERDICTS = {None: "", True: "met", False: "missed"}


def _aim(row: Comparison) -> str:
    if not row.aim:
        return ""
    return f"{'<=' if row.is_ceiling else '>='} {row.aim:,.{_places(row.aim)}f}"


def _places(number: float) -> int:
    return 0 if number >= 100 or number == int(number) else 2
