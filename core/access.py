"""A wrapper around handlers that lets in who may: wrappers for other concerns are middleware.py.

It knows methods, not gRPC. Rules are data: a method without one cannot be served.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from .identity import Identity, Permission
from .interfaces import Call
from .rpc import Method, Reply, StreamHandler, UnaryHandler


class Authenticator(Protocol):
    """Tells who calls. Never waits: every call is asked."""

    def identify(self, call: Call) -> Identity:
        """Raises Unauthenticated, with what to do, for a caller who is not known."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call a method: who has one of `permissions`, the usual one first.

    `instance_name` is that of a request, or of the first one of a stream; None when the request is
    about all of them. A method without it is about something whose name cannot be guessed: who
    knows the name was told it by someone who may.
    """

    permissions: tuple[Permission, ...]
    instance_name: Callable[[Any], str | None] | None = None


def guard(
    methods: Sequence[Method], authenticator: Authenticator, rules: Mapping[str, Rule]
) -> list[Method]:
    """Every method, for callers whom its rule lets in; raises KeyError for one without a rule.

    Handlers are given calls whose identity is the caller's.
    """
    return [_guarded(one, _Gate(one, authenticator, rules[one.path])) for one in methods]


class _IdentifiedCall:
    """A call whose caller is known."""

    __slots__ = ("_call", "identity")

    def __init__(self, call: Call, identity: Identity) -> None:
        self._call = call
        self.identity = identity

    @property
    def peer(self) -> str:
        return self._call.peer

    @property
    def metadata(self) -> Mapping[str, str | bytes]:
        return self._call.metadata

    @property
    def seconds_left(self) -> float | None:
        return self._call.seconds_left


class _Gate:
    """One method's rule, applied."""

    def __init__(self, method: Method, authenticator: Authenticator, rule: Rule) -> None:
        self._streams_requests = method.streams_requests
        self._authenticator = authenticator
        self._rule = rule

    async def admit(self, request: Any, call: Call) -> tuple[Any, _IdentifiedCall]:
        """What to hand on; raises Unauthenticated or PermissionDenied."""
        identity = self._authenticator.identify(call)
        identity.check(self._rule.permissions)
        name_of = self._rule.instance_name
        if name_of is not None and identity.instance_names is not None:
            if self._streams_requests:
                requests = aiter(request)
                first = await anext(requests, None)
                if first is not None:
                    identity.check_instance(name_of(first))
                    request = _chained(first, requests)
            else:
                identity.check_instance(name_of(request))
        return request, _IdentifiedCall(call, identity)


async def _chained(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    yield first
    async for each in rest:
        yield each


def _guarded(method: Method, gate: _Gate) -> Method:
    if method.streams_replies:
        answer = cast(StreamHandler, method.handler)

        async def stream(request: Any, call: Call) -> AsyncGenerator[Reply, None]:
            async with aclosing(answer(*await gate.admit(request, call))) as replies:
                async for reply in replies:
                    yield reply

        return replace(method, handler=stream)
    handler = cast(UnaryHandler, method.handler)

    async def unary(request: Any, call: Call) -> Reply:
        return await handler(*await gate.admit(request, call))

    return replace(method, handler=unary)
