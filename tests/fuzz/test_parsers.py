"""Any input to the parsers of core gives a value or InvalidArgument, and nothing else."""

import contextlib

from hypothesis import example, given, settings
from hypothesis import strategies as st

from reapi.core.digest import (
    DIGEST_FUNCTIONS,
    EMPTY_HASHES,
    Digest,
    DigestFunction,
    digest_of,
    make_digest,
    parse_digest_text,
)
from reapi.core.directory import is_safe_name, parse_directory
from reapi.core.errors import InvalidArgument
from reapi.core.resource_name import (
    RESERVED_SEGMENTS,
    parse_read_name,
    parse_write_name,
    read_name,
    write_name,
)
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Compressor,
    Directory,
)

DIGEST = digest_of(b"x")

digests = st.builds(digest_of, st.binary(max_size=20), st.sampled_from(DIGEST_FUNCTIONS))
segments = st.text(min_size=1, max_size=8).filter(
    lambda text: "/" not in text and text not in RESERVED_SEGMENTS
)
instance_names = st.lists(segments, max_size=3).map("/".join)

odd_segments = st.one_of(
    st.sampled_from(
        [*sorted(RESERVED_SEGMENTS), "", "..", "%2e", "sha256", "blake3", "md5", "zstd"]
    ),
    st.sampled_from([DIGEST.hash, DIGEST.hash.upper(), "1", "01", "-1", "1" * 30, "\u0661"]),
    st.text(max_size=10),
)
odd_names = st.one_of(st.text(max_size=100), st.lists(odd_segments, max_size=8).map("/".join))


@given(
    instance_names,
    digests,
    st.text(min_size=1, max_size=40).filter(lambda t: "/" not in t),
    st.sampled_from([Compressor.IDENTITY, Compressor.ZSTD]),
)
def test_resource_names_round_trip(
    instance_name: str, digest: Digest, upload_id: str, compressor: int
) -> None:
    name = read_name(instance_name, digest, compressor)
    assert parse_read_name(name) == (instance_name, digest, compressor)
    name = write_name(instance_name, upload_id, digest, compressor)
    assert parse_write_name(name) == (instance_name, upload_id, digest, compressor)


@given(odd_names)
@example("x" * 10_000_000)
@settings(max_examples=500)
def test_reliability_B7_any_resource_name_is_parsed_or_invalid(name: str) -> None:
    for parse in (parse_read_name, parse_write_name):
        try:
            parsed = parse(name)
        except InvalidArgument:
            continue
        assert parsed.digest == make_digest(*parsed.digest)
        assert not set(parsed.instance_name.split("/")) & RESERVED_SEGMENTS
        assert parsed.instance_name == "" or "" not in parsed.instance_name.split("/")


@given(digests)
def test_digest_text_round_trips(digest: Digest) -> None:
    assert parse_digest_text(str(digest), digest.function) == digest


@given(
    st.one_of(st.text(max_size=70), st.sampled_from([DIGEST.hash, *EMPTY_HASHES.values()])),
    st.one_of(st.integers(-(2**64), 2**64), st.integers(-1, 2)),
    st.sampled_from(DIGEST_FUNCTIONS),
)
def test_any_digest_is_made_or_invalid(
    hash_text: str, size_bytes: int, function: DigestFunction
) -> None:
    try:
        digest = make_digest(hash_text, size_bytes, function)
    except InvalidArgument:
        return
    assert bytes.fromhex(digest.hash).hex() == hash_text
    assert 0 <= digest.size_bytes <= 2**53


@given(st.text(max_size=100))
def test_any_digest_text_is_parsed_or_invalid(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        parse_digest_text(text)


@given(st.binary(max_size=200))
@settings(max_examples=500)
def test_reliability_B12_any_bytes_are_a_safe_directory_or_invalid(data: bytes) -> None:
    assert_safe_or_invalid(data)


names = st.one_of(
    st.text(max_size=5), st.sampled_from(["..", ".", "", "a/b", "a\0", "a", "b", "é" * 128])
)
nodes = st.builds(lambda name: {"name": name, "digest": DIGEST.to_message()}, names)
links = st.builds(
    lambda name, target: {"name": name, "target": target},
    names,
    st.sampled_from(["", "x", "/x", "../x", "a\0", "t" * 4096]),
)


@given(st.lists(nodes, max_size=3), st.lists(nodes, max_size=3), st.lists(links, max_size=3))
@settings(max_examples=300)
def test_reliability_B12_any_directory_message_is_safe_or_invalid(
    files: list[object], directories: list[object], symlinks: list[object]
) -> None:
    message = Directory(files=files, directories=directories, symlinks=symlinks)
    assert_safe_or_invalid(message.SerializeToString())


def assert_safe_or_invalid(data: bytes) -> None:
    try:
        directory = parse_directory(data, digest_of(data))
    except InvalidArgument:
        return
    entries = [*directory.files, *directory.directories, *directory.symlinks]
    names = [entry.name for entry in entries]
    assert all(map(is_safe_name, names))
    assert len(set(names)) == len(names)
