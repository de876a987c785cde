"""Calls by method and code, and their durations; for one event loop, so without locks."""

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

from google.rpc import code_pb2
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

_BOUNDS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5, 30, 300)
_BOUND_NAMES = (*map(str, map(float, _BOUNDS_SECONDS)), "+Inf")


class EndedCalls:
    """Those of one method."""

    __slots__ = ("by_bound", "by_code", "seconds")

    def __init__(self) -> None:
        self.by_code: dict[int, int] = {}
        self.by_bound = [0] * len(_BOUND_NAMES)
        self.seconds = 0.0

    def count(self, code: int, seconds: float) -> None:
        """Adds a call that ended with a google.rpc code."""
        self.by_code[code] = self.by_code.get(code, 0) + 1
        self.by_bound[bisect_left(_BOUNDS_SECONDS, seconds)] += 1
        self.seconds += seconds


class RpcMetrics(Collector):
    """The calls of all methods, as the metrics `name`_handled and `name`_duration_seconds.

    Register a name once per registry.
    """

    def __init__(self, registry: CollectorRegistry, *, name: str = "reapi_rpc") -> None:
        self._name = name
        self._methods: dict[str, EndedCalls] = {}
        registry.register(self)

    def of(self, path: str) -> EndedCalls:
        """Where to count the calls of a method."""
        return self._methods.setdefault(path, EndedCalls())

    def describe(self) -> Iterable[Metric]:
        """The metrics without their values."""
        return self._families()

    def collect(self) -> Iterable[Metric]:
        """The metrics with their values now."""
        handled, durations = self._families()
        for path, ended in self._methods.items():
            for code, count in ended.by_code.items():
                handled.add_metric((path, code_pb2.Code.Name(code)), count)
            buckets = list(zip(_BOUND_NAMES, accumulate(ended.by_bound), strict=True))
            durations.add_metric((path,), buckets, ended.seconds)
        return handled, durations

    def _families(self) -> tuple[CounterMetricFamily, HistogramMetricFamily]:
        return (
            CounterMetricFamily(
                f"{self._name}_handled",
                "Calls that ended, by method and code.",
                labels=("method", "code"),
            ),
            HistogramMetricFamily(
                f"{self._name}_duration_seconds",
                "From the first byte of the request to the last of the reply.",
                labels=("method",),
            ),
        )
