"""Instances: which are served, and what a hash means in each."""

import pytest

from reapi.core.digest import BLAKE3, DIGEST_FUNCTIONS, SHA1, SHA256, digest_of
from reapi.core.errors import InvalidArgument
from reapi.core.instances import Instance, Instances
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2

INSTANCES = Instances({"": Instance(), "buck2": Instance(digest_function=BLAKE3)})
DATA = b"some bytes"


def test_G6_a_name_that_is_not_served_is_answered_by_those_that_are() -> None:
    INSTANCES.check("")
    for ask in (
        lambda: INSTANCES.check("other"),
        lambda: INSTANCES.functions("other"),
        lambda: INSTANCES.parse_function("other", SHA256.number),
        lambda: INSTANCES.parse_digests("other", [], 0),
    ):
        with pytest.raises(InvalidArgument, match=r"no instance 'other' here; .* '', 'buck2'"):
            ask()


def test_Q_BUCK5_each_instance_has_a_default_function() -> None:
    assert INSTANCES.functions("") == DIGEST_FUNCTIONS
    assert INSTANCES.functions("buck2")[0] is BLAKE3
    assert INSTANCES.parse_function("", 0, 64) is SHA256
    assert INSTANCES.parse_function("buck2", 0, 64) is BLAKE3
    assert INSTANCES.parse_function("buck2", 0) is BLAKE3
    assert INSTANCES.parse_function("buck2", 0, 40) is SHA1


def test_D4_a_function_that_an_instance_cannot_tell_apart_is_not_served_there() -> None:
    with pytest.raises(InvalidArgument, match="SHA256 is not served here"):
        INSTANCES.parse_function("buck2", SHA256.number, 64)


def test_D5_digests_of_one_request_share_a_function() -> None:
    sha256, sha1 = digest_of(DATA), digest_of(DATA, SHA1)
    assert INSTANCES.parse_digests("", [sha1.to_message()], 0) == [sha1]
    for first, second in ((sha256, sha1), (sha1, sha256)):
        with pytest.raises(InvalidArgument):
            INSTANCES.parse_digests("", [first.to_message(), second.to_message()], 0)
    with pytest.raises(InvalidArgument):
        INSTANCES.parse_digests("", [sha1.to_message()], SHA256.number)


def test_D4_a_function_is_refused_also_where_there_is_no_digest() -> None:
    assert INSTANCES.parse_digests("", [], BLAKE3.number) == []
    with pytest.raises(InvalidArgument, match="MD5"):
        INSTANCES.parse_digests("", [], re_pb2.DigestFunction.MD5)
