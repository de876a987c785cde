"""The Python API, async and sync."""

import asyncio
import inspect
import sys
from pathlib import Path

import pytest

import reapi.clients
from reapi.clients import (
    Activity,
    Client,
    CommandTimedOut,
    EntryKind,
    RunProgress,
    SyncClient,
)
from reapi.core.digest import digest_of, function_named
from reapi.core.errors import DeadlineExceeded, InvalidArgument, NotFound
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult, Tree
from tests.fakes.fake_execution import FakeRun
from tests.fakes.reapi_server import FakeReapiServer


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/in").write_text("input")
    return tmp_path / "root"


def test_all_that_is_public_can_be_imported() -> None:
    for name in reapi.clients.__all__:
        assert getattr(reapi.clients, name).__doc__
    with pytest.raises(AttributeError, match="nonsense"):
        reapi.clients.nonsense  # noqa: B018


@pytest.mark.parametrize("name", ["BLAKE3", "sha512"])
async def test_B6_a_digest_function_that_is_not_announced_is_refused_with_those_that_are(
    server: FakeReapiServer, root: Path, name: str
) -> None:
    """reliability B6, told before anything is sent."""
    digest = digest_of(b"x", function_named(name))
    async with Client(server.address, instance_name="", digest_function=name) as client:
        for call in (
            client.run(["step"], inputs=["in"], root=root),
            client.upload_bytes(b"x"),
            client.upload_file(root / "in"),
            client.upload_tree(root),
            client.read_bytes(digest),
            client.list_directory(digest),
            client.download_file(digest, root / "out"),
            client.download_tree(digest, root / "out"),
            client.get_action(digest),
            client.get_action_result(digest),
            client.execute(digest),
            anext(client.read(digest)),
        ):
            with pytest.raises(InvalidArgument, match=rf"{name.upper()} .* it serves SHA256"):
                await call
    assert set(server.calls) == {"GetCapabilities"}


async def test_a_server_is_asked_once_for_its_digest_functions(server: FakeReapiServer) -> None:
    async with Client(server.address) as client:
        for number in range(3):
            await client.upload_bytes(b"%d" % number)
    assert server.calls["GetCapabilities"] == 1


def test_a_name_that_is_no_digest_function_is_refused_at_once() -> None:
    with pytest.raises(InvalidArgument, match=r"'MD5' .* SHA256, BLAKE3"):
        SyncClient("127.0.0.1:1", digest_function="MD5")


async def test_run_goes_from_files_to_files(server: FakeReapiServer, root: Path) -> None:
    tree = Tree()
    tree.root.symlinks.add(name="up", target="../../in")
    server.execution.runs["step",] = FakeRun(files={"out/file": b"made"}, trees={"out/tree": tree})
    told: list[RunProgress] = []
    async with Client(server.address) as client:
        result = await client.run(
            ["step"],
            inputs=["in"],
            outputs=["out/file", "out/tree"],
            root=root,
            on_progress=told.append,
        )
    assert result.exit_code == 0
    assert not result.cached
    assert result.worker == "fake-worker"
    assert [(entry.path, entry.kind) for entry in result.outputs] == [
        ("out/file", EntryKind.FILE),
        ("out/tree", EntryKind.DIRECTORY),
    ]
    assert (root / "out/file").read_bytes() == b"made"
    assert (root / "out/tree/up").resolve() == root / "in"
    assert list(dict.fromkeys(progress.activity for progress in told)) == [
        Activity.HASHING,
        Activity.UPLOADING,
        Activity.QUEUED,
        Activity.DOWNLOADING,
    ]


async def test_equal_commands_have_equal_action_digests(
    server: FakeReapiServer, root: Path
) -> None:
    async with Client(server.address) as client:
        first = await client.run(["step"], inputs=["in"], env={"A": "1", "B": "2"}, root=root)
        second = await client.run(["step"], inputs=["./in"], env={"B": "2", "A": "1"}, root=root)
        third = await client.run(["step"], inputs=["in"], root=root)
    assert first.action_digest == second.action_digest != third.action_digest


async def test_outputs_in_a_working_directory_come_back_to_it(
    server: FakeReapiServer, root: Path
) -> None:
    tree = Tree()
    tree.root.files.add(name="f", digest=server.blobs.add(b"1").to_message())
    server.execution.runs["step",] = FakeRun(trees={"": tree})
    async with Client(server.address) as client:
        result = await client.run(["step"], outputs=["work"], working_directory="work", root=root)
    assert [entry.path for entry in result.outputs] == ["work"]
    assert (root / "work/f").read_bytes() == b"1"


async def test_a_command_that_took_too_long_has_its_own_error(
    server: FakeReapiServer, root: Path
) -> None:
    server.execution.runs["slow",] = FakeRun(error=DeadlineExceeded("execution timeout exceeded"))
    async with Client(server.address) as client:
        with pytest.raises(CommandTimedOut) as caught:
            await client.run(["slow"], command_timeout=1, root=root)
    assert caught.value.result.operation == "operations/1"
    assert server.execution.executed[0][1].timeout.seconds == 1


async def test_a_method_that_takes_too_long_is_given_up(
    server: FakeReapiServer, root: Path
) -> None:
    server.execution.runs["hang",] = FakeRun(hangs=True)
    async with Client(server.address) as client:
        with pytest.raises(DeadlineExceeded, match=r"gave up after 0\.2 seconds"):
            await client.run(["hang"], root=root, timeout=0.2)


async def test_an_empty_command_is_refused(server: FakeReapiServer, root: Path) -> None:
    async with Client(server.address) as client:
        with pytest.raises(InvalidArgument, match="no command"):
            await client.run([], root=root)


async def test_actions_and_their_results_can_be_looked_up(
    server: FakeReapiServer, root: Path
) -> None:
    async with Client(server.address) as client:
        ran = await client.run(["step"], outputs=["o"], root=root)
        assert (await client.get_action(ran.action_digest)).result is None
        with pytest.raises(NotFound):
            await client.get_action_result(ran.action_digest)
        stored = ActionResult(exit_code=0, stdout_raw=b"text")
        await server.action_cache.put("", ran.action_digest, stored)
        details = await client.get_action(ran.action_digest)
        assert details.command.arguments == ("step",)
        assert details.command.outputs == ("o",)
        assert details.result is not None
        assert details.result.cached
        assert details.result.stdout == b"text"
        again = await client.execute(ran.action_digest)
        assert again.operation == "operations/2"
        with pytest.raises(NotFound, match="action"):
            await client.get_action(digest_of(b"absent"))


async def test_files_and_bytes_go_up_and_down(server: FakeReapiServer, root: Path) -> None:
    (root / "link").symlink_to("in")
    async with Client(server.address) as client:
        assert await client.upload_file(root / "link") == digest_of(b"input")
        assert await client.upload_bytes(b"raw") == digest_of(b"raw")
        assert await client.read_bytes(digest_of(b"raw")) == b"raw"
        await client.download_file(digest_of(b"raw"), root / "new/file", is_executable=True)
        assert (root / "new/file").stat().st_mode & 0o100
        with pytest.raises(NotFound, match="there is no file"):
            await client.upload_file(root / "absent")


def test_the_sync_client_has_every_method_of_the_async_one() -> None:
    for name, method in inspect.getmembers(Client, inspect.iscoroutinefunction):
        if not name.startswith("_"):
            assert inspect.signature(getattr(SyncClient, name)) == inspect.signature(method)
    asynchronous, synchronous = inspect.signature(Client), inspect.signature(SyncClient)
    assert asynchronous.parameters == synchronous.parameters


async def test_the_sync_client_works_in_any_thread(server: FakeReapiServer, root: Path) -> None:
    def work() -> bytes:
        with SyncClient(server.address) as client:
            client.run(["step"], inputs=["in"], root=root)
            with pytest.raises(NotFound):
                client.read_bytes(digest_of(b"absent"))
            return client.read_bytes(digest_of(b"input"))

    assert await asyncio.to_thread(work) == b"input"


@pytest.mark.parametrize("thread", ["main", "another"])
async def test_ctrl_c_in_the_sync_client_cancels_at_the_server(
    server: FakeReapiServer, root: Path, thread: str
) -> None:
    """The system may choose any thread for a signal: it does not wake the main one then."""
    server.execution.runs["hang",] = FakeRun(hangs=True)
    program = (
        "import signal, sys, threading; from reapi.clients import SyncClient\n"
        "def interrupt():\n"
        "    main, here = threading.main_thread().ident, threading.get_ident()\n"
        "    thread = {'main': main, 'another': here}[sys.stdin.read()]\n"
        "    signal.pthread_kill(thread, signal.SIGINT)\n"
        "threading.Thread(target=interrupt).start()\n"
        "with SyncClient(sys.argv[1]) as client: client.run(['hang'])"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, server.address),
        cwd=root,
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await server.execution.execute_arrived.wait()
    _, stderr = await process.communicate(thread.encode())
    assert stderr.endswith(b"KeyboardInterrupt\n")
    assert server.execution.cancelled_names == ["operations/1"]
