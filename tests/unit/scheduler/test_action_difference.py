"""What differs between two actions."""

from collections.abc import Callable
from typing import Any

import pytest

from reapi.core.digest import BLAKE3, SHA256, Digest, DigestFunction
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Action,
    Command,
    Directory,
    NodeProperties,
    Platform,
)
from reapi.scheduler.action_difference import (
    Comparison,
    Difference,
    compare_actions,
    read_action,
)
from reapi.scheduler.tree_difference import TreeBounds
from tests.fakes.memory_store import MemoryBlobStore
from tests.unit.executor.harness import Tree, add_tree


def platform(**properties: str) -> Platform:
    items = [Platform.Property(name=name, value=value) for name, value in properties.items()]
    return Platform(properties=items)


class Actions:
    """Two actions and the store that has them."""

    def __init__(self, function: DigestFunction = SHA256) -> None:
        self.blobs = MemoryBlobStore(function)

    def add(
        self, command: Command | None = None, tree: Tree | None = None, **fields: Any
    ) -> Digest:
        command = command or Command(arguments=["cc"])
        root = add_tree(self.blobs, tree or {})
        return self.add_action(command, root, **fields)

    def add_action(self, command: Command, root: Digest, **fields: Any) -> Digest:
        action = Action(
            command_digest=self.blobs.add(command.SerializeToString()).to_message(),
            input_root_digest=root.to_message(),
            **fields,
        )
        return self.blobs.add(action.SerializeToString())

    async def compare(
        self, earlier: Digest, now: Digest, bounds: TreeBounds | None = None
    ) -> Comparison:
        read = [await read_action(self.blobs, digest) for digest in (earlier, now)]
        assert read[0] is not None
        assert read[1] is not None
        return await compare_actions(self.blobs, read[0], read[1], bounds)


@pytest.fixture
def actions() -> Actions:
    return Actions()


def command(*arguments: str, **fields: Any) -> Command:
    made = Command(arguments=arguments or ["cc"])
    for name, value in fields.pop("environment", {}).items():
        made.environment_variables.add(name=name, value=value)
    made.MergeFrom(Command(**fields))
    return made


@pytest.mark.parametrize(
    ("earlier", "now", "expected"),
    [
        (
            command("cc", "-c", "a.c", "-O1"),
            command("cc", "-g", "-c", "a.c", "-O2"),
            [("argument", "2", "", "-g"), ("argument", "5", "-O1", "-O2")],
        ),
        (command("cc", "a"), command("cc"), [("argument", "2", "a", "")]),
        (
            command("cc", *("a" for _ in range(400))),
            command("cc", *("b" for _ in range(401))),
            [("argument", "2 and on", "400 arguments", "401 arguments")],
        ),
        (command("cc", "a\nb"), command("cc", "x" * 300), [
            ("argument", "2", "a?b", "x" * 200 + "…"),
        ]),
        (
            command(environment={"PATH": "/bin", "HOME": "/a"}),
            command(environment={"PATH": "/usr/bin", "LANG": "C"}),
            [
                ("environment", "HOME", "/a", ""),
                ("environment", "LANG", "", "C"),
                ("environment", "PATH", "/bin", "/usr/bin"),
            ],
        ),
        (
            command(working_directory="a"),
            command(),
            [("working directory", "", "a", "")],
        ),
        (
            command(output_files=["a.o"], output_directories=["d"]),
            command(output_paths=["a.o", "b.o"]),
            [("output", "b.o", "", "declared"), ("output", "d", "declared", "")],
        ),
        (
            command(platform=platform(os="linux")),
            command(platform=platform(os="linux", cpu="arm")),
            [("platform", "cpu", "", "arm")],
        ),
    ],
)  # fmt: skip
async def test_what_differs_in_the_command_is_named(
    actions: Actions, earlier: Command, now: Command, expected: list[tuple[str, ...]]
) -> None:
    found = await actions.compare(actions.add(earlier), actions.add(now))
    assert found == Comparison([Difference(*one) for one in expected])


@pytest.mark.parametrize(
    ("earlier", "now", "expected"),
    [
        ({}, {"timeout": {"seconds": 5}}, ("timeout", "", "", "5 s")),
        ({}, {"timeout": {"seconds": -(1 << 62)}}, ("timeout", "", "", "-4.61169e+18 s")),
        ({}, {"do_not_cache": True}, ("do_not_cache", "", "False", "True")),
        ({"salt": b"\1"}, {"salt": b"\2"}, ("salt", "", "01", "02")),
        (
            {"platform": platform(os="linux")},
            {"platform": platform(os="plan9")},
            ("platform", "os", "linux", "plan9"),
        ),
    ],
)
async def test_what_differs_in_the_action_is_named(
    actions: Actions, earlier: dict[str, Any], now: dict[str, Any], expected: tuple[str, ...]
) -> None:
    found = await actions.compare(actions.add(**earlier), actions.add(**now))
    assert found.differences == [Difference(*expected)]


async def test_the_platform_of_the_action_counts_when_it_has_one(actions: Actions) -> None:
    one = actions.add(command(platform=platform(os="linux")), platform=platform(os="linux"))
    other = actions.add(command(platform=platform(os="plan9")), platform=platform(os="linux"))
    found = await actions.compare(one, other)
    assert found == Comparison([], ["they differ only in how their messages are written"])


async def test_changed_inputs_are_named_by_their_paths(actions: Actions) -> None:
    before = {"src": {"a.c": b"1", "b.c": b"2", "old": {"x": b"x"}}, "same": {"deep": {"f": b"f"}}}
    after = {"src": {"a.c": b"11", "b.c": b"2", "new": b"n"}, "same": {"deep": {"f": b"f"}}}
    found = await actions.compare(actions.add(tree=before), actions.add(tree=after))
    assert [(one.kind, one.subject) for one in found.differences] == [
        ("input", "src/a.c"),
        ("input", "src/new"),
        ("input", "src/old"),
    ]
    changed, added, removed = found.differences
    assert changed.earlier.endswith("/1")
    assert changed.now.endswith("/2")
    assert (added.earlier, removed.now) == ("", "")
    assert removed.earlier == "directory"
    assert not found.notes


async def test_equal_subtrees_are_not_read(actions: Actions) -> None:
    before = {"same": {"deep": {"f": b"f"}}, "a": b"1"}
    one, other = actions.add(tree=before), actions.add(tree={**before, "a": b"2"})
    same = add_tree(MemoryBlobStore(), before["same"])  # type: ignore[arg-type]  # a tree
    del actions.blobs.blobs[same]
    found = await actions.compare(one, other)
    assert [change.subject for change in found.differences] == ["a"]
    assert not found.notes


@pytest.mark.parametrize(
    "change",
    [
        lambda directory: setattr(directory.files[0], "is_executable", True),
        lambda directory: setattr(directory.symlinks[0], "target", "elsewhere"),
        lambda directory: directory.files[0].node_properties.unix_mode.SetInParent(),
        lambda directory: directory.node_properties.CopyFrom(
            NodeProperties(mtime={"seconds": -(1 << 62), "nanos": -1})
        ),
    ],
)
async def test_whatever_differs_in_a_directory_is_told(
    actions: Actions, change: Callable[[Directory], None]
) -> None:
    directory = Directory()
    directory.files.add(name="f", digest=actions.blobs.add(b"f").to_message())
    directory.symlinks.add(name="link", target="f")
    earlier = actions.blobs.add(directory.SerializeToString())
    change(directory)
    now = actions.blobs.add(directory.SerializeToString())
    found = await actions.compare(
        actions.add_action(command(), earlier), actions.add_action(command(), now)
    )
    (difference,) = found.differences
    assert difference.earlier != difference.now


async def test_directories_that_are_gone_are_told_and_the_rest_is_compared(
    actions: Actions,
) -> None:
    one = actions.add(tree={"a": {"f": b"1"}, "b": {"f": b"1"}, "c": {"f": b"1"}})
    other = actions.add(tree={"a": {"f": b"2"}, "b": {"f": b"3"}, "c": {"f": b"4"}})
    scratch = MemoryBlobStore()
    gone = add_tree(scratch, {"f": b"2"})
    del actions.blobs.blobs[gone]
    malformed = add_tree(scratch, {"f": b"3"})
    actions.blobs.blobs[malformed] = b"\xff"
    found = await actions.compare(one, other)
    assert [change.subject for change in found.differences] == ["c/f"]
    assert found.notes == [
        "directory a of the later action is not stored any more",
        "directory b of the later action is malformed",
    ]


async def test_large_trees_are_compared_as_far_as_the_bounds_go(actions: Actions) -> None:
    trees: list[Tree] = [{f"d{n}": {"f": b"%d" % (n + m)} for n in range(10)} for m in (0, 100)]
    one, other = (actions.add(tree=tree) for tree in trees)
    found = await actions.compare(one, other, TreeBounds(most_directories=8))
    assert len(found.differences) == 3
    assert found.notes == ["7 directories that differ were not compared: the trees are too large"]
    found = await actions.compare(one, other, TreeBounds(most_bytes=0))
    assert not found.differences
    assert found.notes


async def test_very_many_differences_are_cut_and_it_says_so(actions: Actions) -> None:
    one = actions.add(tree={f"f{n}": b"1" for n in range(100)})
    other = actions.add(tree={f"f{n}": b"2" for n in range(100)})
    found = await actions.compare(one, other)
    assert len(found.differences) == 50
    assert found.notes == ["there are more changed inputs; these were found first"]
    one = actions.add(command(environment={f"V{n}": "1" for n in range(60)}))
    other = actions.add(command(environment={f"V{n}": "2" for n in range(60)}))
    found = await actions.compare(one, other)
    assert len(found.differences) == 50
    assert found.notes == ["10 more such differences"]


async def test_inputs_of_different_digest_functions_are_not_compared() -> None:
    one, other = Actions(), Actions(BLAKE3)
    earlier, now = one.add(tree={"a": b"1"}), other.add(tree={"a": b"1"})
    one.blobs.blobs |= other.blobs.blobs
    found = await one.compare(earlier, now)
    assert found.notes == ["the inputs are hashed by different functions and were not compared"]


@pytest.mark.parametrize("what", ["action", "command"])
async def test_an_action_that_is_gone_or_malformed_cannot_be_read(
    actions: Actions, what: str
) -> None:
    digest = actions.add()
    read = await read_action(actions.blobs, digest)
    assert read is not None
    command_digest = next(
        d for d in actions.blobs.blobs if d.hash == read.action.command_digest.hash
    )
    victim = digest if what == "action" else command_digest
    actions.blobs.blobs[victim] = b"\xff"
    assert await read_action(actions.blobs, digest) is None
    del actions.blobs.blobs[victim]
    assert await read_action(actions.blobs, digest) is None
