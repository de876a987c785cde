"""Messages between stub and daemon, whoever wrote them."""

import os
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reapi.clients.compile.messages import (
    IS_CONTROL,
    MAGIC,
    STDERR_IS_TERMINAL,
    MessageError,
    RequestReader,
    decode_reply_head,
    encode_finished,
    encode_request,
)
from reapi.clients.compile.model import Invocation

_word = st.binary(max_size=20).map(
    lambda word: word.replace(b"\0", b"").decode("utf-8", "surrogateescape")
)
_name = st.binary(max_size=20).map(
    lambda name: b"N%s" % name.replace(b"\0", b"").replace(b"=", b"")
)


@given(
    st.lists(_word, min_size=1, max_size=5),
    _word,
    st.dictionaries(_name.map(os.fsdecode), _word, max_size=5),
    st.integers(1, 50),
)
def test_a_request_arrives_as_it_was_however_it_is_cut(
    arguments: list[str], directory: str, environment: dict[str, str], part: int
) -> None:
    sent = Invocation(tuple(arguments), f"/{directory}", environment, 0o27)
    message = encode_request(sent, session=7)
    reader = RequestReader()
    parts = [message[at : at + part] for at in range(0, len(message), part)]
    *early, last = [reader.feed(each) for each in parts]
    assert early == [None] * len(early)
    assert last is not None
    assert (last.invocation, last.session, last.is_control) == (sent, 7, False)


@given(st.binary(max_size=200), st.booleans())
def test_any_other_bytes_are_refused_or_waited_for(noise: bytes, has_head: bool) -> None:
    if has_head:
        noise = struct.pack("!II", MAGIC, max(len(noise) - 16, 0)) + noise
    with suppress(MessageError):
        RequestReader().feed(noise)


@pytest.mark.parametrize(
    "message",
    [
        struct.pack("!IIIIII", MAGIC + 1, 0, 0, 0, 0, 0),
        struct.pack("!IIIIII", MAGIC, 1 << 30, 0, 0, 0, 0),
        struct.pack("!IIIIII", MAGIC, 5, 0, 0, 0, 2) + b"/\0gc\0",
        struct.pack("!IIIIII", MAGIC, 5, 0, 0, 0, 0) + b"/\0gc\0",
        struct.pack("!IIIIII", MAGIC, 5, 0, 0, 0, 1) + b"/\0gcc",
        struct.pack("!IIIIII", MAGIC, 5, 0, 0, 0, 1) + b"a\0gc\0",
        encode_request(Invocation(("a",), "/", {})) + b"x",
    ],
)
def test_a_message_that_is_not_what_its_head_says_is_refused(message: bytes) -> None:
    with pytest.raises(MessageError):
        RequestReader().feed(message)


def test_of_two_variables_of_one_name_the_first_counts() -> None:
    body = b"/\0cc\0A=1\0A=2\0odd\0"
    head = struct.pack("!IIIIII", MAGIC, len(body), 0, 0, 0, 1)
    request = RequestReader().feed(head + body)
    assert request is not None
    assert request.invocation.environment == {"A": "1", "odd": ""}


@pytest.mark.parametrize(
    ("flags", "term", "shows"),
    [(STDERR_IS_TERMINAL, "xterm", True), (STDERR_IS_TERMINAL, "dumb", False), (0, "xterm", False)],
)
def test_colour_is_wanted_by_a_terminal_that_shows_it(flags: int, term: str, shows: bool) -> None:
    message = encode_request(Invocation(("cc",), "/", {"TERM": term}), flags=flags | IS_CONTROL)
    request = RequestReader().feed(message)
    assert request is not None
    assert request.invocation.wants_colour is shows
    assert request.is_control


def test_a_reply_says_its_sizes_and_a_wrong_one_is_refused() -> None:
    head = decode_reply_head(encode_finished(300, b"ab", b"c")[:20])
    assert (head.exit_code, head.stdout_size, head.stderr_size) == (300 & 0xFF, 2, 1)
    with pytest.raises(MessageError):
        decode_reply_head(b"\0" * 20)
