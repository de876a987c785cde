"""The metrics of all processes of a server in one exposition, each with the label `process`."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Metric, ProcessCollector, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from .child_process import ChildProcess

_ANSWER_SECONDS = 1.0

Snapshot = list[list[Any]]
"""Of one registry, as JSON can hold it: [name, documentation, type, [[sample, labels, value], …]]
for each family."""


def make_registry() -> CollectorRegistry:
    """A registry with CPU, memory and open files of this process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def snapshot(registry: CollectorRegistry) -> Snapshot:
    """All values of this process now."""
    return [
        [
            family.name,
            family.documentation,
            family.type,
            [[sample.name, sample.labels, sample.value] for sample in family.samples],
        ]
        for family in registry.collect()
    ]


class ServerMetrics:
    """The first process's registry and its children's, which are asked at each exposition.

    A child that does not answer within a second is left out, and counted.
    """

    def __init__(self, registry: CollectorRegistry, children: Sequence[ChildProcess] = ()) -> None:
        self._registry = registry
        self._children = children
        self._unanswered = Counter(
            "reapi_metrics_unanswered",
            "Expositions that leave out a process, since it did not answer in time.",
            ("frontend",),
            registry=registry,
        )

    async def exposition(self) -> bytes:
        """In the text format of Prometheus."""
        answers = await asyncio.gather(
            *(child.ask("metrics", _ANSWER_SECONDS) for child in self._children)
        )
        snapshots: dict[int, Snapshot] = {}
        for member, answer in enumerate(answers, start=1):
            if answer is None:
                self._unanswered.labels(str(member)).inc()
            else:
                snapshots[member] = answer
        return generate_latest(_Merged({0: snapshot(self._registry)} | snapshots))


class _Merged(Collector):
    def __init__(self, snapshots: Mapping[int, Snapshot]) -> None:
        self._snapshots = snapshots

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for member, families_of_one in self._snapshots.items():
            for name, documentation, kind, samples in families_of_one:
                family = families.setdefault(name, Metric(name, documentation, kind))
                family.samples += [
                    Sample(sample, labels | {"process": str(member)}, value)
                    for sample, labels, value in samples
                ]
        return families.values()
