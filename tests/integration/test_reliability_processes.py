"""What only a whole process can show: its memory, and a disk that fails under it."""

import random
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest

from reapi.core.compression import compress_blob
from reapi.core.digest import Digest, digest_of
from reapi.core.resource_name import read_name, write_name
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import ReadRequest, WriteRequest
from tests.fakes.raw_client import RawClient, code_of, raw_client
from tests.fakes.zstd_frames import bomb, wide_window_frame
from tests.server_process import ServerProcess

FRONTEND = ("--role", "frontend", "--role", "scheduler")
ZSTD = re_pb2.Compressor.ZSTD
INVALID = grpc.StatusCode.INVALID_ARGUMENT
MIB = 1 << 20


async def send_zstd(client: RawClient, digest: Digest, stream: bytes) -> grpc.StatusCode:
    """The code that the upload of a bad stream ends with."""
    name = write_name("", "u", digest, ZSTD)
    request = WriteRequest(resource_name=name, data=stream, finish_write=True)
    return await code_of(client.bytestream.Write([request]))


async def test_reliability_B10_the_memory_of_a_server_grows_by_less_than_16_MiB(
    tmp_path: Path,
) -> None:
    """Bombs of 1 GiB against small, wrong and huge declared sizes, and windows of 128 MiB."""
    small = digest_of(b"x" * 1000)
    wide = wide_window_frame(b"x" * 1000, 27)
    with ServerProcess(tmp_path / "data", *FRONTEND) as server:
        async with raw_client(server.grpc) as client:
            # What any upload of that kind needs once, such as threads and modules.
            frame = compress_blob(random.Random(1).randbytes(4 * MIB))
            assert await send_zstd(client, Digest(small.hash, 4 * MIB), frame) == INVALID
            before = server.peak_memory_kib()
            for _ in range(5):
                for declared in (1000, 3 * MIB):
                    digest = Digest(small.hash, declared)
                    assert await send_zstd(client, digest, bomb(1 << 30)) == INVALID
                assert await send_zstd(client, small, wide) == INVALID
                batch = re_pb2.BatchUpdateBlobsRequest()
                for stream in (bomb(1 << 30), wide):
                    batch.requests.add(digest=small.to_message(), data=stream, compressor=ZSTD)
                answers = (await client.cas.BatchUpdateBlobs(batch)).responses
                assert [each.status.code for each in answers] == [INVALID.value[0]] * 2
            whole = Digest(small.hash, 1 << 30)  # all of it is what was declared, and not the hash
            assert await send_zstd(client, whole, bomb(1 << 30)) == INVALID
            assert server.peak_memory_kib() - before < 16 << 10


class FailingDisk(ServerProcess):
    """A server for which every read of one file fails, as `strace` makes it."""

    def __init__(self, data_dir: Path, file: Path, *arguments: str) -> None:
        super().__init__(data_dir, *arguments)
        self._command = [
            *("strace", "--daemonize", "--follow-forks", "--quiet=all", f"--trace-path={file}"),
            *("--output=/dev/null", "--trace=pread64,preadv2", "--seccomp-bpf"),
            *("--inject=pread64,preadv2:error=EIO", *self._command),
        ]


def can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    command = ["strace", "--follow-forks", "--seccomp-bpf", "--output=/dev/null", "true"]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_trace(), reason="needs strace, and leave to trace processes")
async def test_reliability_D2_a_server_on_a_disk_that_cannot_read_a_file(tmp_path: Path) -> None:
    data = random.Random(2).randbytes(3 * MIB)
    digest = digest_of(data)
    name = write_name("", "u", digest)
    upload = [
        WriteRequest(
            resource_name=name,
            write_offset=start,
            data=data[start : start + MIB],
            finish_write=start == 2 * MIB,
        )
        for start in range(0, len(data), MIB)
    ]
    find = re_pb2.FindMissingBlobsRequest(blob_digests=[digest.to_message()])
    read = ReadRequest(resource_name=read_name("", digest))
    data_dir = tmp_path / "data"
    with ServerProcess(data_dir, *FRONTEND) as server:
        async with raw_client(server.grpc) as client:
            await client.bytestream.Write(upload)
    (file,) = (path for path in (data_dir / "blobs").rglob("*") if path.is_file())
    with FailingDisk(data_dir, file, *FRONTEND) as server:
        async with raw_client(server.grpc) as client:
            assert not (await client.cas.FindMissingBlobs(find)).missing_blob_digests
            assert await code_of(client.bytestream.Read(read)) == grpc.StatusCode.NOT_FOUND
            assert (await client.cas.FindMissingBlobs(find)).missing_blob_digests
            assert [path.name for path in (data_dir / "quarantine").iterdir()] == [file.name]
            server.wait_for_log("missing from now on")
            await client.bytestream.Write(upload)
            replies = await client.bytestream.Read(read)
            assert b"".join(reply.data for reply in replies) == data
