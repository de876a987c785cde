"""Commands whose root file system is their input root or an image, as they see it themselves."""

import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from reapi.core.digest import SHA256, Digest
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.reapi.executor.v1.isolation_pb2 import Isolation
from tests.unit.executor.harness import (
    Executable,
    Harness,
    Link,
    Tree,
    needs_root,
    open_harness,
)
from tests.unit.executor.test_images import add_image

PROGRAM = Path("/bin/busybox")
BUSYBOX = Executable(PROGRAM.read_bytes() if PROGRAM.exists() else b"")
HOSTS = Path("/etc/hosts").read_text()
APPLETS = ("cat", "chmod", "cp", "id", "ln", "ls", "mkdir", "mv", "rm", "sh", "sleep", "wget")
ROOT: Tree = {
    "bin": {"busybox": BUSYBOX, **{name: Link("busybox") for name in APPLETS}},
    "work": {"input": b"the input"},
}
ENCLOSED = [
    pytest.param((True, "bubblewrap"), marks=needs_root, id="separate-uid-bubblewrap"),
    pytest.param((False, "bubblewrap"), id="same-uid-bubblewrap"),
]
WITH_ROOTS = [*ENCLOSED, pytest.param((True, "none"), marks=needs_root, id="chroot")]


@pytest.fixture(autouse=True)
def _busybox() -> None:
    if not BUSYBOX.data:
        pytest.fail(
            "busybox is missing; run `scripts/install_system_packages.sh busybox`", pytrace=False
        )


@pytest.fixture(params=WITH_ROOTS)
async def harness(request: pytest.FixtureRequest, reachable_path: Path) -> AsyncIterator[Harness]:
    """A slot in each of the ways to make an input root the root."""
    separate_uid, sandbox = request.param
    async with open_harness(reachable_path, separate_uid=separate_uid, sandbox=sandbox) as opened:
        yield opened


@pytest.fixture(params=ENCLOSED)
async def enclosed(request: pytest.FixtureRequest, reachable_path: Path) -> AsyncIterator[Harness]:
    """A slot in each of the ways to use an image."""
    separate_uid, sandbox = request.param
    async with open_harness(reachable_path, separate_uid=separate_uid, sandbox=sandbox) as opened:
        yield opened


@pytest.fixture
async def unable(reachable_path: Path) -> AsyncIterator[Harness]:
    """A slot that has nothing but the host's tools."""
    async with open_harness(reachable_path, separate_uid=False, sandbox="none") as opened:
        yield opened


@pytest.fixture
def listener() -> Iterator[int]:
    """A port of this machine where somebody takes a connection and says hello."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            try:
                connection, _ = server.accept()
            except OSError:
                return  # nobody came
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello")

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


async def sh(
    harness: Harness, script: str, tree: Tree = ROOT, *, must_succeed: bool = True, **options: Any
) -> re_pb2.ExecuteResponse:
    response = await harness.sh(script, tree, working_directory="work", **options)
    assert not response.status.code, response.status.message
    if must_succeed:
        assert response.result.exit_code == 0, harness.stderr(response)
    return response


def directory(harness: Harness, digest: re_pb2.Digest) -> dict[str, Any]:
    """The output directory with this root; symlinks as their targets."""
    message = re_pb2.Directory.FromString(
        harness.store.blobs[Digest(digest.hash, digest.size_bytes, SHA256)]
        if digest.size_bytes
        else b""
    )
    found: dict[str, Any] = {file.name: file.is_executable for file in message.files}
    found |= {link.name: link.target for link in message.symlinks}
    return found | {node.name: directory(harness, node.digest) for node in message.directories}


def isolation_of(response: re_pb2.ExecuteResponse) -> Isolation:
    message = Isolation()
    (packed,) = (
        each
        for each in response.result.execution_metadata.auxiliary_metadata
        if each.Is(Isolation.DESCRIPTOR)
    )
    packed.Unpack(message)
    return message


async def test_the_input_root_is_all_that_a_command_sees(harness: Harness) -> None:
    response = await sh(harness, "ls /; cat /work/input; cat input; ls /work/../.. >/dev/null")
    listed, _, said = harness.stdout(response).rpartition("work\n")
    assert set(listed.split()) == {"bin", "dev", "proc", "tmp"}
    assert said == "the input" * 2
    assert isolation_of(response).root == "input root"


async def test_the_usual_devices_and_a_tmp_are_there(harness: Harness) -> None:
    await sh(harness, "echo x > /dev/null && cp /dev/null /tmp/empty && ls $TMPDIR/empty")
    response = await sh(harness, "ls /tmp; busybox head -c 4 /dev/zero; busybox ls /dev/urandom")
    assert harness.stdout(response) == "\0\0\0\0/dev/urandom\n"


async def test_a_command_is_root_inside_of_bubblewrap(enclosed: Harness) -> None:
    response = await sh(enclosed, "id -u; id -g; echo 1 > x; busybox chown 0:0 x")
    assert harness_words(enclosed, response) == ["0", "0"]


def harness_words(harness: Harness, response: re_pb2.ExecuteResponse) -> list[str]:
    return harness.stdout(response).split()


async def test_absolute_and_climbing_output_paths_meet(harness: Harness) -> None:
    """As BuildStream does: it works in a directory and installs to an absolute path."""
    response = await sh(
        harness,
        "mkdir -p /install/share empty && echo 1 > /install/share/file && ln -s ../input link",
        output_paths=[".", "../install"],
        output_directory_format=re_pb2.Command.DIRECTORY_ONLY,
    )
    built, installed = response.result.output_directories
    assert directory(harness, built.root_directory_digest) == {
        "input": False,
        "empty": {},
        "link": "../input",
    }
    assert directory(harness, installed.root_directory_digest) == {"share": {"file": False}}


async def test_what_was_made_to_mount_upon_is_in_no_output(harness: Harness) -> None:
    tree: Tree = {**ROOT, "dev": {"own": b""}}
    for _ in range(2):
        response = await harness.sh(
            "echo 1 > /file; echo 2 > /tmp/file; echo 3 > /dev/null",
            tree,
            output_paths=[""],
            output_directory_format=re_pb2.Command.TREE_AND_DIRECTORY,
        )
        assert not response.status.code, response.status.message
        (root,) = response.result.output_directories
        found = directory(harness, root.root_directory_digest)
        assert found.keys() == {"bin", "work", "dev", "file"}
        assert found["dev"] == {"own": False}


async def test_a_tmp_in_use_is_that_of_the_input_root(harness: Harness) -> None:
    tree: Tree = {**ROOT, "tmp": {"input": b"from the client"}}
    response = await sh(harness, "cat /tmp/input; echo 1 > /tmp/out", tree, output_paths=["../tmp"])
    assert harness.stdout(response) == "from the client"
    (output,) = response.result.output_directories
    assert output.path == "../tmp"
    response = await sh(harness, "echo 1 > /tmp/out", output_paths=["../tmp/out"])
    assert [file.path for file in response.result.output_files] == ["../tmp/out"]


async def test_one_action_leaves_nothing_to_the_next(harness: Harness) -> None:
    await sh(harness, "echo 1 > /left; echo 2 > /tmp/left; mkdir /proc/x /dev/x; rm -r /work; :")
    response = await sh(harness, "ls / /tmp; cat input")
    assert "left" not in harness_words(harness, response)
    assert harness.stdout(response).endswith("the input")


@needs_root
async def test_S10_cached_inputs_cannot_be_altered(isolated: Harness) -> None:
    script = "chmod u+w input; echo bad > input; mv input moved; echo good > input; cat moved"
    for _ in range(2):
        response = await sh(isolated, script)
        assert harness_words(isolated, response) == ["the", "input"]


async def test_S6_a_device_directory_that_an_action_swapped_leads_nowhere(
    harness: Harness, reachable_path: Path
) -> None:
    bait = reachable_path / "bait"
    bait.mkdir()
    for name in ("null", "zero"):
        os.mknod(bait / name, stat.S_IFCHR if os.geteuid() == 0 else stat.S_IFREG, os.makedev(1, 3))
    script = f"mv /dev /gone; ln -s {bait} /dev; exit 0"
    await sh(harness, script)
    assert sorted(os.listdir(bait)) == ["null", "zero"]
    response = await sh(harness, "echo 1 > /dev/null; ls -l /dev/null")
    assert harness.stdout(response).startswith("crw-rw-rw-")


async def test_S6_nothing_is_mounted_on_what_a_symlink_leads_to(enclosed: Harness) -> None:
    for etc in ({"hosts": Link("../work/input")}, Link("work")):
        tree: Tree = {**ROOT, "etc": etc, "work": {"input": b"1", "hosts": b"2"}}
        response = await sh(enclosed, "cat input hosts", tree, platform={"network": "on"})
        assert enclosed.stdout(response) == "12"
    assert Path("/etc/hosts").read_text() == HOSTS  # noqa: ASYNC240 a small file


async def test_a_program_that_is_not_there_ends_with_127(harness: Harness) -> None:
    response = await harness.run(["absent"], ROOT, platform={"input-root": "/"})
    assert response.result.exit_code == 127
    response = await harness.run(["/work/input"], ROOT, platform={"input-root": "/"})
    assert response.result.exit_code == 126


async def test_a_host_tool_is_no_tool_of_an_input_root(harness: Harness) -> None:
    response = await harness.run(["/usr/bin/env"], ROOT, platform={"input-root": "/"})
    assert response.result.exit_code == 127


async def test_a_timeout_ends_everything_below_the_root(harness: Harness) -> None:
    response = await harness.sh("sleep 1000 & sleep 1000", ROOT, timeout_seconds=0.3)
    assert response.status.message == "execution timeout exceeded"


async def test_the_property_overrules_what_would_be_found_out(harness: Harness) -> None:
    response = await harness.run(["sh", "-c", "ls /"], ROOT, platform={"input-root": "host"})
    assert "usr" in harness_words(harness, response)
    assert isolation_of(response).root in ("host", "host tools")
    tree: Tree = {"busybox": BUSYBOX}
    response = await harness.run(["/busybox", "ls", "/"], tree, platform={"input-root": "/"})
    assert isolation_of(response).root == "input root"
    assert set(harness_words(harness, response)) == {"busybox", "dev", "proc", "tmp"}


async def test_a_file_in_the_way_of_a_mount_is_named(harness: Harness) -> None:
    response = await harness.sh("true", {**ROOT, "proc": b""})
    assert response.status.code == 9
    assert "'proc' is not a directory" in response.status.message


async def test_a_worker_that_cannot_do_it_says_why_and_runs_nothing(unable: Harness) -> None:
    response = await unable.sh("true", ROOT)
    assert response.status.code == 9
    assert "no working bubblewrap" in response.status.message
    assert "input-root=host" in response.status.message
    image = {"container-image": f"tree:{add_image(unable.store, ROOT)}"}
    response = await unable.sh("true", platform=image)
    assert response.status.code == 9
    assert "in images" in response.status.message
    assert unable.starts == 0
    response = await unable.sh("ls /", ROOT, platform={"input-root": "host"})
    assert response.result.exit_code == 0


async def test_a_command_in_an_image_has_its_input_root_beside_it(enclosed: Harness) -> None:
    digest = add_image(enclosed.store, {**ROOT, "etc": {"os-release": b"busy"}})
    response = await enclosed.sh(
        "pwd; cat /etc/os-release a; id -u; ls /; echo 1 > out; touch /x /work/x; echo 2 > /tmp/y",
        {"a": b"input"},
        platform={"container-image": f"tree:{digest}"},
        output_paths=["out"],
    )
    words = harness_words(enclosed, response)
    assert words[:3] == ["/build", "busyinput0", "bin"]
    assert words[2:] == ["bin", "build", "dev", "etc", "proc", "tmp", "work"]
    assert "Read-only file system" in enclosed.stderr(response)
    assert [file.path for file in response.result.output_files] == ["out"]
    assert isolation_of(response).root == "image"


async def test_the_tools_of_the_host_are_not_in_an_image(enclosed: Harness) -> None:
    platform = {"container-image": f"tree:{add_image(enclosed.store, ROOT)}"}
    response = await enclosed.run(["/usr/bin/env"], platform=platform)
    assert response.result.exit_code == 127


async def test_EX7_what_is_missing_of_an_image_is_named(enclosed: Harness) -> None:
    digest = add_image(enclosed.store, {"bin": {"sh": b"absent"}})
    absent = next(d for d, data in enclosed.store.blobs.items() if data == b"absent")
    del enclosed.store.blobs[absent]
    response = await enclosed.sh("true", platform={"container-image": f"tree:{digest}"})
    assert response.status.code == 9
    assert absent.hash in response.status.details[0].value.decode(errors="replace")
    assert enclosed.starts == 0


@pytest.mark.parametrize("place", ["input root", "image"])
async def test_the_network_is_off_unless_it_is_asked_for(
    enclosed: Harness, listener: int, place: str
) -> None:
    tree: Tree = {**ROOT, "etc": {"resolv.conf": b"", "hosts": b""}}
    platform: dict[str, str] = {}
    if place == "image":
        platform["container-image"] = f"tree:{add_image(enclosed.store, ROOT)}"
    script = f"busybox wget -q -O - http://127.0.0.1:{listener}/ && cat /etc/hosts"
    response = await enclosed.sh(script, tree, platform=platform)
    assert response.result.exit_code != 0
    response = await enclosed.sh(script, tree, platform={**platform, "network": "on"})
    assert response.result.exit_code == 0, enclosed.stderr(response)
    assert enclosed.stdout(response) == "hello" + HOSTS
