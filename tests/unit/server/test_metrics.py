"""One exposition of several processes."""

import json
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.parser import text_string_to_metric_families

from reapi.server.child_process import ChildProcess
from reapi.server.config import ServerConfig
from reapi.server.metrics import ServerMetrics, make_registry, snapshot


class Child(ChildProcess):
    """One that answers what the test says, or nothing."""

    def __init__(self, answer: Any) -> None:
        super().__init__("a child", "none", ServerConfig(), grace_seconds=1)
        self.answer = answer

    async def ask(self, word: str, timeout_seconds: float) -> Any:
        assert word == "metrics"
        return self.answer


def _registry(calls: int, seconds: float) -> CollectorRegistry:
    registry = CollectorRegistry()
    handled = Counter("calls", "Calls that ended.", ("code",), registry=registry)
    handled.labels("OK").inc(calls)
    Histogram("duration_seconds", "How long.", registry=registry, buckets=(1,)).observe(seconds)
    return registry


async def _samples(served: ServerMetrics) -> dict[tuple[str, str, str], float]:
    """By sample name, process and the value of the one other label that there may be."""
    text = (await served.exposition()).decode()
    return {
        (
            sample.name,
            sample.labels.pop("process"),
            "".join(sample.labels.values()),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_each_process_has_its_own_values() -> None:
    children = [Child(snapshot(_registry(5, 0.5)))]
    samples = await _samples(ServerMetrics(_registry(2, 7), children))
    assert samples["calls_total", "0", "OK"] == 2
    assert samples["calls_total", "1", "OK"] == 5
    assert samples["duration_seconds_bucket", "0", "1.0"] == 0
    assert samples["duration_seconds_bucket", "1", "1.0"] == 1
    assert samples["duration_seconds_sum", "0", ""] == 7


async def test_a_family_is_described_once() -> None:
    children = [Child(snapshot(_registry(5, 0.5)))]
    text = await ServerMetrics(_registry(2, 7), children).exposition()
    assert text.count(b"# TYPE calls_total counter") == 1


async def test_a_process_that_does_not_answer_is_left_out_and_counted() -> None:
    children = [Child(None), Child(snapshot(_registry(5, 0.5)))]
    samples = await _samples(ServerMetrics(_registry(2, 7), children))
    assert {process for name, process, _ in samples if name == "calls_total"} == {"0", "2"}
    assert samples["reapi_metrics_unanswered_total", "0", "1"] == 1
    assert ("reapi_metrics_unanswered_total", "0", "2") not in samples


async def test_cpu_memory_and_open_files_of_the_process_are_there() -> None:
    samples = await _samples(ServerMetrics(make_registry()))
    for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds"):
        assert samples[f"process_{name}", "0", ""] > 0


def test_a_snapshot_survives_json() -> None:
    registry = _registry(3, 1)
    assert json.loads(json.dumps(snapshot(registry))) == snapshot(registry)
