"""Whole actions in a slot, with and without a uid of their own."""

import asyncio
import os
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
from google.rpc import code_pb2

from reapi.core.digest import Digest, digest_of
from reapi.core.errors import BlobsMissing, ReapiError, ResourceExhausted, error_of
from reapi.executor.cached_file import FileKey
from reapi.executor.limits import Limits
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.memory_store import MemoryBlobStore
from tests.unit.executor.harness import (
    Executable,
    Harness,
    Link,
    add_lease,
    add_tree,
    open_harness,
    read_tree,
)

TREE = {
    "script.sh": Executable(b"#!/bin/sh\ncat sub/data.txt link\n"),
    "sub": {"data.txt": b"data\n", "empty": {}},
    "link": Link("sub/data.txt"),
    "empty.txt": b"",
}


class TestInputs:
    async def test_the_input_root_holds_what_the_tree_says(self, harness: Harness) -> None:
        response = await harness.run(["./script.sh"], TREE)
        assert harness.stdout(response) == "data\ndata\n"
        assert read_tree(harness.root) == TREE

    async def test_IN15_directories_take_new_files_and_files_have_their_modes(
        self, harness: Harness
    ) -> None:
        response = await harness.sh(
            "touch new sub/new sub/empty/new && stat -c %a script.sh sub/data.txt . sub", TREE
        )
        assert harness.stdout(response).split() == ["555", "444", "755", "755"]

    async def test_IN2_the_working_directory_is_where_the_command_runs(
        self, harness: Harness
    ) -> None:
        response = await harness.run(["cat", "data.txt"], TREE, working_directory="sub")
        assert harness.stdout(response) == "data\n"

    @pytest.mark.parametrize("directory", ["nowhere", "sub/data.txt", "link"])
    async def test_IN2_a_working_directory_that_is_no_input_directory_is_refused(
        self, harness: Harness, directory: str
    ) -> None:
        response = await harness.run(["true"], TREE, working_directory=directory)
        assert response.status.code == code_pb2.FAILED_PRECONDITION
        assert harness.starts == 0

    async def test_IN3_variables_are_the_commands_and_documented_defaults(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WORKER_SECRET", "bait")
        variable = re_pb2.Command.EnvironmentVariable(name="LANG", value="C")
        response = await harness.run(["env"], environment_variables=[variable])
        temporary = harness.slot.default_environment["TMPDIR"]
        assert sorted({*harness.stdout(response).splitlines()} - {"PWD=/build"}) == [
            "LANG=C",
            "PATH=/usr/local/bin:/usr/bin:/bin",
            f"TMPDIR={temporary}",
        ]

    async def test_IN3_a_variable_of_the_command_overrides_the_default(
        self, harness: Harness
    ) -> None:
        variable = re_pb2.Command.EnvironmentVariable(name="PATH", value="/bin")
        response = await harness.run(["/usr/bin/env"], environment_variables=[variable])
        assert "PATH=/bin\n" in harness.stdout(response)

    async def test_IN6_the_parents_of_outputs_exist_and_the_outputs_do_not(
        self, harness: Harness
    ) -> None:
        response = await harness.sh(
            "find . -mindepth 1 | sort",
            output_files=["a/b/file"],
            output_directories=["c/directory"],
        )
        assert harness.stdout(response).split() == ["./a", "./a/b", "./c"]

    async def test_EX7_all_missing_blobs_are_named_at_once(self, harness: Harness) -> None:
        store = harness.store
        inside = add_tree(store, {"b": b"missing file b", "c": b"there"})
        lost_directory = add_tree(store, {"x": b"unreachable"})
        root = re_pb2.Directory()
        root.files.add(name="a", digest=store.add(b"missing file a").to_message())
        root.directories.add(name="lost", digest=lost_directory.to_message())
        root.directories.add(name="sub", digest=inside.to_message())
        root_digest = store.add(root.SerializeToString())
        missing = [lost_directory, digest_of(b"missing file a"), digest_of(b"missing file b")]
        for digest in missing:
            del store.blobs[digest]
        response = await harness.run(["true"], root_digest)
        error = error_of(response.status)
        assert isinstance(error, BlobsMissing)
        assert sorted(error.subjects) == sorted(digest.subject for digest in missing)
        assert harness.starts == 0

    async def test_EX7_a_missing_command_is_named_together_with_missing_inputs(
        self, harness: Harness
    ) -> None:
        command = re_pb2.Command(arguments=["true"])
        lease = add_lease(harness.store, command, {"a": b"missing"})
        missing = [digest_of(command.SerializeToString()), digest_of(b"missing")]
        for digest in missing:
            del harness.store.blobs[digest]
        error = error_of((await harness.run_lease(lease)).status)
        assert isinstance(error, BlobsMissing)
        assert error.subjects == tuple(digest.subject for digest in missing)

    async def test_blobs_that_come_with_the_lease_are_not_asked_for(self, harness: Harness) -> None:
        command = re_pb2.Command(arguments=["true"])
        lease = add_lease(harness.store, command, {})
        digest = digest_of(command.SerializeToString())
        lease.blobs.add(digest=digest.to_message(), data=harness.store.blobs.pop(digest))
        assert not (await harness.run_lease(lease)).status.code


class TestResult:
    async def test_EX5_a_failing_command_is_a_result_with_status_ok(self, harness: Harness) -> None:
        response = await harness.sh("exit 7")
        assert response.status.code == code_pb2.OK
        assert response.result.exit_code == 7

    async def test_IN17_logs_are_set_by_digest_when_not_empty_and_inline_when_asked(
        self, harness: Harness
    ) -> None:
        command = re_pb2.Command(arguments=["sh", "-c", "echo out"])
        lease = add_lease(harness.store, command, {})
        result = (await harness.run_lease(lease)).result
        assert result.stdout_digest == digest_of(b"out\n").to_message()
        assert not result.stdout_raw
        assert not result.HasField("stderr_digest")
        lease.inline_stdout = lease.inline_stderr = True
        assert (await harness.run_lease(lease)).result.stdout_raw == b"out\n"

    async def test_a_large_log_is_stored_but_not_sent_inline(self, harness: Harness) -> None:
        command = re_pb2.Command(arguments=["head", "-c", "3000000", "/dev/zero"])
        lease = add_lease(harness.store, command, {})
        lease.inline_stdout = True
        result = (await harness.run_lease(lease)).result
        assert not result.stdout_raw
        assert result.stdout_digest == digest_of(bytes(3_000_000)).to_message()
        assert digest_of(bytes(3_000_000)) in harness.store.blobs

    async def test_S11_more_log_than_is_kept_is_an_error_that_says_so(
        self, reachable_path: Path
    ) -> None:
        limits = Limits(log_size_bytes=1000)
        async with open_harness(reachable_path, separate_uid=False, limits=limits) as harness:
            response = await harness.sh("echo error >&2; head -c 2000 /dev/zero")
        assert response.status.code == code_pb2.RESOURCE_EXHAUSTED
        assert response.status.message.endswith("its limit of 1000 bytes to stdout")
        assert response.result.stdout_digest.size_bytes == 1000
        assert harness.stderr(response) == "error\n"

    async def test_EX18_a_timeout_is_a_status_with_the_partial_logs(self, harness: Harness) -> None:
        response = await harness.sh("echo partial; sleep 1000", timeout_seconds=3)
        assert response.status.code == code_pb2.DEADLINE_EXCEEDED
        assert response.status.message == "execution timeout exceeded"
        assert harness.stdout(response) == "partial\n"
        metadata = response.result.execution_metadata
        assert metadata.virtual_execution_duration.ToMilliseconds() >= 3000

    async def test_EX24_all_timestamps_are_set_and_in_order(self, harness: Harness) -> None:
        command = re_pb2.Command(arguments=["true"])
        lease = add_lease(harness.store, command, {})
        lease.queued_timestamp.GetCurrentTime()
        lease.queued_timestamp.seconds += 3600  # a scheduler whose clock is ahead
        metadata = (await harness.run_lease(lease)).result.execution_metadata
        names = (
            "queued",
            "worker_start",
            "input_fetch_start",
            "input_fetch_completed",
            "execution_start",
            "execution_completed",
            "output_upload_start",
            "output_upload_completed",
            "worker_completed",
        )
        times = [getattr(metadata, f"{name}_timestamp").ToNanoseconds() for name in names]
        assert times == sorted(times)
        assert all(times)
        assert metadata.worker == "worker-1"

    async def test_IN19_a_failed_upload_is_not_a_success(self, harness: Harness) -> None:
        class FullStore(MemoryBlobStore):
            async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
                return {digest: ResourceExhausted("the store is full") for digest in blobs}

        full = FullStore()
        full.blobs = harness.store.blobs
        harness.store = full
        response = await harness.sh("echo x > out", output_paths=["out"])
        assert response.status.code == code_pb2.RESOURCE_EXHAUSTED
        assert not response.HasField("result")

    async def test_a_malformed_command_is_an_invalid_argument(self, harness: Harness) -> None:
        response = await harness.run([])
        assert response.status.code == code_pb2.INVALID_ARGUMENT


class TestKeptOutputs:
    async def test_an_output_is_an_input_later_without_being_fetched(
        self, isolated: Harness
    ) -> None:
        await isolated.sh("echo made > out; chmod +x out", output_paths=["out"])
        digest = digest_of(b"made\n")
        root = add_tree(isolated.store, {"in": Executable(b"made\n")})
        del isolated.store.blobs[digest]
        response = await isolated.sh("cat in; stat -c '%a %u %Y' in; echo x >> in; cat in", root)
        assert isolated.stdout(response) == "made\n555 0 946684800\nmade\n"

    async def test_an_output_of_which_the_action_keeps_another_link_is_not_kept(
        self, isolated: Harness, reachable_path: Path
    ) -> None:
        shared = reachable_path / "shared"
        shared.mkdir()
        shared.chmod(0o777)
        await isolated.sh(f"echo x > out; ln out {shared}/link", output_paths=["out"])
        assert FileKey(digest_of(b"x\n"), False) not in isolated.cache

    async def test_without_a_uid_of_its_own_no_output_is_kept(self, reachable_path: Path) -> None:
        async with open_harness(reachable_path, separate_uid=False) as shared:
            await shared.sh("echo x > out", output_paths=["out"])
            assert FileKey(digest_of(b"x\n"), False) not in shared.cache

    async def test_a_large_output_does_not_drive_out_others(self, isolated: Harness) -> None:
        isolated.cache.max_size_bytes = 1000
        await isolated.sh("head -c 100 /dev/zero > out", output_paths=["out"])
        assert isolated.cache.size_bytes == 0


class TestLeftovers:
    async def test_IN18_the_next_action_sees_nothing_of_the_one_before(
        self, harness: Harness
    ) -> None:
        await harness.sh(
            "touch stray; mkdir -p deep/er; touch sub/stray deep/er/x $TMPDIR/x; rm empty.txt", TREE
        )
        response = await harness.sh("find . $TMPDIR -mindepth 1 | sort", TREE)
        temporary = f"{os.path.dirname(harness.root)}/tmp"
        found = harness.stdout(response).split()
        assert not [path for path in found if path.startswith(temporary)]
        assert found == [
            "./empty.txt",
            "./link",
            "./script.sh",
            "./sub",
            "./sub/data.txt",
            "./sub/empty",
        ]

    async def test_S8_an_action_cannot_reach_the_cache_or_another_slot(
        self, isolated: Harness, reachable_path: Path
    ) -> None:
        bait = reachable_path / "cache" / "slots" / "other"
        bait.mkdir(mode=0o710)
        (bait / "secret").write_text("bait")
        response = await isolated.sh(
            f"ls {reachable_path}/cache/files; cat {bait}/secret; true", TREE
        )
        assert isolated.stderr(response).count("Permission denied") == 2

    async def test_cancelling_an_action_leaves_a_clean_slot(self, harness: Harness) -> None:
        class StallingStore(MemoryBlobStore):
            def __init__(self) -> None:
                super().__init__()
                self.asked = asyncio.Event()

            async def find_missing(self, digests: Collection[Digest]) -> list[Digest]:
                return []

            async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
                self.asked.set()
                await asyncio.get_running_loop().create_future()
                return {}

        stalling, good = StallingStore(), harness.store
        stalling.blobs = good.blobs
        harness.store = stalling
        run = asyncio.ensure_future(harness.sh("echo x > out", output_paths=["out"]))
        await stalling.asked.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        harness.store = good
        response = await harness.sh("ls")
        assert harness.stdout(response) == ""
