"""Where a path leads in an input root before that is on a disk: its symlinks are followed."""

from collections.abc import Sequence

from .input_tree import DEEPEST_TREE, LONGEST_PATH_BYTES, InputDirectory

_MOST_STEPS = 2 * DEEPEST_TREE
"""Names looked at for one path. Ends circles, and bounds what many links can cost."""

_LONGEST_NAME_BYTES = 255


def follow_links(root: InputDirectory, segments: Sequence[str]) -> list[str]:
    """The segments, from `root` on, of the directory that `segments` lead to.

    What `root` does not have counts as a directory that is still to be made. Empty for a way that
    leads out of the root or in circles, or to a place that no input could have.
    """
    todo = list(reversed(segments))
    done: list[str] = []
    entered: list[InputDirectory | None] = [root]
    for _ in range(_MOST_STEPS):
        if not todo:
            return done if _can_be(done) else []
        segment = todo.pop()
        if segment == "..":
            if not done:
                return []
            done.pop()
            entered.pop()
            continue
        directory = entered[-1]
        target = directory.symlinks.get(segment) if directory else None
        if target is None:
            done.append(segment)
            entered.append(directory.directories.get(segment) if directory else None)
        elif target.startswith("/"):
            return []
        else:
            todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    return []


def _can_be(segments: Sequence[str]) -> bool:
    return (
        len(segments) <= DEEPEST_TREE
        and len("/".join(segments).encode()) <= LONGEST_PATH_BYTES
        and all(len(segment.encode()) <= _LONGEST_NAME_BYTES for segment in segments)
    )
