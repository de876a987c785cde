"""Every method that is served has a rule, and none of them lets in whom it should not."""

import pytest

from reapi.core.errors import InvalidArgument
from reapi.core.identity import Permission
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream import bytestream_pb2
from reapi.protos.reapi.admin.v1 import admin_pb2
from reapi.protos.reapi.scheduler.v1 import scheduler_pb2
from reapi.protos.reapi.worker.v1 import worker_pb2
from reapi.server.access_rules import RULES

_FILES = (re_pb2, bytestream_pb2, admin_pb2, scheduler_pb2, worker_pb2)
_READ = "/google.bytestream.ByteStream/Read"
_FIND = "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs"


def test_every_method_of_every_service_has_a_rule() -> None:
    paths = {
        f"/{service.full_name}/{method.name}"
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert paths <= RULES.keys()


def test_what_changes_something_is_not_for_readers() -> None:
    verbs = ("Get", "List", "Find", "Read", "BatchRead", "Wait", "Split", "Explain")
    for path, rule in RULES.items():
        is_reading = path.rpartition("/")[2].startswith(verbs)
        if Permission.READ in rule.permissions:
            assert is_reading, path


def _instance(path: str, request: object) -> str | None:
    name_of = RULES[path].instance_name
    assert name_of is not None
    return name_of(request)


@pytest.mark.parametrize(
    ("name", "instance"),
    [
        ("blobs/ab/1", ""),
        ("main/blobs/ab/1", "main"),
        ("a/b/compressed-blobs/zstd/ab/1", "a/b"),
        ("main/logstreams/9b0c7f6e-8f55-4a3e-9d4f-0f3b6d1c2a77.stdout", "main"),
        ("main/logstreams/other/logstreams/9b0c7f6e-8f55-4a3e-9d4f-0f3b6d1c2a77.stdout", "main"),
    ],
)
def test_the_instance_of_a_resource_is_what_stands_before_it(name: str, instance: str) -> None:
    request = bytestream_pb2.ReadRequest(resource_name=name)
    assert _instance(_READ, request) == instance
    assert _instance(_READ, request.SerializeToString()) == instance


@pytest.mark.parametrize("name", ["", "main", "/blobs/ab/1", "x" * 100_000])
def test_a_resource_without_an_instance_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        _instance(_READ, bytestream_pb2.ReadRequest(resource_name=name))


def test_bytes_that_are_no_request_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="not a FindMissingBlobsRequest"):
        _instance(_FIND, b"\xff\xff\xff")
