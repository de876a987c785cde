"""Wrappers around handlers, one concern each: error mapping and metrics.

They know methods and errors, not gRPC; `wrap` puts them around every row of a table.
"""

import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

from google.rpc import code_pb2

from .errors import Internal, ReapiError
from .interfaces import Call
from .rpc import Method, Reply, StreamHandler, UnaryHandler
from .rpc_metrics import RpcMetrics

logger = logging.getLogger(__name__)


def wrap(methods: Sequence[Method], metrics: RpcMetrics) -> list[Method]:
    """Every method with its errors mapped and its calls counted."""
    return [
        replace(
            method,
            handler=(
                _wrap_stream(method, cast(StreamHandler, method.handler), metrics)
                if method.streams_replies
                else _wrap_unary(method, cast(UnaryHandler, method.handler), metrics)
            ),
        )
        for method in methods
    ]


def _wrap_unary(method: Method, handler: UnaryHandler, metrics: RpcMetrics) -> UnaryHandler:
    ended = metrics.of(method.path)

    async def unary(request: Any, call: Call) -> Reply:
        started = time.perf_counter()
        code = code_pb2.CANCELLED
        try:
            reply = await handler(request, call)
            code = code_pb2.OK
            return reply
        except Exception as error:
            known = _reapi_error(error, method.path)
            code = known.code
            raise known from error.__cause__ if known is error else error
        finally:
            ended.count(code, time.perf_counter() - started)

    return unary


def _wrap_stream(method: Method, handler: StreamHandler, metrics: RpcMetrics) -> StreamHandler:
    ended = metrics.of(method.path)

    async def stream(request: Any, call: Call) -> AsyncGenerator[Reply, None]:
        started = time.perf_counter()
        code = code_pb2.CANCELLED
        try:
            async with aclosing(handler(request, call)) as replies:
                async for reply in replies:
                    yield reply
            code = code_pb2.OK
        except Exception as error:
            known = _reapi_error(error, method.path)
            code = known.code
            raise known from error.__cause__ if known is error else error
        finally:
            ended.count(code, time.perf_counter() - started)

    return stream


def _reapi_error(error: Exception, path: str) -> ReapiError:
    """The error itself if it is ours; any other is a bug: its trace goes to the log alone."""
    if isinstance(error, ReapiError):
        return error
    logger.error("unexpected error in %s", path, exc_info=error)
    return Internal("internal error; the server's log has the trace")
