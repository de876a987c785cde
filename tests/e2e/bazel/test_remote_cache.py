"""Bazel with --remote_cache alone: actions run here, their results are shared."""

from tests.e2e.bazel.invocation import Bazel
from tests.server_process import ServerProcess


def test_a_local_build_fills_the_cache_and_another_machine_only_has_hits(
    bazel: Bazel, server: ServerProcess
) -> None:
    cache = f"--remote_cache=grpc://{server.grpc}"
    first = bazel.succeed("test", "//...", cache)
    assert "remote cache hit" not in first.processes

    again = bazel.elsewhere().succeed("test", "//...", cache)
    assert again.processes == {"remote cache hit": sum(first.processes.values())}


def test_a_failure_is_not_cached(bazel: Bazel, server: ServerProcess) -> None:
    cache = f"--remote_cache=grpc://{server.grpc}"
    assert bazel.run("build", "//failing:target", cache).exit_code == 1
    again = bazel.run("build", "//failing:target", cache)
    assert again.exit_code == 1
    assert "the disk of the cook is full" in again.output
