"""What a plan is run for, as CI variables and git say."""

import subprocess
from pathlib import Path

import pytest

from reapi.clients.pipeline.checkout import change_of, repository_of
from reapi.clients.pipeline.rules import Change
from tests.unit.clients.pipeline.plans import load

PATHS = "stages: {s: {rules: {path: src}, commands: [x]}}\n"
NO_PATHS = "stages: {s: {commands: [x]}}\n"


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=x")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Two commits on a branch, and a file that git does not know."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-b", "topic")
    (folder / "old").write_text("1")
    (folder / "both").write_text("1")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "one")
    (folder / "both").write_text("2")
    git(folder, "commit", "-am", "two")
    (folder / "new").write_text("1")
    return folder


def test_git_tells_branch_tag_and_changed_files(checkout: Path, tmp_path: Path) -> None:
    plan = load(tmp_path, PATHS)
    assert change_of(checkout, plan, Change(), {}) == Change(
        "topic", "local", None, ("both", "new")
    )
    git(checkout, "tag", "v1")
    assert change_of(checkout, plan, Change(), {}).tag == "v1"


def test_what_is_given_goes_before_all_else(checkout: Path, tmp_path: Path) -> None:
    given = Change("main", "push", "v2", ("src/a.c",))
    assert change_of(checkout, load(tmp_path, PATHS), given, {"GITHUB_ACTIONS": "true"}) == given


def test_changed_files_are_not_asked_for_unless_a_rule_looks_at_them(
    checkout: Path, tmp_path: Path
) -> None:
    assert change_of(checkout, load(tmp_path, NO_PATHS), Change(), {}).changed_paths is None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            {"GITHUB_REF_NAME": "main", "GITHUB_REF_TYPE": "branch", "GITHUB_EVENT_NAME": "push"},
            Change("main", "push"),
        ),
        (
            {"GITHUB_REF_NAME": "v1", "GITHUB_REF_TYPE": "tag", "GITHUB_EVENT_NAME": "push"},
            Change(None, "push", "v1"),
        ),
        (
            {
                "GITHUB_REF_NAME": "7/merge",
                "GITHUB_HEAD_REF": "topic",
                "GITHUB_EVENT_NAME": "pull_request",
            },
            Change("topic", "pull_request"),
        ),
    ],
)
def test_github_says_it_in_variables(
    tmp_path: Path, environment: dict[str, str], expected: Change
) -> None:
    found = change_of(
        tmp_path, load(tmp_path, NO_PATHS), Change(), {"GITHUB_ACTIONS": "true", **environment}
    )
    assert found == expected


def test_gitlab_says_it_in_variables(tmp_path: Path) -> None:
    environment = {
        "GITLAB_CI": "true",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "topic",
        "CI_PIPELINE_SOURCE": "merge_request_event",
        "CI_COMMIT_TAG": "",
    }
    found = change_of(tmp_path, load(tmp_path, NO_PATHS), Change(), environment)
    assert found == Change("topic", "merge_request_event")


def test_a_pull_request_has_changed_what_its_target_branch_does_not_have(
    checkout: Path, tmp_path: Path
) -> None:
    git(checkout, "update-ref", "refs/remotes/origin/main", "HEAD^")
    (checkout / "third").write_text("1")
    git(checkout, "add", "third")
    git(checkout, "commit", "-m", "three")
    environment = {"GITHUB_ACTIONS": "true", "GITHUB_BASE_REF": "main"}
    found = change_of(checkout, load(tmp_path, PATHS), Change(), environment)
    assert found.changed_paths == ("both", "third", "new")
    unknown = {"GITHUB_ACTIONS": "true", "GITHUB_BASE_REF": "nowhere"}
    assert change_of(checkout, load(tmp_path, PATHS), Change(), unknown).changed_paths is None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://user:secret@git.example.org/team/app.git", "team/app"),
        ("git@git.example.org:team/sub/app.git", "team/sub/app"),
        ("https://secret@git.example.org/app", "app"),
        ("ssh://git@git.example.org:22/team/app/", "team/app"),
    ],
)
def test_a_repository_is_named_by_its_remote_without_secrets(
    checkout: Path, url: str, name: str
) -> None:
    git(checkout, "remote", "add", "origin", url)
    assert repository_of(checkout) == name


def test_outside_of_git_a_checkout_has_the_name_of_its_directory(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    assert repository_of(folder) == "app"
