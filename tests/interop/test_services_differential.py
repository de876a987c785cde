"""The same random calls of the real services to a server on each transport: the answers are alike.

Both servers get the same calls in the same order, so both hold the same blobs and results.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from google.longrunning.operations_pb2 import CancelOperationRequest, GetOperationRequest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from reapi.core.digest import digest_of
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream import bytestream_pb2 as bs_pb2
from tests.server_process import ServerProcess

from .transports import GRPC_AIO, NATIVE, has_native
from .trials import Outcome, Pair, Trial, channels

pytestmark = pytest.mark.skipif(not has_native(), reason="reapi_transport is not installed")

REAPI = "/build.bazel.remote.execution.v2."
CAS, ACTIONS = REAPI + "ContentAddressableStorage/", REAPI + "ActionCache/"
BYTESTREAM, OPERATIONS = "/google.bytestream.ByteStream/", "/google.longrunning.Operations/"
OPERATION = re.compile(rb"operations/[0-9a-f-]{36}")

DIRECTORY = re_pb2.Directory(symlinks=[re_pb2.SymlinkNode(name="a", target="b")])
CONTENTS = (b"", b"a", b"b" * 200, b"c" * 20_000, DIRECTORY.SerializeToString(), b"never stored")
ABSENT = digest_of(CONTENTS[-1]).to_message()

instances = st.sampled_from([*[""] * 12, "main", "absent", "a/blobs/b", "\u00e9"])
good_digests = st.sampled_from(CONTENTS).map(lambda content: digest_of(content).to_message())
digests = st.one_of(
    *[good_digests] * 8,
    st.builds(
        re_pb2.Digest,
        hash=st.sampled_from(["", "zz", "AB" * 32, "ab" * 32, "ab" * 20, "../" * 21]),
        size_bytes=st.sampled_from([-1, 0, 1, 200, 2**62]),
    ),
)
functions = st.sampled_from([0] * 8 + [1, 2, 9])


def call(path: str, requests: st.SearchStrategy[Message]) -> st.SearchStrategy[Trial]:
    """Calls with one request each."""
    return requests.map(lambda request: Trial(path, [request.SerializeToString()]))


@st.composite
def batch_updates(draw: st.DrawFn) -> re_pb2.BatchUpdateBlobsRequest:
    request = re_pb2.BatchUpdateBlobsRequest(
        instance_name=draw(instances), digest_function=draw(functions)
    )
    for content in draw(st.lists(st.sampled_from(CONTENTS[:-1]), max_size=4)):
        digest = draw(st.one_of(st.just(digest_of(content).to_message()), digests))
        compressor = draw(st.sampled_from([0, 0, 0, 1, 7]))
        request.requests.add(digest=digest, data=content, compressor=compressor)
    return request


@st.composite
def results(draw: st.DrawFn) -> re_pb2.ActionResult:
    result = re_pb2.ActionResult(
        exit_code=draw(st.integers(-1, 2)), stdout_raw=draw(st.binary(max_size=5))
    )
    paths = st.sampled_from(["out/a", "/etc/a", "../a", "", "b"])
    for path in draw(st.lists(paths, max_size=2)):
        result.output_files.add(path=path, digest=draw(digests))
    return result


@st.composite
def names(draw: st.DrawFn) -> str:
    """Resource names of reads and writes, most of them of some blob."""
    digest = draw(digests)
    prefix = draw(st.sampled_from([""] * 4 + ["main/", "absent/", "uploads/1/"]))
    kind = draw(st.sampled_from(["blobs"] * 4 + ["compressed-blobs/zstd", "blobs/sha256", "logs"]))
    return f"{prefix}{kind}/{digest.hash}/{digest.size_bytes}"


@st.composite
def writes(draw: st.DrawFn) -> Trial:
    """Of a blob in parts; sometimes with a mistake, or broken off."""
    content = draw(st.sampled_from(CONTENTS[:-1]))
    digest = digest_of(content)
    true_name = f"uploads/{draw(st.uuids())}/blobs/{digest.hash}/{digest.size_bytes}"
    name = draw(st.one_of(st.just(true_name), st.just(true_name), names()))
    size = draw(st.sampled_from([1 << 20, 7_000, 150]))
    starts = range(0, max(len(content), 1), size)
    requests = [
        bs_pb2.WriteRequest(
            resource_name=name if start == 0 else "",
            write_offset=start + draw(st.sampled_from([0] * 8 + [1])),
            data=content[start : start + size],
            finish_write=start == starts[-1] and draw(st.integers(0, 5)) > 0,
        ).SerializeToString()
        for start in starts
    ]
    return Trial(BYTESTREAM + "Write", requests)


PATHS = (
    REAPI + "Capabilities/GetCapabilities",
    CAS + "FindMissingBlobs",
    CAS + "BatchUpdateBlobs",
    CAS + "BatchReadBlobs",
    CAS + "GetTree",
    CAS + "SplitBlob",
    CAS + "SpliceBlob",
    ACTIONS + "GetActionResult",
    ACTIONS + "UpdateActionResult",
    REAPI + "Execution/Execute",
    REAPI + "Execution/WaitExecution",
    BYTESTREAM + "Read",
    BYTESTREAM + "Write",
    BYTESTREAM + "QueryWriteStatus",
    OPERATIONS + "GetOperation",
    "/grpc.health.v1.Health/Check",
)
trials = st.one_of(
    call(PATHS[0], st.builds(re_pb2.GetCapabilitiesRequest, instance_name=instances)),
    call(
        CAS + "FindMissingBlobs",
        st.builds(
            re_pb2.FindMissingBlobsRequest,
            instance_name=instances,
            blob_digests=st.lists(digests, max_size=6),
            digest_function=functions,
        ),
    ),
    call(CAS + "BatchUpdateBlobs", batch_updates()),
    call(
        CAS + "BatchReadBlobs",
        st.builds(
            re_pb2.BatchReadBlobsRequest,
            instance_name=instances,
            digests=st.lists(digests, max_size=6),
            acceptable_compressors=st.sampled_from([[], [1], [0, 1, 2, 7]]),
            digest_function=functions,
        ),
    ),
    call(
        CAS + "GetTree",
        st.builds(
            re_pb2.GetTreeRequest,
            instance_name=instances,
            root_digest=digests,
            page_size=st.sampled_from([-1, 0, 1]),
            page_token=st.sampled_from(["", "token"]),
        ),
    ),
    call(
        ACTIONS + "GetActionResult",
        st.builds(
            re_pb2.GetActionResultRequest,
            instance_name=instances,
            action_digest=digests,
            inline_stdout=st.booleans(),
        ),
    ),
    call(
        ACTIONS + "UpdateActionResult",
        st.builds(
            re_pb2.UpdateActionResultRequest,
            instance_name=instances,
            action_digest=digests,
            action_result=results(),
        ),
    ),
    call(
        REAPI + "Execution/Execute",
        # None of them is an action, so nothing runs.
        st.builds(
            re_pb2.ExecuteRequest,
            instance_name=instances,
            action_digest=st.one_of(st.just(ABSENT), digests),
            skip_cache_lookup=st.just(True),
        ),
    ),
    call(
        REAPI + "Execution/WaitExecution",
        st.builds(re_pb2.WaitExecutionRequest, name=st.text(max_size=20)),
    ),
    call(OPERATIONS + "GetOperation", st.builds(GetOperationRequest, name=st.text(max_size=20))),
    call(
        OPERATIONS + "CancelOperation",
        st.builds(CancelOperationRequest, name=st.text(max_size=20)),
    ),
    call(
        BYTESTREAM + "Read",
        st.builds(
            bs_pb2.ReadRequest,
            resource_name=st.one_of(names(), names(), names(), st.text(max_size=30)),
            read_offset=st.sampled_from([0] * 5 + [1, -1, 199, 10**9]),
            read_limit=st.sampled_from([0, 0, 1, -1, 10**9]),
        ),
    ),
    call(
        BYTESTREAM + "QueryWriteStatus",
        st.builds(bs_pb2.QueryWriteStatusRequest, resource_name=names()),
    ),
    writes(),
    st.builds(
        Trial,
        st.sampled_from(PATHS),
        st.binary(max_size=40).map(lambda message: [message]),
    ),
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    def server(transport: str) -> ServerProcess:
        folder: Path = tmp_path_factory.mktemp(transport) / "data"
        environment = {"REAPI_SERVER__TRANSPORT": transport}
        roles = ("--role=frontend", "--role=scheduler")
        return ServerProcess(folder, *roles, environment=environment)

    with (
        server(GRPC_AIO) as one,
        server(NATIVE) as other,
        channels(one.grpc, other.grpc) as both,
    ):
        yield both


def anonymous(outcome: Outcome) -> Outcome:
    """The same with one name for all operations: they are random."""
    return replace(outcome, replies=[OPERATION.sub(b"operation", each) for each in outcome.replies])


@settings(max_examples=1000)
@given(trial=trials)
def test_the_services_answer_alike(pair: Pair, trial: Trial) -> None:
    (on_grpc_aio,), (on_native,) = pair.outcomes([trial])
    assert anonymous(on_native) == anonymous(on_grpc_aio)
