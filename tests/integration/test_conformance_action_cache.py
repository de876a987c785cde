"""Conformance of the ActionCache service (conformance 1.6)."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import PreconditionFailure

from reapi.cas.storage import Storage
from reapi.core.digest import Digest, digest_of
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.local_storage import local_storage, serving
from tests.fakes.raw_client import RawClient, code_of, details_of, failure_of, raw_client

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND

ACTION = digest_of(b"an action")
ABSENT = digest_of(b"absent")


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    async with local_storage(tmp_path) as made:
        yield made


@pytest.fixture
async def client(storage: Storage) -> AsyncIterator[RawClient]:
    async with serving(storage) as address, raw_client(address) as made:
        yield made


async def store(storage: Storage, data: bytes) -> Digest:
    assert await storage.blobs.write_many({digest_of(data): data}) == {}
    return digest_of(data)


async def get(client: RawClient, **fields: object) -> re_pb2.ActionResult:
    request = re_pb2.GetActionResultRequest(action_digest=ACTION.to_message(), **fields)
    return await client.action_cache.GetActionResult(request)


async def put(
    client: RawClient, result: re_pb2.ActionResult, action: Digest = ACTION
) -> re_pb2.ActionResult:
    request = re_pb2.UpdateActionResultRequest(
        action_digest=action.to_message(), action_result=result
    )
    return await client.action_cache.UpdateActionResult(request)


def file_result(*digests: Digest) -> re_pb2.ActionResult:
    result = re_pb2.ActionResult()
    for number, digest in enumerate(digests):
        result.output_files.add(path=f"out/{number}", digest=digest.to_message())
    return result


class Outputs:
    """A result with one output of every kind, and what each of its blobs is for."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {
            "file": b"the file",
            "stdout": b"the stdout",
            "stderr": b"the stderr",
            "in the root": b"a file of the tree's root",
            "in a child": b"a file of the tree's child",
        }
        child = re_pb2.Directory()
        child.files.add(name="f", digest=self.digest("in a child").to_message())
        root = re_pb2.Directory()
        root.files.add(name="f", digest=self.digest("in the root").to_message())
        child_bytes = child.SerializeToString()
        root.directories.add(name="d", digest=digest_of(child_bytes).to_message())
        tree = re_pb2.Tree(root=root, children=[child])
        self.blobs["tree"] = tree.SerializeToString()
        self.blobs["root directory"] = root.SerializeToString()
        self.blobs["child directory"] = child_bytes

    def digest(self, name: str) -> Digest:
        return digest_of(self.blobs[name])

    def result(self, *, with_directories: bool) -> re_pb2.ActionResult:
        result = file_result(self.digest("file"))
        result.stdout_digest.CopyFrom(self.digest("stdout").to_message())
        result.stderr_digest.CopyFrom(self.digest("stderr").to_message())
        tree = result.output_directories.add(
            path="dir", tree_digest=self.digest("tree").to_message()
        )
        if with_directories:
            root = self.digest("root directory").to_message()
            tree.root_directory_digest.CopyFrom(root)
        return result

    def needed(self, *, with_directories: bool) -> set[str]:
        directories = {"root directory", "child directory"}
        return set(self.blobs) - (set() if with_directories else directories)


class TestGet:
    async def test_AC1_a_miss_is_not_found(self, client: RawClient) -> None:
        assert await code_of(get(client)) == NOT_FOUND

    @pytest.mark.parametrize("with_directories", [False, True])
    async def test_AC2_AC3_every_needed_blob_must_be_there(
        self, client: RawClient, storage: Storage, tmp_path: Path, with_directories: bool
    ) -> None:
        outputs = Outputs()
        needed = outputs.needed(with_directories=with_directories)
        for lost in needed:
            for name in needed:
                await store(storage, outputs.blobs[name])
            await put(client, outputs.result(with_directories=with_directories))
            await get(client)
            await lose(storage, outputs.digest(lost))
            assert await code_of(get(client)) == NOT_FOUND, lost

    async def test_AC3_empty_outputs_need_no_blob(self, client: RawClient) -> None:
        empty = digest_of(b"")
        result = file_result(empty)
        result.stdout_digest.CopyFrom(empty.to_message())
        await put(client, result)
        assert (await get(client)).output_files[0].digest == empty.to_message()

    async def test_AC4_only_what_was_asked_for_is_inlined(
        self, client: RawClient, storage: Storage
    ) -> None:
        outputs = Outputs()
        for data in outputs.blobs.values():
            await store(storage, data)
        await put(client, outputs.result(with_directories=False))
        plain = await get(client)
        assert not plain.stdout_raw
        assert not plain.output_files[0].contents
        inlined = await get(
            client, inline_stdout=True, inline_stderr=True, inline_output_files=["out/0", "no"]
        )
        assert inlined.stdout_raw == outputs.blobs["stdout"]
        assert inlined.stderr_raw == outputs.blobs["stderr"]
        assert inlined.output_files[0].contents == outputs.blobs["file"]
        assert inlined.stdout_digest == plain.stdout_digest
        assert inlined.output_files[0].digest == plain.output_files[0].digest
        assert await get(client) == plain
        one = await get(client, inline_stderr=True)
        assert (one.stdout_raw, one.stderr_raw) == (b"", outputs.blobs["stderr"])

    async def test_AC5_inlining_keeps_to_a_budget_and_never_drops_a_digest(
        self, client: RawClient, storage: Storage
    ) -> None:
        digests = [await store(storage, bytes([number]) * 400_000) for number in range(5)]
        stdout = await store(storage, b"o" * 300_000)
        result = file_result(*digests)
        result.stdout_digest.CopyFrom(stdout.to_message())
        await put(client, result)
        paths = [file.path for file in result.output_files]
        inlined = await get(client, inline_stdout=True, inline_output_files=paths)
        assert len(inlined.stdout_raw) == 300_000
        assert inlined.ByteSize() < 2 << 20
        assert [file.digest for file in inlined.output_files] == [d.to_message() for d in digests]
        assert any(file.contents for file in inlined.output_files)

    async def test_Q_META_execution_metadata_is_always_set(self, client: RawClient) -> None:
        stored = await put(client, re_pb2.ActionResult())
        assert stored.HasField("execution_metadata")
        assert (await get(client)).HasField("execution_metadata")

    async def test_AC10_a_stored_result_is_not_empty(self, client: RawClient) -> None:
        await put(client, re_pb2.ActionResult())
        assert (await get(client)).ByteSize() > 0

    async def test_D11_the_size_of_an_action_is_part_of_its_name(self, client: RawClient) -> None:
        await put(client, re_pb2.ActionResult(exit_code=1))
        other = ACTION._replace(size_bytes=ACTION.size_bytes + 1)
        request = re_pb2.GetActionResultRequest(action_digest=other.to_message())
        assert await code_of(client.action_cache.GetActionResult(request)) == NOT_FOUND


async def lose(storage: Storage, digest: Digest) -> None:
    """Makes the store find out that the bytes are gone, as after a damaged disk."""
    (entry,) = (await storage.blobs._index.find([digest.key])).values()
    assert await storage.blobs._quarantine.take(digest, entry)


class TestUpdate:
    async def test_AC6_neither_action_nor_command_has_to_be_stored(self, client: RawClient) -> None:
        await put(client, re_pb2.ActionResult(exit_code=3))
        assert (await get(client)).exit_code == 3

    async def test_AC6_absent_outputs_are_a_failed_precondition_that_names_them(
        self, client: RawClient, storage: Storage
    ) -> None:
        """Also Q-DETAIL: exactly one detail."""
        there = await store(storage, b"there")
        other = digest_of(b"also absent")
        error = await failure_of(put(client, file_result(ABSENT, there, other)))
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
        (detail,) = details_of(error).details
        assert detail.type_url == "type.googleapis.com/google.rpc.PreconditionFailure"
        failure = PreconditionFailure()
        assert detail.Unpack(failure)
        assert [(each.type, each.subject) for each in failure.violations] == [
            ("MISSING", ABSENT.subject),
            ("MISSING", other.subject),
        ]
        assert await code_of(get(client)) == NOT_FOUND

    async def test_AC6_an_absent_tree_is_named_too(self, client: RawClient) -> None:
        result = re_pb2.ActionResult()
        result.output_directories.add(path="d", tree_digest=ABSENT.to_message())
        code = await code_of(put(client, result))
        assert code == grpc.StatusCode.FAILED_PRECONDITION

    @pytest.mark.parametrize("path", ["/absolute", "", "a//b", "a/", "a\0b", "../a", "a/../../b"])
    async def test_AC7_unusable_output_paths_are_invalid(
        self, client: RawClient, path: str
    ) -> None:
        """Also reliability B18."""
        empty = digest_of(b"").to_message()
        files = re_pb2.ActionResult(output_files=[{"path": path, "digest": empty}])
        links = re_pb2.ActionResult(output_symlinks=[{"path": path, "target": "x"}])
        assert await code_of(put(client, files)) == INVALID
        assert await code_of(put(client, links)) == INVALID

    @pytest.mark.parametrize("path", ["", ".", "./a"])
    async def test_AC7_output_paths_are_kept_as_the_command_says_them(
        self, storage: Storage, client: RawClient, path: str
    ) -> None:
        """Pants asks for the output "", BuildStream for "." (IN4)."""
        tree = re_pb2.Tree(root={}).SerializeToString()
        await store(storage, tree)
        result = re_pb2.ActionResult()
        result.output_directories.add(path=path, tree_digest=digest_of(tree).to_message())
        await put(client, result)
        assert (await get(client)).output_directories[0].path == path

    @pytest.mark.parametrize("target", ["", "a\0b", "../../x", "t" * 5000])
    async def test_AC7_unusable_symlink_targets_are_invalid(
        self, client: RawClient, target: str
    ) -> None:
        """Also reliability B18."""
        for field in ("output_symlinks", "output_file_symlinks", "output_directory_symlinks"):
            result = re_pb2.ActionResult(**{field: [{"path": "d/link", "target": target}]})
            assert await code_of(put(client, result)) == INVALID

    async def test_AC7_paths_may_climb_within_the_input_root(
        self, client: RawClient, storage: Storage
    ) -> None:
        """Reliability B14; the working directory is known from the stored action."""
        command = re_pb2.Command(arguments=["x"], working_directory="one/two")
        command_digest = await store(storage, command.SerializeToString())
        action = re_pb2.Action(command_digest=command_digest.to_message())
        digest = await store(storage, action.SerializeToString())
        empty = digest_of(b"").to_message()
        for path, is_inside in (("../../a", True), ("../../../a", False)):
            result = re_pb2.ActionResult(output_files=[{"path": path, "digest": empty}])
            link = re_pb2.ActionResult(output_symlinks=[{"path": "link", "target": path}])
            for each in (result, link):
                if is_inside:
                    await put(client, each, digest)
                else:
                    assert await code_of(put(client, each, digest)) == INVALID

    @pytest.mark.parametrize("working_directory", ["", "../..", "a/../../.."])
    async def test_AC7_no_path_climbs_from_a_useless_working_directory(
        self, client: RawClient, storage: Storage, working_directory: str
    ) -> None:
        command = re_pb2.Command(arguments=["x"], working_directory=working_directory)
        command_digest = await store(storage, command.SerializeToString())
        action = re_pb2.Action(command_digest=command_digest.to_message())
        digest = await store(storage, action.SerializeToString())
        no_action = await store(storage, b"\xff\xff")
        empty = digest_of(b"").to_message()
        result = re_pb2.ActionResult(output_files=[{"path": "../a", "digest": empty}])
        assert await code_of(put(client, result, digest)) == INVALID
        assert await code_of(put(client, result, no_action)) == INVALID

    async def test_AC7_CAP10_absolute_symlink_targets_are_allowed(self, client: RawClient) -> None:
        result = re_pb2.ActionResult(output_symlinks=[{"path": "link", "target": "/usr/bin/env"}])
        await put(client, result)
        assert (await get(client)).output_symlinks == result.output_symlinks

    async def test_AC7_duplicate_outputs_are_invalid(self, client: RawClient) -> None:
        empty = digest_of(b"").to_message()
        twice = {"path": "a", "digest": empty}
        result = re_pb2.ActionResult(output_files=[twice, twice])
        assert await code_of(put(client, result)) == INVALID
        mixed = re_pb2.ActionResult(
            output_files=[twice], output_symlinks=[{"path": "a", "target": "b"}]
        )
        assert await code_of(put(client, mixed)) == INVALID

    async def test_B13_IN9_a_symlink_may_stand_in_two_lists(self, client: RawClient) -> None:
        link = {"path": "a", "target": "b"}
        await put(client, re_pb2.ActionResult(output_symlinks=[link], output_file_symlinks=[link]))
        other = {"path": "a", "target": "c"}
        differing = re_pb2.ActionResult(output_symlinks=[link], output_file_symlinks=[other])
        assert await code_of(put(client, differing)) == INVALID

    async def test_AC7_bad_digests_and_no_result_are_invalid(
        self, client: RawClient, storage: Storage
    ) -> None:
        bad = re_pb2.ActionResult(output_files=[{"path": "a", "digest": {"hash": "?"}}])
        assert await code_of(put(client, bad)) == INVALID
        assert (
            await code_of(put(client, re_pb2.ActionResult(output_files=[{"path": "a"}]))) == INVALID
        )
        nothing = re_pb2.ActionResult(output_directories=[{"path": "a"}])
        assert await code_of(put(client, nothing)) == INVALID
        no_tree = await store(storage, b"\xff\xff")
        result = re_pb2.ActionResult()
        result.output_directories.add(path="d", tree_digest=no_tree.to_message())
        assert await code_of(put(client, result)) == INVALID
        request = re_pb2.UpdateActionResultRequest(action_digest=ACTION.to_message())
        assert await code_of(client.action_cache.UpdateActionResult(request)) == INVALID

    async def test_IN4_the_working_directory_itself_may_be_an_output(
        self, client: RawClient, storage: Storage
    ) -> None:
        tree = re_pb2.Tree()
        tree.root.SetInParent()
        digest = await store(storage, tree.SerializeToString())
        result = re_pb2.ActionResult()
        result.output_directories.add(path="", tree_digest=digest.to_message())
        await put(client, result)
        assert (await get(client)).output_directories == result.output_directories

    async def test_AC8_inlined_bytes_are_moved_into_the_cas(
        self, client: RawClient, storage: Storage
    ) -> None:
        contents = b"the contents"
        result = file_result(digest_of(contents))
        result.output_files[0].contents = contents
        result.stdout_raw = b"the stdout"
        stored = await put(client, result)
        assert stored.output_files[0].contents == stored.stdout_raw == b""
        assert stored.stdout_digest == digest_of(b"the stdout").to_message()
        assert (
            await storage.blobs.find_missing([digest_of(contents), digest_of(b"the stdout")]) == []
        )
        assert (await get(client, inline_stdout=True)).stdout_raw == b"the stdout"

    async def test_AC8_inlined_bytes_must_be_those_of_the_digest(self, client: RawClient) -> None:
        result = file_result(digest_of(b"something"))
        result.output_files[0].contents = b"something else"
        assert await code_of(put(client, result)) == INVALID

    async def test_AC11_a_result_that_clients_could_not_receive_is_refused(
        self, client: RawClient
    ) -> None:
        empty = digest_of(b"").to_message()
        result = re_pb2.ActionResult()
        for number in range(40_000):
            result.output_files.add(path=f"{number}/{'x' * 100}", digest=empty)
        assert await code_of(put(client, result)) == INVALID

    async def test_a_result_survives_a_restart(self, client: RawClient, tmp_path: Path) -> None:
        async with local_storage(tmp_path / "again") as storage:
            data = await store(storage, b"out")
            await storage.action_cache.put("", ACTION, file_result(data))
        async with local_storage(tmp_path / "again") as storage:
            assert await storage.action_cache.get("", ACTION)
