"""A service that does what each request says: replies, metadata, errors, waiting.

A request is a google.protobuf.Struct, the plan. Its keys, all of which may be missing:
  text            comes back in the reply; so does what Collect was sent, one after the other
  size            the reply has a text of so many characters instead
  replies         the sizes of the replies of Expand; Converse gives one for each request
  tell            the names of facts to tell: metadata, deadline, peer, common_name, resident_kib
  initial, trailing   metadata of the answer, as pairs; values of -bin names are in hexadecimal
  code, message, details  the call ends with this status; details are trailing bytes in hexadecimal
  fail            the handler raises what nobody expects
  wait            the call stays open until it is cancelled, of which Cancelled tells by this name
  stop_after      Collect and Converse end after so many requests and read no more of them
Nothing here knows a transport: transports.py binds the table to each.
"""

import asyncio
import ctypes
import gc
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from google.protobuf.json_format import MessageToDict, ParseDict, SerializeToJsonError
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

SERVICE = "/tests.interop.v1.Interop/"
OBSERVED = "x-"
"""The service tells of metadata whose names begin so; the rest is the business of the clients."""

Plan = dict[str, Any]
Metadata = Sequence[tuple[str, str | bytes]]


class Call(Protocol):
    """What both transports tell of a call."""

    @property
    def peer(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, str | bytes]: ...
    @property
    def seconds_left(self) -> float | None: ...
    @property
    def peer_certificate(self) -> Mapping[str, Any] | None: ...
    def send_initial_metadata(self, metadata: Metadata) -> None: ...
    def set_trailing_metadata(self, metadata: Metadata) -> None: ...


class Failure(Exception):
    """Ends the call with this status."""

    def __init__(self, code: int, message: str, trailers: Metadata) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.trailers = trailers


@dataclass(frozen=True)
class Row:
    """A method; its handler takes and gives bytes."""

    path: str
    streams_requests: bool
    streams_replies: bool
    handler: Callable[..., Any]
    starts_at_once: bool = False


class Interop:
    """The service; one for each server, as it remembers which waiting calls were cancelled."""

    def __init__(self) -> None:
        self._cancelled: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def rows(self) -> list[Row]:
        """The method table."""
        return [
            Row(SERVICE + "Unary", False, False, self._unary),
            Row(SERVICE + "AtOnce", False, False, self._unary, starts_at_once=True),
            Row(SERVICE + "Collect", True, False, self._collect),
            Row(SERVICE + "Expand", False, True, self._expand),
            Row(SERVICE + "Converse", True, True, self._converse),
            Row(SERVICE + "Cancelled", False, False, self._tell_cancelled),
        ]

    async def _unary(self, request: bytes, call: Call) -> bytes:
        plan = plan_of(request)
        with self._begun(plan, call):
            await _end(plan)
            return _reply(plan, call, plan.get("text", ""))

    async def _collect(self, requests: AsyncIterator[bytes], call: Call) -> bytes:
        plan = await _next(requests)
        first = plan or {}
        texts: list[str] = []
        with self._begun(first, call):
            while plan is not None:
                texts.append(plan.get("text", ""))
                if len(texts) == first.get("stop_after"):
                    break
                plan = await _next(requests)
            await _end(first)
            return _reply(first, call, "".join(texts), count=len(texts))

    async def _expand(self, request: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        plan = plan_of(request)
        with self._begun(plan, call):
            for size in plan.get("replies", ()):
                yield _reply({**plan, "size": size}, call, "")
            await _end(plan)

    async def _converse(
        self, requests: AsyncIterator[bytes], call: Call
    ) -> AsyncGenerator[bytes, None]:
        plan = await _next(requests)
        first = plan or {}
        count = 0
        with self._begun(first, call):
            while plan is not None:
                await _end(plan)
                yield _reply(plan, call, plan.get("text", ""))
                count += 1
                if count == first.get("stop_after"):
                    break
                plan = await _next(requests)

    async def _tell_cancelled(self, request: bytes, call: Call) -> bytes:
        name = plan_of(request)["name"]
        await self._cancelled[name].wait()
        return message_of({"cancelled": name})

    @contextmanager
    def _begun(self, plan: Plan, call: Call) -> Iterator[None]:
        """Sets metadata; remembers that what is within was cancelled, waiting or not."""
        if "initial" in plan:
            call.send_initial_metadata(_metadata(plan["initial"]))
        if "trailing" in plan:
            call.set_trailing_metadata(_metadata(plan["trailing"]))
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            if "wait" in plan:
                self._cancelled[plan["wait"]].set()
            raise


async def _next(requests: AsyncIterator[bytes]) -> Plan | None:
    request = await anext(requests, None)
    return None if request is None else plan_of(request)


async def _end(plan: Plan) -> None:
    """What comes before the last reply, or in place of it."""
    if "wait" in plan:
        await asyncio.Event().wait()
    if plan.get("fail"):
        raise ValueError("a secret that no caller may read")
    if "code" in plan:
        details = bytes.fromhex(plan.get("details", ""))
        trailers = (("grpc-status-details-bin", details),) if details else ()
        raise Failure(int(plan["code"]), plan.get("message", ""), trailers)


def plan_of(message: bytes) -> Plan:
    """The object that a message is; INVALID_ARGUMENT for one that is none."""
    try:
        plan: Plan = MessageToDict(Struct.FromString(message))
    except (DecodeError, SerializeToJsonError) as error:
        raise Failure(3, "this is no plan", ()) from error
    return plan


def message_of(plan: Plan) -> bytes:
    """The message that says an object; equal ones are equal bytes."""
    return ParseDict(plan, Struct()).SerializeToString(deterministic=True)


def _metadata(pairs: Sequence[Sequence[str]]) -> Metadata:
    return [
        (name, bytes.fromhex(value) if name.endswith("-bin") else value) for name, value in pairs
    ]


def _reply(plan: Plan, call: Call, text: str, **more: Any) -> bytes:
    reply: Plan = dict(more)
    for fact in plan.get("tell", ()):
        reply[fact] = _FACTS[fact](call)
    text = "x" * int(plan["size"]) if "size" in plan else text
    if text:
        reply["text"] = text
    return message_of(reply)


def _observed(call: Call) -> Plan:
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in call.metadata.items()
        if name.startswith(OBSERVED)
    }


def _common_name(call: Call) -> str | None:
    certificate = call.peer_certificate
    if certificate is None:
        return None
    names = dict(pair for part in certificate["subject"] for pair in part)
    return str(names["commonName"])


def _resident_kib(_: Call) -> int:
    """The memory of this process once all that is free was given back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])


_FACTS: dict[str, Callable[[Call], Any]] = {
    "metadata": _observed,
    "deadline": lambda call: call.seconds_left,
    "peer": lambda call: call.peer,
    "common_name": _common_name,
    "resident_kib": _resident_kib,
}
