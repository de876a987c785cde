"""What a plan is run for, as the CI says in its variables, or git of the checkout."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .loading import LoadedPipeline
from .rules import Change

_GIT_SECONDS = 30
_MOST_PATHS = 100_000

_Git = Callable[..., str | None]


def change_of(
    root: Path,
    pipelines: Sequence[LoadedPipeline],
    given: Change,
    environment: Mapping[str, str] = os.environ,
) -> Change:
    """What is not `given`, from the variables of GitHub or GitLab, then from git.

    The changed files are asked for if rules look at them only: those since the target branch of a
    pull or merge request, otherwise since the parent of the commit; what is not committed counts.
    """
    found = _of_ci(environment)

    def git(*arguments: str) -> str | None:
        return _git(root, *arguments)

    if found is None:
        branch = git("symbolic-ref", "--quiet", "--short", "HEAD")
        tag = git("describe", "--tags", "--exact-match", "HEAD")
        found = Change(branch=branch, event="local", tag=tag)
    change = Change(
        branch=given.branch or found.branch,
        event=given.event or found.event,
        tag=given.tag or found.tag,
        changed_paths=given.changed_paths,
    )
    if change.changed_paths is None and any(map(_looks_at_paths, pipelines)):
        change = replace(change, changed_paths=_changed_paths(git, environment))
    return change


def repository_of(root: Path) -> str:
    """What the checkout is one of: the path of git's remote, or the directory's name."""
    url = (_git(root, "remote", "get-url", "origin") or "").rstrip("/").removesuffix(".git")
    # Neither the host nor the password that may stand before it is part of the name.
    path = url.partition("://")[2].partition("/")[2] if "://" in url else url.rpartition(":")[2]
    return (path.strip("/") or root.name or "checkout")[-200:]


def _of_ci(environment: Mapping[str, str]) -> Change | None:
    """Of GitHub or GitLab; None outside of them."""

    def first(*names: str) -> str | None:
        return next((environment[name] for name in names if environment.get(name)), None)

    if environment.get("GITHUB_ACTIONS"):
        is_tag = environment.get("GITHUB_REF_TYPE") == "tag"
        name = first("GITHUB_REF_NAME")
        return Change(
            branch=None if is_tag else first("GITHUB_HEAD_REF") or name,
            event=first("GITHUB_EVENT_NAME"),
            tag=name if is_tag else None,
        )
    if environment.get("GITLAB_CI"):
        return Change(
            branch=first("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_BRANCH"),
            event=first("CI_PIPELINE_SOURCE"),
            tag=first("CI_COMMIT_TAG"),
        )
    return None


def _looks_at_paths(one: LoadedPipeline) -> bool:
    stages = one.model.stages.values()
    return one.model.rules.path is not None or any(stage.rules.path for stage in stages)


def _changed_paths(git: _Git, environment: Mapping[str, str]) -> tuple[str, ...] | None:
    """The changed files, or None where git cannot tell, as in a shallow clone."""
    target = environment.get("GITHUB_BASE_REF") or environment.get(
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME"
    )
    since = git("merge-base", f"origin/{target}", "HEAD") if target else "HEAD^"
    if since is None:
        return None
    changed = git("diff", "--name-only", "--relative", "-z", "--end-of-options", since, "--")
    untracked = git("ls-files", "--others", "--exclude-standard", "-z")
    if changed is None or untracked is None:
        return None
    paths = [path for path in (changed + untracked).split("\0") if path]
    return tuple(paths) if len(paths) <= _MOST_PATHS else None


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints; None if it fails, or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_GIT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    return done.stdout.decode(errors="replace").removesuffix("\n")
