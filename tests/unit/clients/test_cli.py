"""reapi-cli as a process: exit codes, streams, JSON and messages."""

import asyncio
import json
import os
import signal
import socket
import sys
import tarfile
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reapi.core.digest import digest_of
from reapi.core.errors import (
    BlobsMissing,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    Unavailable,
)
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Tree
from reapi.protos.reapi.worker.v1.worker_pb2 import Worker
from tests.fakes.fake_execution import FakeRun
from tests.fakes.reapi_server import FakeReapiServer


@dataclass
class Ended:
    """How a process ended."""

    exit_code: int
    stdout: bytes
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass
class Cli:
    """Starts reapi-cli in a directory of its own, with no settings but the server's address."""

    server: str
    directory: Path

    async def start(
        self,
        *arguments: str,
        stdout: int = PIPE,
        stderr: int = PIPE,
        environment: dict[str, str] | None = None,
    ) -> asyncio.subprocess.Process:
        inherited = {key: value for key, value in os.environ.items() if key[:6] != "REAPI_"}
        inherited |= {"HOME": str(self.directory.parent), "REAPI_SERVER": self.server}
        inherited |= {"XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "reapi.clients.cli", *arguments),
            cwd=self.directory,
            env=inherited | (environment or {}),
            stdout=stdout,
            stderr=stderr,
        )

    async def __call__(self, *arguments: str) -> Ended:
        process = await self.start(*arguments)
        stdout, stderr = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, stdout, stderr.decode())


@pytest.fixture
def cli(server: FakeReapiServer, tmp_path: Path) -> Cli:
    directory = tmp_path / "project"
    directory.mkdir()
    return Cli(server.address, directory)


async def test_run_has_the_exit_code_and_the_bytes_of_the_command(
    server: FakeReapiServer, cli: Cli
) -> None:
    server.execution.runs["step", "-x"] = FakeRun(
        exit_code=7, stdout=b"\x00out\xff\r\n", stderr=b"err\xff"
    )
    process = await cli.start("run", "step", "-x")
    stdout, stderr = await process.communicate()
    assert (process.returncode, stdout, stderr) == (7, b"\x00out\xff\r\n", b"err\xff")


async def test_run_sends_inputs_and_brings_outputs_back(server: FakeReapiServer, cli: Cli) -> None:
    (cli.directory / "src").mkdir()
    (cli.directory / "src/main.c").write_text("int main;")
    server.execution.runs["cc",] = FakeRun(
        files={"out/app": b"binary", "out/log": b"text"},
        executables=frozenset({"out/app"}),
        symlinks={"latest": "out/app"},
    )
    outputs = ("--output", "out/app", "--output", "out/log", "--output", "latest")
    ended = await cli("run", "--input", "src", *outputs, "--", "cc")
    assert ended == Ended(0, b"", "")
    assert (cli.directory / "out/app").read_bytes() == b"binary"
    assert os.access(cli.directory / "out/app", os.X_OK)
    assert not (cli.directory / "out/log").stat().st_mode & 0o111
    assert (cli.directory / "latest").readlink() == Path("out/app")
    assert digest_of(b"int main;") in server.blobs.blobs


async def test_run_passes_everything_on_in_canonical_order(
    server: FakeReapiServer, cli: Cli
) -> None:
    options = ("--env", "B=2=2", "--env", "A=", "--platform", "os=linux", "--platform", "cpu=x")
    outputs = ("--output", "sub/z", "--output", "sub/a", "--output", "./sub/z")
    ended = await cli(
        *("run", *options, *outputs, "--workdir", "sub", "--timeout", "1.5m", "--no-cache"),
        *("--", "step", "--env", "-- kept"),
    )
    assert ended.exit_code == 0, ended.stderr
    ((request, action, command),) = server.execution.executed
    assert list(command.arguments) == ["step", "--env", "-- kept"]
    assert [(e.name, e.value) for e in command.environment_variables] == [("A", ""), ("B", "2=2")]
    assert [(p.name, p.value) for p in action.platform.properties] == [
        ("cpu", "x"),
        ("os", "linux"),
    ]
    assert command.working_directory == "sub"
    assert list(command.output_paths) == ["a", "z"]
    assert action.timeout.seconds == 90
    assert request.skip_cache_lookup
    assert server.metadata[-1].tool_details.tool_name == "reapi-cli"


async def test_run_json_is_one_object(server: FakeReapiServer, cli: Cli) -> None:
    server.execution.runs["step",] = FakeRun(
        exit_code=3, stdout=b"out", stderr=b"\xff", files={"o": b"data"}
    )
    ended = await cli("run", "--json", "--output", "o", "--", "step")
    told = ended.json
    assert ended.exit_code == told.pop("exit_code") == 3
    action_digest = told.pop("action_digest")
    assert action_digest in map(str, server.blobs.blobs)
    assert told == {
        "cached": False,
        "operation": "operations/1",
        "worker": "fake-worker",
        "timings": {
            "queued_seconds": None,
            "input_fetch_seconds": None,
            "execution_seconds": 3.0,
            "output_upload_seconds": None,
        },
        "outputs": [
            {
                "name": "o",
                "kind": "file",
                "digest": str(digest_of(b"data")),
                "is_executable": False,
                "target": None,
            }
        ],
        "stdout": "out",
        "stdout_digest": str(digest_of(b"out")),
        "stderr": None,
        "stderr_digest": str(digest_of(b"\xff")),
        "message": "",
        "timed_out": False,
        "usage": None,
    }
    assert next(iter(told["outputs"][0])) == "name"


async def test_run_exits_124_when_the_command_times_out(server: FakeReapiServer, cli: Cli) -> None:
    server.execution.runs["slow",] = FakeRun(error=DeadlineExceeded("execution timeout exceeded"))
    ended = await cli("run", "--timeout", "1s", "slow")
    assert ended.exit_code == 124
    assert "longer than its timeout" in ended.stderr


@pytest.mark.parametrize(
    "error",
    [
        FailedPrecondition("no worker has GPU"),
        InvalidArgument("bad command"),
        BlobsMissing(["blobs/aa/1"]),
    ],
)
async def test_run_exits_125_when_the_server_refuses(
    server: FakeReapiServer, cli: Cli, error: FailedPrecondition
) -> None:
    server.execution.runs["step",] = FakeRun(error=error)
    ended = await cli("run", "step")
    assert (ended.exit_code, ended.stdout) == (125, b"")
    assert ended.stderr.startswith(f"reapi-cli: {error.message}")
    assert ended.stderr.count("\n") <= 2


async def test_everything_exits_125_when_the_server_is_down(cli: Cli) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        cli.server = f"grpc://127.0.0.1:{unused.getsockname()[1]}"
        for arguments in (("run", "true"), ("status",), ("cat", str(digest_of(b"x")))):
            ended = await cli(*arguments)
            assert ended.exit_code == 125
            assert ended.stderr.startswith(f"reapi-cli: cannot reach a server at {cli.server[7:]}")
            assert ended.stderr.count("\n") == 1


async def test_a_wrong_instance_is_told_in_the_words_of_the_server(cli: Cli) -> None:
    ended = await cli("--instance", "wrong", "run", "true")
    assert ended.exit_code == 125
    assert "unknown instance 'wrong'; this server has ''" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--input", "absent", "--", "true"), "input absent does not exist"),
        (("run", "--input", "../project", "--input", "..", "--", "true"), ".. is outside of"),
        (("run", "--output", "/etc/x", "--", "true"), "/etc/x is outside of"),
        (("run", "--workdir", "a", "--output", "b", "--", "true"), "not below the working"),
        (("run",), "Missing argument"),
        (("run", "--timeout", "soon", "--", "true"), "'soon' is not a duration"),
        (("run", "--env", "X", "--", "true"), "'X' is not of the form K=V"),
        (("cat", "abc"), "'abc' is not a digest: write it as HASH/SIZE"),
        (("ls", "ABC/1"), "no digest function here has hashes of 3 characters"),
        (("upload", "absent"), "'absent' does not exist"),
        (("nonsense",), "No such command 'nonsense'"),
        (("--server", "http://x", "status"), "write it as grpc://HOST:PORT"),
    ],
)
async def test_a_mistake_of_the_user_is_told_in_two_lines_and_exits_125(
    cli: Cli, arguments: tuple[str, ...], message: str
) -> None:
    ended = await cli(*arguments)
    assert (ended.exit_code, ended.stdout) == (125, b"")
    assert message in ended.stderr
    assert ended.stderr.startswith("reapi-cli: ")
    assert ended.stderr.count("\n") <= 2


async def test_ctrl_c_cancels_the_operation_and_exits_130(
    server: FakeReapiServer, cli: Cli
) -> None:
    server.execution.runs["hang",] = FakeRun(hangs=True)
    process = await cli.start("run", "hang")
    await server.execution.execute_arrived.wait()
    process.send_signal(signal.SIGINT)
    stdout, stderr = await process.communicate()
    assert (process.returncode, stdout, stderr) == (130, b"", b"")
    assert server.execution.cancelled_names == ["operations/1"]


async def test_an_interrupted_upload_is_resumed(server: FakeReapiServer, cli: Cli) -> None:
    (cli.directory / "large").write_bytes(bytes(3 << 20))
    server.drop_writes_after_bytes = [1 << 20]
    ended = await cli("upload", "large")
    assert (ended.exit_code, ended.stdout) == (0, f"{digest_of(bytes(3 << 20))}\n".encode())
    assert server.written_offsets == [0, 1 << 20]


async def test_a_run_outlives_broken_streams(server: FakeReapiServer, cli: Cli) -> None:
    server.failures["FindMissingBlobs"].append(Unavailable("restarting"))
    server.execution.drop_after_messages = [1, 0]
    server.execution.runs["step",] = FakeRun(exit_code=9)
    assert (await cli("run", "step")).exit_code == 9


async def test_missing_blobs_are_uploaded_again(server: FakeReapiServer, cli: Cli) -> None:
    (cli.directory / "in").write_text("in")
    server.failures["Execute"].append(BlobsMissing([digest_of(b"in").subject]))
    assert (await cli("run", "--input", "in", "step")).exit_code == 0
    assert server.calls["Execute"] == 2
    assert server.calls["FindMissingBlobs"] == 2


async def test_upload_ls_cat_and_download_agree(server: FakeReapiServer, cli: Cli) -> None:
    (cli.directory / "tree/sub").mkdir(parents=True)
    (cli.directory / "tree/sub/file").write_bytes(b"bytes\xff")
    (cli.directory / "tree/tool").write_text("#!")
    (cli.directory / "tree/tool").chmod(0o755)
    (cli.directory / "tree/link").symlink_to("sub/file")
    uploaded = (await cli("upload", "--json", "tree")).json
    assert uploaded["name"] == "tree"
    assert uploaded["kind"] == "directory"
    assert uploaded["uploaded_blobs"] == 4
    listed = await cli("ls", "--recursive", uploaded["digest"])
    assert [line.split()[0] for line in listed.stdout.decode().splitlines()] == [
        "KIND",
        "symlink",
        "directory",
        "file",
        "executable",
    ]
    names = [entry["name"] for entry in (await cli("ls", "-r", "--json", uploaded["digest"])).json]
    assert names == ["link", "sub", "sub/file", "tool"]
    assert (await cli("cat", str(digest_of(b"bytes\xff")))).stdout == b"bytes\xff"
    assert (await cli("download", "--tree", uploaded["digest"], "copy")).exit_code == 0
    assert (await cli("upload", "copy")).stdout.decode().strip() == uploaded["digest"]
    assert (await cli("download", str(digest_of(b"#!")), "one/file")).exit_code == 0
    assert (cli.directory / "one/file").read_text() == "#!"


async def test_image_import_prints_the_property_that_asks_for_the_image(
    server: FakeReapiServer, cli: Cli
) -> None:
    with tarfile.open(cli.directory / "rootfs.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("file"))
        device = tarfile.TarInfo("dev/null")
        device.type = tarfile.CHRTYPE
        archive.addfile(device)
    imported = await cli("image", "import", "rootfs.tar")
    assert imported.exit_code == 0
    assert "1 files, 1 directories and 0 symlinks" in imported.stderr
    assert "left out: 1 character devices" in imported.stderr
    found = (await cli("image", "import", "--json", "rootfs.tar")).json
    shown = "container-image=tree:" + found["tree_digest"]
    assert (
        imported.stdout.decode().strip() == shown == "=".join(found["platform_property"].values())
    )
    assert found["uploaded_blobs"] == 0
    listed = (await cli("ls", "--json", found["root_digest"])).json
    assert [entry["name"] for entry in listed] == ["dev", "file"]


async def test_image_import_of_what_is_no_archive_says_so(cli: Cli) -> None:
    (cli.directory / "rootfs.tar").write_text("nothing like it")
    imported = await cli("image", "import", "rootfs.tar")
    assert imported.exit_code == 125
    assert "rootfs.tar is not a tar archive" in imported.stderr


async def test_cat_of_an_absent_blob_says_so(cli: Cli) -> None:
    ended = await cli("cat", str(digest_of(b"absent")))
    assert (ended.exit_code, ended.stdout) == (125, b"")
    assert str(digest_of(b"absent")) in ended.stderr


async def test_action_shows_the_command_and_its_result(server: FakeReapiServer, cli: Cli) -> None:
    server.execution.runs["step", "a b"] = FakeRun(exit_code=0, stdout=b"out")
    told = (await cli("run", "--json", "--env", "K=V", "--", "step", "a b")).json
    shown = (await cli("action", told["action_digest"])).stdout.decode()
    assert "step 'a b'" in shown
    assert "K=V" in shown
    assert "not cached" in shown
    details = (await cli("action", "--json", told["action_digest"])).json
    assert details["name"] == told["action_digest"]
    assert details["arguments"] == ["step", "a b"]
    assert details["result"] is None


async def test_operations_are_listed_shown_and_cancelled(server: FakeReapiServer, cli: Cli) -> None:
    server.execution.runs["fail",] = FakeRun(exit_code=4)
    assert (await cli("run", "fail")).exit_code == 4
    (listed,) = (await cli("operations", "list", "--json")).json
    assert next(iter(listed)) == "name"
    assert (listed["name"], listed["done"], listed["exit_code"]) == ("operations/1", True, 4)
    assert "exit 4" in (await cli("operations", "list")).stdout.decode()
    assert b"fake-worker" in (await cli("operations", "show", "operations/1")).stdout
    assert (await cli("operations", "cancel", "operations/1")).exit_code == 0
    ended = await cli("operations", "cancel", "nonsense")
    assert (ended.exit_code, ended.stderr) == (125, "reapi-cli: no operation 'nonsense'\n")


async def test_workers_and_status_are_shown(server: FakeReapiServer, cli: Cli) -> None:
    worker = Worker(worker_id="one", slots=4, connected=True, operations=["o"], cordoned=True)
    worker.resources.add(name="cpu", amount=4000)
    worker.resources.add(name="memory", amount=8 << 30)
    worker.booked.add(name="cpu", amount=1500)
    server.workers.append(worker)
    for command in (("workers",), ("workers", "list")):
        assert b"one   cordoned  1/4   cpu 1.5/4" in (await cli(*command)).stdout
    (told,) = (await cli("workers", "--json")).json
    assert told == {
        "name": "one",
        "slots": 4,
        "state": "cordoned",
        "platform": [],
        "operations": ["o"],
        "resources": {"cpu": 4000, "memory": 8 << 30},
        "booked": {"cpu": 1500},
        "ordinal": None,
        "last_heard": None,
    }
    assert (await cli("workers", "list", "--json")).json == [told]
    status = (await cli("status", "--json")).json
    assert status["api_versions"] == "2.0 to 2.3"
    assert status["can_execute"] is True
    assert status["scheduler"] == {"error": "none here, or one that does not tell"}
    assert b"SHA256" in (await cli("status")).stdout


async def test_a_directory_output_is_written(server: FakeReapiServer, cli: Cli) -> None:
    tree = Tree()
    file_digest = server.blobs.add(b"inside")
    tree.root.files.add(name="file", digest=file_digest.to_message())
    server.execution.runs["step",] = FakeRun(trees={"out": tree})
    assert (await cli("run", "--output", "out", "step")).exit_code == 0
    assert (cli.directory / "out/file").read_bytes() == b"inside"


@pytest.mark.parametrize(
    "run",
    [
        FakeRun(files={"Makefile": b"evil"}),
        FakeRun(files={"../evil": b"evil"}),
        FakeRun(symlinks={"out": "../../evil"}),
        FakeRun(symlinks={"out": "/evil"}),
    ],
)
async def test_B18_a_server_cannot_write_what_was_not_declared(
    server: FakeReapiServer, cli: Cli, run: FakeRun
) -> None:
    server.execution.runs["step",] = run
    ended = await cli("run", "--output", "out", "step")
    assert ended.exit_code == 125
    assert "refused" in ended.stderr
    assert list(cli.directory.iterdir()) == []


async def test_settings_come_from_the_project_file(server: FakeReapiServer, cli: Cli) -> None:
    (cli.directory / "reapi.toml").write_text('instance_name = "wrong"')
    assert "unknown instance 'wrong'" in (await cli("status")).stderr
    (cli.directory / "reapi.toml").write_text("sever = 1")
    ended = await cli("status")
    assert "reapi.toml: unknown key 'sever'" in ended.stderr


async def test_B6_a_digest_function_is_a_flag_and_checked(
    server: FakeReapiServer, cli: Cli
) -> None:
    ended = await cli("--digest-function", "blake3", "run", "step")
    assert ended.exit_code == 125
    assert "does not serve digest function BLAKE3" in ended.stderr
    assert "it serves SHA256" in ended.stderr
    for arguments in (("run", "step"), ("cat", f"{'a' * 64}/1")):
        ended = await cli("--digest-function", "MD5", *arguments)
        assert ended.exit_code == 125
        assert "'MD5' is none of the digest functions SHA256, BLAKE3" in ended.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion_prints_a_script(cli: Cli, shell: str) -> None:
    ended = await cli("completion", shell)
    assert ended.exit_code == 0
    assert b"_REAPI_CLI_COMPLETE" in ended.stdout


async def test_help_shows_an_example_and_does_not_import_grpc(cli: Cli) -> None:
    for command in ("run", "upload", "download", "cat", "ls", "action", "workers", "status"):
        assert b"Example" in (await cli(command, "--help")).stdout
    probe = "import sys; sys.argv = ['reapi-cli', '--help']; import atexit; " + (
        "atexit.register(lambda: print('loaded', 'grpc' in sys.modules)); "
        "from reapi.clients.cli.__main__ import main; main()"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", probe, stdout=PIPE)
    stdout, _ = await process.communicate()
    assert stdout.endswith(b"loaded False\n")


async def test_completion_completes(cli: Cli) -> None:
    process = await cli.start(
        environment={"_REAPI_CLI_COMPLETE": "bash_complete"}
        | {"COMP_WORDS": "reapi-cli operations c", "COMP_CWORD": "2"}
    )
    stdout, _ = await process.communicate()
    assert stdout == b"plain,cancel\n"


async def test_a_terminal_sees_a_progress_line_that_is_gone_at_the_end(
    server: FakeReapiServer, cli: Cli
) -> None:
    terminal, stderr = os.openpty()
    try:
        process = await cli.start("run", "step", stderr=stderr, environment={"TERM": "xterm"})
        stdout, _ = await process.communicate()
        seen = os.read(terminal, 10_000)
    finally:
        os.close(terminal)
        os.close(stderr)
    assert (process.returncode, stdout) == (0, b"")
    assert b"uploading 0/2 blobs" in seen
    assert b"queued" in seen
    assert seen.endswith(b"\r\x1b[K")
