"""Handlers are called for callers whom the rule of their method lets in, and for nobody else."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from reapi.core.access import Rule, guard
from reapi.core.errors import PermissionDenied, Unauthenticated
from reapi.core.identity import EVERYBODY, ROLES, Identity, Permission
from reapi.core.interfaces import Call
from reapi.core.rpc import Method
from tests.fakes.call import FakeCall

READER = Identity("laptops", ("reader",))
HERE = Identity("laptops", ("reader",), frozenset({"main"}))
READING = {"/s/M": Rule((Permission.READ,), lambda request: request)}


class _Knows:
    """An authenticator that knows one caller, or none."""

    def __init__(self, identity: Identity | None) -> None:
        self._identity = identity

    def identify(self, call: Call) -> Identity:
        if self._identity is None:
            raise Unauthenticated("who are you?")
        return self._identity


class _Service:
    """Notes what arrives."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.callers: list[Identity] = []

    async def answer(self, request: Any, call: Call) -> bytes:
        self.callers.append(call.identity)
        if isinstance(request, str):
            self.heard.append(request)
        else:
            self.heard += [each async for each in request]
        return b"reply"

    async def stream(self, request: Any, call: Call) -> AsyncGenerator[bytes, None]:
        self.callers.append(call.identity)
        yield b"one"
        yield b"two"

    def method(self, *, streams_requests: bool = False, streams_replies: bool = False) -> Method:
        handler: Any = self.stream if streams_replies else self.answer
        return Method("/s/M", streams_requests, streams_replies, None, handler)


async def _requests(*each: str) -> AsyncIterator[str]:
    for one in each:
        yield one


def _guarded(
    service: _Service, identity: Identity | None, rules: Any = READING, **kind: bool
) -> Any:
    (method,) = guard([service.method(**kind)], _Knows(identity), rules)
    return method.handler


async def test_a_handler_is_told_who_calls() -> None:
    service = _Service()
    assert await _guarded(service, READER)("main", FakeCall()) == b"reply"
    assert service.callers == [READER]


async def test_the_call_is_otherwise_the_same() -> None:
    seen: list[Call] = []

    async def answer(request: str, call: Call) -> bytes:
        seen.append(call)
        return b""

    method = Method("/s/M", False, False, None, answer)
    (guarded,) = guard([method], _Knows(READER), READING)
    call = FakeCall("ipv4:10.0.0.1:1", {"key": "value"}, 5.0)
    await guarded.handler("main", call)  # type: ignore[misc]
    assert (seen[0].peer, seen[0].metadata, seen[0].seconds_left) == (
        (call.peer, call.metadata, call.seconds_left)
    )


@pytest.mark.parametrize("streams_replies", [False, True])
@pytest.mark.parametrize("identity", [None, Identity("pods", ("executor",), frozenset())])
async def test_whoever_may_not_call_reaches_no_handler(
    identity: Identity | None, streams_replies: bool
) -> None:
    service = _Service()
    rules = {"/s/M": Rule((Permission.OPERATE,))}
    handler = _guarded(service, identity, rules, streams_replies=streams_replies)
    arguments = ("main", FakeCall())
    waiting = anext(handler(*arguments)) if streams_replies else handler(*arguments)
    with pytest.raises((Unauthenticated, PermissionDenied)):
        await waiting
    assert not service.callers


async def test_replies_are_streamed_to_who_may() -> None:
    handler = _guarded(_Service(), READER, streams_replies=True)
    assert [reply async for reply in handler("main", FakeCall())] == [b"one", b"two"]


async def test_one_of_several_permissions_is_enough() -> None:
    rules = {"/s/M": Rule((Permission.EXECUTE, Permission.OPERATE))}
    for role, is_in in (("operator", True), ("runner", True), ("reader", False)):
        identity = Identity("x", (role,))  # type: ignore[arg-type]
        handler = _guarded(_Service(), identity, rules)
        if is_in:
            await handler("main", FakeCall())
        else:
            with pytest.raises(PermissionDenied, match="role runner or writer or operator"):
                await handler("main", FakeCall())


async def test_a_token_of_one_instance_is_refused_in_another() -> None:
    handler = _guarded(_Service(), HERE)
    await handler("main", FakeCall())
    with pytest.raises(PermissionDenied, match=r"may not use instance 'other'.*for 'main'"):
        await handler("other", FakeCall())


async def test_a_token_of_one_instance_is_refused_what_is_about_all() -> None:
    rules = {"/s/M": Rule((Permission.READ,), lambda request: None)}
    with pytest.raises(PermissionDenied, match="all instances"):
        await _guarded(_Service(), HERE, rules)("main", FakeCall())
    await _guarded(_Service(), READER, rules)("main", FakeCall())


async def test_the_first_of_streamed_requests_tells_the_instance_and_none_is_lost() -> None:
    service = _Service()
    handler = _guarded(service, HERE, streams_requests=True)
    await handler(_requests("main", "more", "and more"), FakeCall())
    assert service.heard == ["main", "more", "and more"]
    with pytest.raises(PermissionDenied):
        await handler(_requests("other", "main"), FakeCall())


async def test_a_stream_without_a_request_is_left_to_the_handler() -> None:
    service = _Service()
    await _guarded(service, HERE, streams_requests=True)(_requests(), FakeCall())
    assert service.callers == [HERE]


def test_a_method_without_a_rule_cannot_be_served() -> None:
    with pytest.raises(KeyError):
        guard([_Service().method()], _Knows(READER), {})


def test_everybody_may_do_everything_where_nobody_is_asked() -> None:
    assert all(EVERYBODY.may(permission) for permission in Permission)
    EVERYBODY.check_instance(None)


def test_only_a_writer_stores_results_on_its_own_word() -> None:
    able = [role for role, permissions in ROLES.items() if Permission.WRITE_RESULTS in permissions]
    assert able == ["writer"]
    with pytest.raises(PermissionDenied, match="read_only = true"):
        READER.check((Permission.WRITE_RESULTS,))
