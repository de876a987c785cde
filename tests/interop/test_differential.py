"""The same random calls to both transports by one client (C-core): the answers are the same."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .process import InteropProcess
from .service import SERVICE, Plan, message_of
from .transports import GRPC_AIO, NATIVE, has_native
from .trials import MOST_AT_ONCE, Pair, Trial, channels

pytestmark = pytest.mark.skipif(not has_native(), reason="reapi_transport is not installed")

TESTED = ("Unary", "AtOnce", "Collect", "Expand", "Converse")
ABSENT = "Absent"
STREAMS_REQUESTS = ("Collect", "Converse")


names = st.from_regex(r"x-[a-z0-9_.\-]{1,12}", fullmatch=True).filter(
    lambda name: not name.endswith("-bin")
)
printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40).map(
    str.strip  # which HTTP/2 has no place for
)
hexadecimal = st.binary(max_size=60).map(bytes.hex)
pairs = st.lists(
    st.one_of(
        st.tuples(names, printable).map(list),
        st.tuples(names.map(lambda name: name + "-bin"), hexadecimal).map(list),
    ),
    max_size=4,
)
sizes = st.one_of(
    st.integers(0, 300),
    st.integers(0, 100_000),
    # Where frames, windows and length prefixes begin and end.
    st.sampled_from([16_383, 16_384, 65_530, 65_535, 65_536, 1 << 20]),
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    plan: Plan = {}
    maybe: dict[str, st.SearchStrategy[Any]] = {
        "text": st.text(max_size=200),
        "size": sizes,
        "replies": st.lists(sizes, max_size=5),
        "tell": st.just(["metadata"]),
        "initial": pairs,
        "trailing": pairs,
        "stop_after": st.integers(1, 3),
    }
    for key, values in maybe.items():
        if draw(st.integers(0, 2)) == 0:
            plan[key] = draw(values)
    if draw(st.integers(0, 3)) == 0:
        plan["code"] = draw(st.integers(1, 16))
        plan["message"] = draw(st.text(max_size=100))
        plan["details"] = draw(hexadecimal)
    return plan


@st.composite
def trials(draw: st.DrawFn) -> Trial:
    method = draw(st.sampled_from((*TESTED, ABSENT)))
    requests = st.one_of(plans().map(message_of), st.binary(max_size=20))
    sent = draw(pairs)
    return Trial(
        SERVICE + method,
        draw(st.lists(requests, max_size=5)) if method in STREAMS_REQUESTS else [draw(requests)],
        [(name, bytes.fromhex(text) if name.endswith("-bin") else text) for name, text in sent],
        draw(st.sampled_from([None, grpc.Compression.Gzip])),
        draw(st.sampled_from([None, None, 0, 1, 2])),
        in_own_words=method == ABSENT,
    )


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with (
        InteropProcess(GRPC_AIO) as one,
        InteropProcess(NATIVE) as other,
        channels(one.target, other.target) as both,
    ):
        yield both


@settings(max_examples=300)
@given(trial=trials())
def test_both_transports_answer_alike(pair: Pair, trial: Trial) -> None:
    on_grpc_aio, on_native = pair.outcomes([trial])
    assert on_native == on_grpc_aio


@settings(max_examples=20)
@given(several=st.lists(trials(), min_size=5, max_size=MOST_AT_ONCE))
def test_many_calls_at_once_are_answered_alike(pair: Pair, several: list[Trial]) -> None:
    on_grpc_aio, on_native = pair.outcomes(several)
    assert on_native == on_grpc_aio


def test_the_comparison_finds_a_difference(pair: Pair) -> None:
    trial = Trial(SERVICE + "Unary", [message_of({"tell": ["peer"]})])
    on_grpc_aio, on_native = pair.outcomes([trial])
    assert on_native != on_grpc_aio
