"""The files of the checkout that jobs see: found, hashed and kept as nodes before anything runs.

So all jobs see the checkout as it was at the start, whatever is downloaded into it later.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from glob import has_magic, iglob
from pathlib import Path

from reapi.clients.file_digests import FileDigests
from reapi.clients.merkle import TreeNode, scan_tree
from reapi.core.digest import Digest
from reapi.core.errors import InvalidArgument, NotFound, ReapiError

from .artifacts import joined
from .plan import Job

MOST_INPUTS = 100_000
"""Paths that one pattern may mean."""


@dataclass(slots=True)
class LocalInputs:
    """Nodes by the path or pattern of the plan; `files` has the path of each digest."""

    nodes: dict[str, TreeNode] = field(default_factory=dict)
    files: dict[Digest, str] = field(default_factory=dict)

    def of(self, job: Job) -> TreeNode:
        """The inputs of a job from the checkout; raises InvalidArgument where they differ."""
        return joined(self.nodes[path] for path in job.inputs)


def read_local_inputs(
    root: Path, jobs: Iterable[Job], digests: FileDigests, is_stopped: Callable[[], bool]
) -> LocalInputs:
    """All inputs below `root` that the jobs name. Blocks: run it in a thread.

    Raises NotFound for a path that does not exist and a pattern that means nothing, with the job's
    name, and what `scan_tree` raises.
    """
    found = LocalInputs()
    for job in jobs:
        for path in job.inputs:
            if path not in found.nodes:
                try:
                    paths = _paths(root, path)
                    node, files = scan_tree(root, paths, digests, is_stopped=is_stopped)
                except ReapiError as error:
                    raise type(error)(f"{job.label}: {error.message}") from error
                found.nodes[path] = node
                found.files |= files
    return found


def _paths(root: Path, pattern: str) -> Sequence[str]:
    if not has_magic(pattern):
        return [pattern]
    paths = []
    for path in iglob(pattern, root_dir=root, recursive=True):
        paths.append(path)
        if len(paths) > MOST_INPUTS:
            raise InvalidArgument(f"input {pattern} means more than {MOST_INPUTS:,} paths")
    if not paths:
        raise NotFound(f"input {pattern} means nothing in {root}")
    return sorted(paths)
