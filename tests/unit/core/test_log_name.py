"""Names of log streams: BS24 and GO4 of the conformance list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reapi.core.errors import InvalidArgument
from reapi.core.log_name import LogName, parse_log_name
from reapi.protos.reapi.worker.v1.worker_pb2 import LogStream

UUID = "9b0c7f6e-8f55-4a3e-9d4f-0f3b6d1c2a77"
STREAMS = (LogStream.LOG_STREAM_STDOUT, LogStream.LOG_STREAM_STDERR)


@pytest.mark.parametrize("instance_name", ["", "main", "a/b c/d"])
@pytest.mark.parametrize("operation_name", [f"operations/{UUID}", f"operations/shard-1/{UUID}"])
@pytest.mark.parametrize("stream", STREAMS)
def test_BS24_a_name_is_parsed_as_it_was_made(
    instance_name: str, operation_name: str, stream: LogStream
) -> None:
    name = LogName(instance_name, operation_name, stream)
    assert parse_log_name(str(name)) == name


def test_BS24_the_id_is_the_one_segment_after_the_keyword() -> None:
    name = LogName("main", f"operations/east/{UUID}", LogStream.LOG_STREAM_STDERR)
    assert str(name) == f"main/logstreams/east.{UUID}.stderr"


@pytest.mark.parametrize("instance_name", ["", "main", "a/b"])
def test_GO4_the_name_may_stand_behind_the_prefix_once_more(instance_name: str) -> None:
    """As the SDK for Go asks, which takes it for an id."""
    name = LogName(instance_name, f"operations/{UUID}", LogStream.LOG_STREAM_STDOUT)
    prefix = f"{instance_name}/logstreams/" if instance_name else "logstreams/"
    assert parse_log_name(f"{prefix}{name}") == name


@pytest.mark.parametrize(
    "name",
    [
        f"logstreams/{UUID}.stdout/token",
        f"main/logstreams/{UUID}.stdout/token",
        f"uploads/{UUID}/logstreams/{UUID}.stdout/1",
        "logstreams",
        "logstreams/",
        "logstreams/logstreams",
        f"logstreams/{UUID}",
        f"logstreams/{UUID}.stdin",
        f"logstreams/{UUID}.stdout.stdout",
        f"logstreams/operations.{UUID}.stdout.",
        f"logstreams/.{UUID}.stdout",
        f"logstreams/a.b.{UUID}.stdout",
        f"logstreams/{UUID.upper()}.stdout",
        f"/logstreams/{UUID}.stdout",
        f"a//logstreams/{UUID}.stdout",
        f"one/logstreams/other/logstreams/{UUID}.stdout",
        f"logstreams/logstreams/logstreams/{UUID}.stdout",
        f"logstreams/blobs/{UUID}.stdout",
    ],
)
def test_BS24_other_names_with_the_keyword_are_invalid(name: str) -> None:
    with pytest.raises(InvalidArgument, match="logstreams"):
        parse_log_name(name)


@pytest.mark.parametrize("name", ["", "blobs/x/1", "main/logstreamsx/1", "x" * 5000])
def test_other_names_are_not_of_logs(name: str) -> None:
    assert parse_log_name(name) is None


@given(st.text(alphabet="a/logstreams.-0123456789"))
def test_any_text_is_a_name_or_not_or_invalid(text: str) -> None:
    for name in (text, f"logstreams/{text}", f"{text}/logstreams/{UUID}.stdout"):
        try:
            parsed = parse_log_name(name)
        except InvalidArgument:
            continue
        if parsed is not None:
            assert str(parsed) in name
