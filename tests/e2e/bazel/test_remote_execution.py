"""Bazel with --remote_executor: everything runs there, once, and failures look like failures."""

import pytest

from tests.e2e.bazel.invocation import Bazel
from tests.server_process import ServerProcess

BUILD_FAILED = 1
TESTS_FAILED = 3


def remote(server: ServerProcess) -> tuple[str, ...]:
    """Everything runs remotely; what cannot is a failure."""
    return ("--config=remote", f"--remote_executor=grpc://{server.grpc}")


def test_a_first_build_runs_everything_remotely_and_after_clean_everything_is_a_cache_hit(
    bazel: Bazel, server: ServerProcess
) -> None:
    first = bazel.succeed("test", "//...", *remote(server))
    assert list(first.processes) == ["remote"]

    bazel.succeed("clean")
    again = bazel.succeed("test", "//...", *remote(server))
    assert again.processes == {"remote cache hit": first.processes["remote"]}


@pytest.mark.soak
def test_noremote_accept_cached_executes_everything_again(
    bazel: Bazel, server: ServerProcess
) -> None:
    first = bazel.succeed("build", "//text/...", *remote(server))
    bazel.succeed("clean")
    again = bazel.succeed("build", "//text/...", "--noremote_accept_cached", *remote(server))
    assert again.processes == first.processes


def test_remote_download_minimal_builds_everything_and_downloads_no_final_output(
    bazel: Bazel, server: ServerProcess
) -> None:
    first = bazel.succeed("build", "//...", "--remote_download_minimal", *remote(server))
    assert list(first.processes) == ["remote"]
    assert not bazel.output("app/count").exists()
    assert not bazel.output("outputs/five_mebibytes.txt").exists()

    bazel.succeed("clean")
    again = bazel.succeed("build", "//...", "--remote_download_minimal", *remote(server))
    assert again.processes == {"remote cache hit": first.processes["remote"]}
    assert not bazel.output("app/count").exists()


@pytest.mark.soak
def test_what_a_command_says_on_standard_error_is_shown_also_from_the_cache(
    bazel: Bazel, server: ServerProcess
) -> None:
    for place in ("remote", "remote cache hit"):
        build = bazel.succeed("build", "//outputs:warning", *remote(server))
        assert build.processes == {place: 1}
        assert "a warning on standard error" in build.output
        bazel.succeed("clean")


def test_a_failing_command_fails_the_build_with_its_exit_code_and_its_words(
    bazel: Bazel, server: ServerProcess
) -> None:
    for _ in range(2):  # a failure is not cached, and not taken for a success later
        build = bazel.run("build", "//failing:target", *remote(server))
        assert build.exit_code == BUILD_FAILED
        assert "(Exit 7)" in build.output
        assert "the disk of the cook is full" in build.output
    assert bazel.succeed("build", "//outputs:nothing", *remote(server)).processes == {"remote": 1}


def test_a_failing_test_is_reported_as_failed_with_its_output(
    bazel: Bazel, server: ServerProcess
) -> None:
    tested = bazel.run("test", "//failing:test", *remote(server))
    assert tested.exit_code == TESTS_FAILED
    assert "expected tea, got coffee" in tested.output
    assert "FAILED" in tested.output


@pytest.mark.timeout(120)  # far less than the hour for which the test's child would hang
def test_a_hanging_test_times_out_when_its_time_is_up(bazel: Bazel, server: ServerProcess) -> None:
    tested = bazel.run("test", "//failing:hanging_test", "--test_timeout=2", *remote(server))
    assert tested.exit_code == TESTS_FAILED
    assert "TIMEOUT" in tested.output
    assert "waiting for ever" in tested.output
