"""The parts of the table of storage, scheduler and executor, each with its own servers if any."""

import shutil
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from .bucket import measure_bucket, measure_cached_bucket, measure_open_streams
from .comparison import Comparison
from .embedded import measure_embedded
from .eviction import measure_eviction
from .executor_actions import measure_long_actions, measure_small_actions
from .executor_inputs import measure_inputs
from .executor_outputs import measure_outputs
from .frontends import measure_frontends
from .postgresql import measure_postgresql
from .scale import measure_scale
from .scheduler_calls import measure_shell_calls
from .scheduler_core import measure_scheduler_core
from .scheduler_placement import measure_placement
from .scheduler_shell import measure_shell
from .servers import ALL_CORES, pin
from .transport import measure_transport
from .waiters import measure_waiters


@dataclass(frozen=True)
class _Part:
    """`cores` are those of the load, and of what starts no server."""

    name: str
    measure: Callable[[Path], Coroutine[Any, Any, list[Comparison]]]
    cores: Sequence[int] = ALL_CORES


def measure_parts(folder: Path, only: str, scale: int) -> list[Comparison]:
    """The rows of all parts whose name has `only`; `scale` is how many rows the large index has."""
    parts = (
        _Part("storage: embedded", measure_embedded, ALL_CORES[-1:]),
        _Part("storage: bucket", measure_bucket),
        _Part("storage: bucket, cache", measure_cached_bucket),
        _Part("storage: bucket, open streams", measure_open_streams),
        _Part("storage: PostgreSQL", measure_postgresql),
        _Part("storage: two frontends", measure_frontends),
        _Part("storage: scale", partial(measure_scale, rows=scale)),
        _Part("storage: eviction", measure_eviction),
        _Part("scheduler: placement", measure_placement, ALL_CORES[-1:]),
        _Part("scheduler: core alone", measure_scheduler_core, ALL_CORES[-1:]),
        _Part("scheduler: shell", measure_shell, ALL_CORES[-1:]),
        _Part("scheduler: shell, calls", measure_shell_calls),
        _Part("scheduler: waiters", measure_waiters),
        _Part("executor: inputs", measure_inputs, ALL_CORES[-1:]),
        _Part("executor: outputs", measure_outputs, ALL_CORES[-1:]),
        _Part("executor: small actions", measure_small_actions, ALL_CORES[-1:]),
        _Part("executor: long actions", measure_long_actions),
        _Part("transport: calls", measure_transport),
    )
    rows: list[Comparison] = []
    for number, part in enumerate(parts):
        if only.lower() not in part.name.lower():
            continue
        print(part.name, flush=True)
        pin(part.cores)
        part_folder = folder / f"part-{number}"
        part_folder.mkdir()
        rows += uvloop.run(part.measure(part_folder))
        shutil.rmtree(part_folder)
    return rows
