"""Queues and workers for Prometheus, and so for what adds and removes workers by itself."""

from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from .cluster_health import ClusterView, properties


class ClusterMetrics(Collector):
    """Asks for the `view` at every exposition; there are no values while there is none.

    Actions that ask for the same are one `platform`, written as NAME=VALUE with commas between: a
    pool without workers is started by the number of actions that wait for it.
    """

    def __init__(self, view: Callable[[], ClusterView | None]) -> None:
        self._view = view

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing in advance: registering must not ask a scheduler that has not begun."""
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        view = self._view()
        if view is None:
            return
        platform = ("platform",)
        queued = GaugeMetricFamily(
            "reapi_scheduler_queued_actions", "Actions that wait for a worker.", labels=platform
        )
        executing = GaugeMetricFamily(
            "reapi_scheduler_executing_actions", "Actions that workers have.", labels=platform
        )
        oldest = GaugeMetricFamily(
            "reapi_scheduler_oldest_wait_seconds",
            "How long the action has waited that came first.",
            labels=platform,
        )
        for queue in view.cluster.queues:
            labels = [",".join(properties(queue.platform))]
            queued.add_metric(labels, queue.queued)
            executing.add_metric(labels, queue.executing)
            oldest.add_metric(labels, queue.oldest_wait.ToMicroseconds() / 1e6)
        yield from (queued, executing, oldest)
        up = [worker for worker in view.workers if worker.connected]
        known = GaugeMetricFamily(
            "reapi_scheduler_workers", "Workers, connected or away for a moment.", labels=("up",)
        )
        known.add_metric(["true"], len(up))
        known.add_metric(["false"], len(view.workers) - len(up))
        yield known
        yield GaugeMetricFamily(
            "reapi_scheduler_slots", "Of connected workers.", sum(worker.slots for worker in up)
        )
        yield GaugeMetricFamily(
            "reapi_scheduler_busy_slots", "Those in use.", sum(worker.busy for worker in up)
        )
