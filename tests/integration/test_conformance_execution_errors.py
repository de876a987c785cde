"""Conformance of Execute where it must refuse: codes, places and details (conformance 1.7)."""

from typing import Any

import grpc
import pytest
from google.rpc import code_pb2

from reapi.core.digest import Digest, digest_of
from reapi.core.errors import InvalidArgument, NotFound
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.raw_client import RawService, code_of
from tests.integration.system import System, sh, violations
from tests.unit.executor.harness import Tree

INVALID = code_pb2.INVALID_ARGUMENT
ABSENT = digest_of(b"never uploaded")
OTHER_ABSENT = digest_of(b"never uploaded either")
EMPTY = digest_of(b"")


def missing(response: re_pb2.ExecuteResponse) -> set[str]:
    found = violations(response.status)
    assert {one.type for one in found} == {"MISSING"}
    subjects = [one.subject for one in found]
    assert len(set(subjects)) == len(subjects)
    return set(subjects)


async def add_message(system: System, message: Any) -> Digest:
    data = message if isinstance(message, bytes) else message.SerializeToString()
    await system.add_blobs(data)
    return digest_of(data)


async def add_action(
    system: System, command: Digest | None, root: Digest | None, **fields: Any
) -> Digest:
    """An Action of exactly these digests, whether they are stored or not."""
    action = re_pb2.Action(**fields)
    if command is not None:
        action.command_digest.CopyFrom(command.to_message())
    if root is not None:
        action.input_root_digest.CopyFrom(root.to_message())
    return await add_message(system, action)


class TestCallFails:
    """What cannot become an operation is the status of the call (EX4)."""

    @pytest.mark.parametrize(
        "digest",
        [
            {},
            {"hash": "xyz", "size_bytes": 3},
            {"hash": ABSENT.hash.upper(), "size_bytes": 14},
            {"hash": ABSENT.hash[:-1], "size_bytes": 14},
            {"hash": ABSENT.hash, "size_bytes": -1},
            {"hash": ABSENT.hash, "size_bytes": 0},
            {"hash": EMPTY.hash, "size_bytes": 103},
            {"hash": "d" * 32, "size_bytes": 3},
        ],
    )
    async def test_reliability_B3_B5_EX4_G2_G4_a_malformed_action_digest(
        self, system: System, digest: dict[str, Any]
    ) -> None:
        async with grpc.aio.insecure_channel(system.address) as channel:
            execution = RawService(channel, re_pb2.DESCRIPTOR.services_by_name["Execution"])
            request = re_pb2.ExecuteRequest(action_digest=digest)
            assert await code_of(execution.Execute(request)) == grpc.StatusCode.INVALID_ARGUMENT

    async def test_EX4_a_request_that_is_no_message(self, system: System) -> None:
        async with grpc.aio.insecure_channel(system.address) as channel:
            execution = RawService(channel, re_pb2.DESCRIPTOR.services_by_name["Execution"])
            for method in (execution.Execute, execution.WaitExecution):
                assert await code_of(method(b"\xff\xff")) == grpc.StatusCode.INVALID_ARGUMENT

    @pytest.mark.parametrize("number", [re_pb2.DigestFunction.MD5, 99, -1])
    async def test_D4_G10_a_digest_function_that_is_not_served(
        self, system: System, number: int
    ) -> None:
        action = await system.add(sh("true"))
        with pytest.raises(InvalidArgument, match="SHA256"):
            await system.execute(action, digest_function=number)

    async def test_G6_an_instance_that_is_not_served(self, system: System) -> None:
        action = await system.add(sh("true"))
        with pytest.raises(InvalidArgument, match="instance"):
            await system.execute(action, instance_name="other")

    @pytest.mark.parametrize(
        "timeout",
        [
            {"seconds": -1},
            {"nanos": -1},
            {"seconds": 10 * 365 * 86400},
            {"seconds": 2**63 - 1},
            {"seconds": 1, "nanos": 2_000_000_000},
        ],
    )
    async def test_EX17_B16_a_timeout_that_is_negative_invalid_or_above_the_maximum(
        self, system: System, timeout: dict[str, int]
    ) -> None:
        action = await system.add(sh("true"), action={"timeout": timeout})
        with pytest.raises(InvalidArgument, match="timeout"):
            await system.execute(action)

    async def test_EX19_blobs_that_are_no_action_and_no_command(self, system: System) -> None:
        garbage = await add_message(system, b"\xff\xff\xff")
        for action in (garbage, await add_action(system, garbage, EMPTY)):
            with pytest.raises(InvalidArgument):
                await system.execute(action)

    async def test_EX19_an_action_without_digests(self, system: System) -> None:
        command = await add_message(system, sh("true"))
        for action in (
            await add_action(system, None, EMPTY),
            await add_action(system, command, None),
            EMPTY,
        ):
            with pytest.raises(InvalidArgument):
                await system.execute(action)

    async def test_D5_an_action_of_two_digest_functions(self, system: System) -> None:
        action = re_pb2.Action(
            command_digest={"hash": "d" * 40, "size_bytes": 3},
            input_root_digest=EMPTY.to_message(),
        )
        with pytest.raises(InvalidArgument):
            await system.execute(await add_message(system, action))


class TestMissingBlobs:
    async def test_EX7_EX8_B21_an_absent_action(self, system: System) -> None:
        """Told in a done Operation, whose stream ends well."""
        assert missing(await system.run_action(ABSENT)) == {f"blobs/{ABSENT}"}

    async def test_EX7_EX8_all_absent_inputs_are_listed(self, system: System) -> None:
        """Absent directories, and absent files of those that are there; each once."""
        below = re_pb2.Directory(
            files=[{"name": "f", "digest": digest_of(b"absent file").to_message()}]
        )
        root = re_pb2.Directory(
            files=[
                {"name": "a", "digest": ABSENT.to_message()},
                {"name": "b", "digest": ABSENT.to_message()},
                {"name": "empty", "digest": EMPTY.to_message()},
            ],
            directories=[
                {"name": "d", "digest": OTHER_ABSENT.to_message()},
                {"name": "e", "digest": (await add_message(system, below)).to_message()},
            ],
        )
        command = await add_message(system, sh("true"))
        action = await add_action(system, command, await add_message(system, root))
        response = await system.run_action(action)
        assert missing(response) == {
            f"blobs/{ABSENT}",
            f"blobs/{OTHER_ABSENT}",
            f"blobs/{digest_of(b'absent file')}",
        }
        assert not response.HasField("result")
        with pytest.raises(NotFound):
            await system.cached(action)

    async def test_EX7_an_absent_command_and_absent_inputs_are_listed_together(
        self, system: System
    ) -> None:
        action = await add_action(system, ABSENT, OTHER_ABSENT)
        assert missing(await system.run_action(action)) == {
            f"blobs/{ABSENT}",
            f"blobs/{OTHER_ABSENT}",
        }
        file = digest_of(b"absent file")
        below = re_pb2.Directory(files=[{"name": "f", "digest": file.to_message()}])
        root = re_pb2.Directory(
            directories=[{"name": "e", "digest": (await add_message(system, below)).to_message()}]
        )
        action = await add_action(system, ABSENT, await add_message(system, root))
        assert missing(await system.run_action(action)) == {f"blobs/{ABSENT}", f"blobs/{file}"}

    async def test_EX7_after_the_upload_the_same_action_runs(self, system: System) -> None:
        data = b"uploaded late"
        root = re_pb2.Directory(files=[{"name": "in", "digest": digest_of(data).to_message()}])
        command = await add_message(system, sh("cat in"))
        action = await add_action(system, command, await add_message(system, root))
        assert missing(await system.run_action(action)) == {f"blobs/{digest_of(data)}"}
        await system.add_blobs(data)
        assert await system.stdout(await system.run_action(action)) == data.decode()

    async def test_reliability_B4_G3_the_empty_blob_is_never_missing(self, system: System) -> None:
        tree: Tree = {"empty": b"", "directory": {}}
        response = await system.sh("wc -c <empty; ls directory", tree)
        assert await system.stdout(response) == "0\n"

    async def test_EX7_L3_ten_thousand_missing_inputs_are_told(self, system: System) -> None:
        """L3's number of digests, in the one detail of one status."""
        files = [
            {"name": f"{n:05}", "digest": digest_of(b"absent %d" % n).to_message()}
            for n in range(10_000)
        ]
        root = await add_message(system, re_pb2.Directory(files=files))
        action = await add_action(system, await add_message(system, sh("true")), root)
        assert len(missing(await system.run_action(action))) == 10_000


class TestMalformedInputs:
    @pytest.mark.parametrize(
        "fields", [{"name": name} for name in ("", ".", "..", "a/b", "a\0b", "x" * 256)]
    )
    async def test_reliability_B12_IN13_IN14_EX19_an_unsafe_name_in_the_input_tree(
        self, system: System, fields: dict[str, str]
    ) -> None:
        root = re_pb2.Directory(files=[{**fields, "digest": EMPTY.to_message()}])
        command = await add_message(system, sh("true"))
        action = await add_action(system, command, await add_message(system, root))
        assert (await system.run_action(action)).status.code == INVALID

    async def test_EX19_an_input_root_that_is_no_directory(self, system: System) -> None:
        command = await add_message(system, sh("true"))
        action = await add_action(system, command, await add_message(system, b"\xff\xff"))
        assert (await system.run_action(action)).status.code == INVALID

    async def test_G10_an_output_directory_format_from_the_future(self, system: System) -> None:
        response = await system.sh("true", output_directory_format=77)
        assert response.status.code == INVALID

    @pytest.mark.parametrize("depth", [300, 30])
    async def test_reliability_B12_B13_a_tree_that_is_too_deep_or_multiplies_itself(
        self, system: System, depth: int
    ) -> None:
        """300 levels of one directory; 30 levels that hold the next one 20 times."""
        width, expected = (1, INVALID) if depth == 300 else (20, code_pb2.RESOURCE_EXHAUSTED)
        blobs = [b""]
        for _ in range(depth):
            below = digest_of(blobs[-1]).to_message()
            nodes = [{"name": f"{number:02}", "digest": below} for number in range(width)]
            blobs.append(re_pb2.Directory(directories=nodes).SerializeToString())
        await system.add_blobs(*blobs)
        command = await add_message(system, sh("true"))
        action = await add_action(system, command, digest_of(blobs[-1]))
        assert (await system.run_action(action)).status.code == expected
