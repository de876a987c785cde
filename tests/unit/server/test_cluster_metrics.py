"""What waits, by what it asks for, is a metric: pools are started by it."""

from prometheus_client import CollectorRegistry

from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import GetClusterResponse
from reapi.protos.reapi.worker.v1.worker_pb2 import Worker
from reapi.server.cluster_health import ClusterView
from reapi.server.cluster_metrics import ClusterMetrics


def test_queues_and_workers_are_gauges() -> None:
    cluster = GetClusterResponse()
    queue = cluster.queues.add(queued=3, executing=1)
    queue.oldest_wait.FromMilliseconds(2500)
    queue.platform.properties.add(name="ISA", value="arm")
    queue.platform.properties.add(name="resource.gpu", value="1")
    cluster.queues.add(queued=1)
    workers = [Worker(slots=4, busy=3, connected=True), Worker(slots=8)]
    registry = CollectorRegistry()
    registry.register(ClusterMetrics(lambda: ClusterView(workers, cluster)))
    arm = {"platform": "ISA=arm,resource.gpu=1"}
    for name, labels, value in (
        ("queued_actions", arm, 3),
        ("queued_actions", {"platform": ""}, 1),
        ("executing_actions", arm, 1),
        ("oldest_wait_seconds", arm, 2.5),
        ("workers", {"up": "true"}, 1),
        ("workers", {"up": "false"}, 1),
        ("slots", {}, 4),
        ("busy_slots", {}, 3),
    ):
        assert registry.get_sample_value(f"reapi_scheduler_{name}", labels) == value, name


def test_registering_asks_nothing() -> None:
    def fail() -> ClusterView:
        raise AssertionError("asked too early")

    CollectorRegistry().register(ClusterMetrics(fail))
