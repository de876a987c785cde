"""The error tree and its form on the wire."""

import pytest
from google.rpc import code_pb2, error_details_pb2
from google.rpc.status_pb2 import Status

from reapi.core import errors
from reapi.core.errors import (
    BlobsMissing,
    FailedPrecondition,
    InvalidArgument,
    ReapiError,
    Relayed,
    ResourceExhausted,
    Unavailable,
    Unknown,
    error_of,
    status_of,
)

CLASSES = [
    each
    for each in vars(errors).values()
    if isinstance(each, type)
    and issubclass(each, ReapiError)
    and each not in (ReapiError, BlobsMissing, Relayed)
    and not each.__name__.startswith("_")
]


@pytest.mark.parametrize("error_class", CLASSES)
def test_errors_come_back_as_they_went(error_class: type[ReapiError]) -> None:
    error = error_of(status_of(error_class("the message")))
    assert type(error) is error_class
    assert error.message == str(error) == "the message"


def test_what_another_server_answered_is_told_on_unchanged() -> None:
    status = status_of(BlobsMissing(["blobs/a/1"]))
    status.details[0].value += b"and a field that is not known here"
    relayed = Relayed(status)
    assert status_of(relayed) == status
    assert (relayed.code, str(relayed)) == (status.code, status.message)


def test_every_code_has_a_class() -> None:
    assert {each.code for each in CLASSES} == set(code_pb2.Code.values()) - {code_pb2.OK}


def test_EX7_Q_DETAIL_missing_blobs_are_one_detail_of_violations() -> None:
    status = status_of(BlobsMissing(["blobs/a/1", "blobs/b/2"]))
    (detail,) = status.details
    assert detail.type_url == "type.googleapis.com/google.rpc.PreconditionFailure"
    failure = error_details_pb2.PreconditionFailure()
    detail.Unpack(failure)
    assert [each.type for each in failure.violations] == ["MISSING", "MISSING"]
    error = error_of(status)
    assert isinstance(error, BlobsMissing)
    assert error.subjects == ("blobs/a/1", "blobs/b/2")


def test_other_violations_are_a_plain_failed_precondition() -> None:
    status = status_of(BlobsMissing(["blobs/a/1"]))
    failure = error_details_pb2.PreconditionFailure()
    failure.violations.add(type="OTHER", subject="x")
    status.details[0].Pack(failure)
    assert type(error_of(status)) is FailedPrecondition


@pytest.mark.parametrize("error_class", [ResourceExhausted, Unavailable])
def test_G5_a_time_to_retry_goes_along(
    error_class: type[ResourceExhausted] | type[Unavailable],
) -> None:
    error = error_of(status_of(error_class("later", retry_after_seconds=2.5)))
    assert isinstance(error, error_class)
    assert error.retry_after_seconds == 2.5
    without = error_of(status_of(error_class("later")))
    assert isinstance(without, error_class)
    assert without.retry_after_seconds is None


def test_details_that_others_add_are_no_hindrance() -> None:
    status = Status(code=InvalidArgument.code, message="bad")
    status.details.add(type_url="type.googleapis.com/some.Other", value=b"\xff")
    assert type(error_of(status)) is InvalidArgument
    assert type(error_of(Status(code=99))) is Unknown
