"""What differs between two actions: the fields of Action and Command, and the inputs.

Pure over a BlobStore. Of the input trees only those directories are read whose digests differ.
Whatever comes from outside is bounded; where the comparison stopped, or a blob is gone, it says so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from reapi.core.digest import Digest
from reapi.core.errors import InvalidArgument
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Action,
    Command,
    Platform,
)

from .action_traits import output_names
from .one_line import one_line
from .tree_difference import TreeBounds, compare_trees
from .validation import check_size, parse_action, parse_command

_MOST_DIFFERENCES = 50
_MOST_MATCHED_ARGUMENTS = 100
"""Aligning more takes too long when they are chosen for it: the time grows by the third power."""
_LONGEST_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """One respect in which an action differs from an earlier one; empty for what one has not."""

    kind: str
    subject: str
    earlier: str
    now: str


@dataclass(slots=True)
class Comparison:
    """`notes` are sentences about what could not be compared, or not to the end."""

    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ReadAction:
    """An action and its command, checked."""

    digest: Digest
    action: Action
    command: Command
    input_root: Digest


async def read_action(blobs: BlobStore, digest: Digest) -> ReadAction | None:
    """None if one of both blobs is gone, or is not what it should be."""
    try:
        check_size(digest, "action")
        data = (await blobs.read_many([digest])).get(digest)
        if data is None:
            return None
        action, command_digest, input_root = parse_action(data, digest)
        data = (await blobs.read_many([command_digest])).get(command_digest)
        if data is None:
            return None
        return ReadAction(digest, action, parse_command(data, command_digest), input_root)
    except InvalidArgument:
        return None


async def compare_actions(
    blobs: BlobStore, earlier: ReadAction, now: ReadAction, bounds: TreeBounds | None = None
) -> Comparison:
    """All differences, as far as `bounds` and what is still stored let them be seen."""
    found = Comparison()
    differences = [*_compare_fields(earlier, now), *_compare_commands(earlier.command, now.command)]
    found.differences = differences[:_MOST_DIFFERENCES]
    if len(differences) > _MOST_DIFFERENCES:
        found.notes.append(f"{len(differences) - _MOST_DIFFERENCES} more such differences")
    if earlier.digest.function is not now.digest.function:
        found.notes.append("the inputs are hashed by different functions and were not compared")
    elif earlier.input_root != now.input_root:
        room = _MOST_DIFFERENCES - len(found.differences)
        inputs, notes = await compare_trees(
            blobs, earlier.input_root, now.input_root, bounds or TreeBounds(), room
        )
        found.differences += [Difference("input", *one) for one in inputs]
        found.notes += notes
    if not (found.differences or found.notes):
        found.notes.append("they differ only in how their messages are written")
    return found


def _compare_fields(earlier: ReadAction, now: ReadAction) -> Iterator[Difference]:
    """What is not the Command's and not an input."""
    one, other = earlier.action, now.action
    if one.timeout != other.timeout or one.HasField("timeout") != other.HasField("timeout"):
        yield Difference("timeout", "", _seconds(one), _seconds(other))
    if one.do_not_cache != other.do_not_cache:
        yield Difference("do_not_cache", "", str(one.do_not_cache), str(other.do_not_cache))
    if one.salt != other.salt:
        yield Difference("salt", "", one.salt.hex(), other.salt.hex())
    yield from _compare_pairs("platform", _platform(earlier), _platform(now))


def _compare_commands(earlier: Command, now: Command) -> Iterator[Difference]:
    yield from _compare_arguments(earlier.arguments, now.arguments)
    yield from _compare_pairs("environment", _environment(earlier), _environment(now))
    if earlier.working_directory != now.working_directory:
        directories = earlier.working_directory, now.working_directory
        yield Difference("working directory", "", *map(_shown, directories))
    before, after = set(output_names(earlier)), set(output_names(now))
    for path in sorted(before ^ after):
        declared = ["declared" if path in paths else "" for paths in (before, after)]
        yield Difference("output", _shown(path), *declared)
    formats = earlier.output_directory_format, now.output_directory_format
    if formats[0] != formats[1]:
        yield Difference("output directory format", "", *map(str, formats))


def _compare_arguments(earlier: Sequence[str], now: Sequence[str]) -> Iterator[Difference]:
    """By alignment where they are few, so that one more does not change all behind it."""
    before, after = list(earlier), list(now)
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    before, after = before[start : len(before) - end], after[start : len(after) - end]
    if max(len(before), len(after)) > _MOST_MATCHED_ARGUMENTS:
        counts = f"{len(before)} arguments", f"{len(after)} arguments"
        yield Difference("argument", f"{start + 1} and on", *counts)
        return
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for tag, first, last, other_first, other_last in matcher.get_opcodes():
        if tag == "equal":
            continue
        removed, added = before[first:last], after[other_first:other_last]
        for index in range(max(len(removed), len(added))):
            yield Difference(
                "argument",
                str(start + other_first + index + 1),
                _shown(removed[index]) if index < len(removed) else "",
                _shown(added[index]) if index < len(added) else "",
            )


def _compare_pairs(kind: str, earlier: dict[str, str], now: dict[str, str]) -> Iterator[Difference]:
    for name in sorted(earlier.keys() | now.keys()):
        before, after = earlier.get(name), now.get(name)
        if before != after:
            shown = [_shown(value) if value is not None else "" for value in (before, after)]
            yield Difference(kind, _shown(name), *shown)


def _platform(read: ReadAction) -> dict[str, str]:
    """What counts (EX21); the values of a name that occurs more than once together."""
    platform: Platform = (
        read.action.platform if read.action.HasField("platform") else read.command.platform
    )
    values: dict[str, list[str]] = {}
    for item in platform.properties:
        values.setdefault(item.name, []).append(item.value)
    return {name: " ".join(sorted(texts)) for name, texts in values.items()}


def _environment(command: Command) -> dict[str, str]:
    return {item.name: item.value for item in command.environment_variables}


def _seconds(action: Action) -> str:
    timeout = action.timeout
    return f"{timeout.seconds + timeout.nanos / 1e9:g} s" if action.HasField("timeout") else ""


def _shown(text: str) -> str:
    return one_line(text, _LONGEST_SHOWN)
