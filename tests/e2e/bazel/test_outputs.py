"""What was built remotely is what a local build gives: bytes, permissions, directories."""

import os
import stat
import subprocess
from pathlib import Path

from tests.e2e.bazel.invocation import Bazel
from tests.server_process import ServerProcess

FILES = (
    "app/count",
    "app/report.txt",
    "outputs/first/of_two.txt",
    "outputs/five_mebibytes.txt",
    "outputs/nothing.txt",
    "outputs/script.sh",
    "outputs/script_output.txt",
    "outputs/second/of_two.txt",
    "outputs/tree_listing.txt",
    "outputs/warning.txt",
    "text/libcounter.a",
    "text/libwords.a",
)
TREE = "outputs/tree"


def entries(root: Path) -> dict[str, tuple[int, bytes | None]]:
    """Every path below root: its type and permissions, and its bytes if it is a file."""
    found: dict[str, tuple[int, bytes | None]] = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        found[str(path.relative_to(root))] = (
            mode,
            path.read_bytes() if stat.S_ISREG(mode) else None,
        )
    return found


def test_remote_outputs_are_byte_identical_with_local_ones(
    bazel: Bazel, server: ServerProcess
) -> None:
    bazel.succeed("build", "//...")
    local = {name: bazel.output(name).read_bytes() for name in FILES}
    local_tree = entries(bazel.output(TREE))

    away = bazel.elsewhere()
    away.succeed("build", "//...", "--config=remote", f"--remote_executor=grpc://{server.grpc}")
    assert {name for name in FILES if away.output(name).read_bytes() != local[name]} == set()
    assert entries(away.output(TREE)) == local_tree


def test_programs_run_and_directories_arrive_whole(bazel: Bazel, server: ServerProcess) -> None:
    executor = f"--remote_executor=grpc://{server.grpc}"
    bazel.succeed("build", "//app/...", "//outputs/...", "--config=remote", executor)

    counted = subprocess.run(
        [bazel.output("app/count")], input="tea, Tea", capture_output=True, text=True, check=True
    )
    assert counted.stdout == "2 tea\n"
    assert os.access(bazel.output("outputs/script.sh"), os.X_OK)
    assert bazel.output("outputs/nothing.txt").stat().st_size == 0
    assert bazel.output("outputs/five_mebibytes.txt").stat().st_size == 5 << 20

    tree = bazel.output(TREE)
    assert list(bazel.output("outputs/empty_tree").iterdir()) == []
    assert (tree / "deep" / "er" / "file.txt").read_text() == "content"
    said = subprocess.run([tree / "program.sh"], capture_output=True, text=True, check=True)
    assert said.stdout == "hello from the tree\n"
