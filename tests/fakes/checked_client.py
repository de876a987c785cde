"""A client for whatever input, after which the server must be as it was (reliability B1 to B13)."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

from prometheus_client import CollectorRegistry

from reapi.cas.services import services
from reapi.cas.storage import Storage
from reapi.core.interfaces import Call
from reapi.core.middleware import wrap
from reapi.core.rpc import Method
from reapi.core.rpc_metrics import RpcMetrics
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.instances import INSTANCES
from tests.fakes.raw_client import RawClient, raw_client
from tests.transport import rpc_server

OUR_FAULT = ("INTERNAL", "UNKNOWN")

NOT_OURS = ("missing from now on", "PollerCompletionQueue._handle_events")
"""What the log may say: of damage of the disk, and of the loop of an earlier test.

gRPC has one queue of events for all loops of a process, and asyncio logs it when an event of a loop
that is closed is handed on by the next one.
"""


@asynccontextmanager
async def checked_client(storage: Storage) -> AsyncIterator[RawClient]:
    """A client with a server of its own.

    At the end the connection that it began with still serves, no call has ended as a fault of the
    server, and the log says nothing but NOT_OURS: no trace, and no byte of what was sent.
    """
    registry = CollectorRegistry()
    peers: set[str] = set()
    methods = services(storage, INSTANCES, has_execution=True)
    table = [_noting_peers(method, peers) for method in wrap(methods, RpcMetrics(registry))]
    with _log_lines() as lines:
        async with (
            rpc_server(table) as server,
            raw_client(f"127.0.0.1:{server.port}") as client,
        ):
            yield client
            await client.capabilities.GetCapabilities(re_pb2.GetCapabilitiesRequest())
    assert len(peers) == 1, "the connection did not survive"
    ended = {
        sample.labels["code"]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "reapi_rpc_handled_total"
    }
    assert not ended.keys() & set(OUR_FAULT), ended
    assert [line for line in lines if not any(text in line for text in NOT_OURS)] == []


def _noting_peers(method: Method, peers: set[str]) -> Method:
    def noting(request: Any, call: Call) -> Any:
        peers.add(call.peer)
        return method.handler(request, call)

    return replace(method, handler=noting)


@contextmanager
def _log_lines() -> Iterator[list[str]]:
    """What is logged at the level of a server, traces included."""
    lines: list[str] = []
    formatter = logging.Formatter()

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(formatter.format(record))

    collector = Collector(logging.INFO)
    root = logging.getLogger()
    level = root.level
    root.addHandler(collector)
    root.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(collector)
