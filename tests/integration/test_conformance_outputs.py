"""Conformance of which outputs of a Command come back, and how (conformance 1.8: IN4 to IN16)."""

from pathlib import Path
from typing import Any

import pytest
from google.rpc import code_pb2

from reapi.core.digest import Digest, digest_of
from reapi.core.errors import InvalidArgument, NotFound
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.integration.system import System, sh

FAILED = code_pb2.FAILED_PRECONDITION


def paths(outputs: Any) -> list[str]:
    return [output.path for output in outputs]


def links(outputs: Any) -> dict[str, str]:
    return {output.path: output.target for output in outputs}


async def tree_of(system: System, directory: re_pb2.OutputDirectory) -> re_pb2.Tree:
    return re_pb2.Tree.FromString(await system.read(directory.tree_digest))


class TestPaths:
    async def test_IN4_the_empty_path_is_the_whole_working_directory(self, system: System) -> None:
        """As Pants sends it; inputs in it come back as well."""
        action = await system.add(
            sh("echo x >out", working_directory="w", output_paths=[""]),
            {"w": {"in": b"i"}, "v": b"v"},
        )
        response = await system.run_action(action)
        (directory,) = response.result.output_directories
        assert directory.path == ""
        tree = await tree_of(system, directory)
        assert [file.name for file in tree.root.files] == ["in", "out"]
        assert (await system.run_action(action)).cached_result

    @pytest.mark.parametrize("field", ["output_paths", "output_directories"])
    async def test_IN4_the_empty_path_of_the_root_itself(self, system: System, field: str) -> None:
        result = await system.run_cached("echo x >out", **{field: [""]})
        (directory,) = result.output_directories
        assert [file.name for file in (await tree_of(system, directory)).root.files] == ["out"]

    @pytest.mark.parametrize(
        ("where", "path"),
        [("a/b", "../out"), ("a/b", "../../out"), ("a/b", "../b/out"), ("", "a/../out")],
    )
    async def test_IN4_B14_a_path_that_climbs_and_stays_inside_is_legal(
        self, system: System, where: str, path: str
    ) -> None:
        """As BuildStream sends it; the result repeats the words of the request."""
        command = sh(f"echo x >{path}", working_directory=where, output_paths=[path])
        action = await system.add(command, {"a": {"b": {}}})
        response = await system.run_action(action)
        assert paths(response.result.output_files) == [path]
        assert (await system.run_action(action)).cached_result

    @pytest.mark.parametrize("field", ["output_paths", "output_files", "output_directories"])
    @pytest.mark.parametrize("path", ["/abs", "..", "../out", "a/../../out", "a\0b", "out/"])
    async def test_IN4_B14_a_path_that_leaves_the_root_or_is_malformed_is_refused(
        self, system: System, field: str, path: str
    ) -> None:
        with pytest.raises(InvalidArgument, match="output path"):
            await system.sh("true", **{field: [path]})

    @pytest.mark.parametrize(
        "fields",
        [
            {"output_paths": [f"o{number}" for number in range(100_000)]},
            {"output_files": ["a", "a/b"]},
            {"output_files": ["a"], "output_directories": ["a"]},
            {"output_files": [""]},
        ],
        ids=["100k", "parent", "both", "nameless"],
    )
    async def test_B14_outputs_that_are_too_many_or_contradict_each_other_are_refused(
        self, system: System, fields: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidArgument):
            await system.sh("true", **fields)

    @pytest.mark.parametrize("path", ["./out", "a//out", "a/./out"])
    async def test_IN4_unusual_spellings_come_back_as_they_were(
        self, system: System, path: str
    ) -> None:
        response = await system.sh(f"echo x >{path}", output_paths=[path])
        assert response.status.code == code_pb2.OK
        assert paths(response.result.output_files) == [path]

    async def test_B14_overlapping_output_paths_are_each_answered(self, system: System) -> None:
        script = "mkdir -p d/e; echo x >d/e/f"
        result = await system.run_cached(script, output_paths=["d", "d/e", "d/e/f"])
        assert paths(result.output_directories) == ["d", "d/e"]
        assert paths(result.output_files) == ["d/e/f"]

    async def test_IN5_output_paths_make_the_older_lists_void(self, system: System) -> None:
        fields = {"output_files": ["b", "/bad"[1:]], "output_directories": ["c"]}
        result = await system.run_cached("echo >a; echo >b; mkdir c", output_paths=["a"], **fields)
        assert paths(result.output_files) == ["a"]
        assert not result.output_directories

    async def test_IN7_missing_outputs_are_left_out(self, system: System) -> None:
        result = await system.run_cached("echo >a", output_paths=["a", "b", "c/d"])
        assert paths(result.output_files) == ["a"]
        fields = {"output_files": ["a", "b"], "output_directories": ["d", "e/f"]}
        result = await system.run_cached("mkdir d", **fields)
        assert not result.output_files
        assert paths(result.output_directories) == ["d"]

    @pytest.mark.parametrize(
        ("script", "fields"),
        [
            ("mkdir o", {"output_files": ["o"]}),
            ("mkdir d; ln -s d o", {"output_files": ["o"]}),
            ("echo >o", {"output_directories": ["o"]}),
            ("echo >f; ln -s f o", {"output_directories": ["o"]}),
            ("mkfifo o", {"output_paths": ["o"]}),
            ("mkfifo o", {"output_files": ["o"]}),
            ("mkdir d; mkfifo d/o", {"output_paths": ["d"]}),
            ("mkdir d; touch d/$(printf 'o\\377')", {"output_paths": ["d"]}),
        ],
    )
    async def test_IN8_EX19_an_output_of_the_wrong_type_is_a_failed_precondition(
        self, system: System, script: str, fields: dict[str, Any]
    ) -> None:
        action = await system.add(sh(f"echo log; {script}", **fields))
        response = await system.run_action(action)
        assert response.status.code == FAILED
        assert "o" in response.status.message
        assert not response.status.details
        assert await system.read(response.result.stdout_digest) == b"log\n"
        with pytest.raises(NotFound):
            await system.cached(action)

    async def test_IN16_output_node_properties_are_refused(self, system: System) -> None:
        """Also B16: none is announced."""
        for name in ("mtime", "unix_mode", "other"):
            with pytest.raises(InvalidArgument, match=name):
                await system.sh("true", output_node_properties=[name])


class TestSymlinks:
    SCRIPT = "echo >f; mkdir d; ln -s f to-f; ln -s d to-d; ln -s nowhere to-none; ln -s /etc abs"
    NAMES = ("abs", "to-d", "to-f", "to-none")

    async def test_IN9_Q_SYMLINK_output_paths_fill_the_new_and_the_older_lists(
        self, system: System
    ) -> None:
        """And absolute targets are reported as they are (CAP10: ALLOWED)."""
        result = await system.run_cached(self.SCRIPT, output_paths=self.NAMES)
        directories = {"abs": "/etc", "to-d": "d"}
        files = {"to-f": "f", "to-none": "nowhere"}
        assert links(result.output_symlinks) == directories | files
        assert links(result.output_file_symlinks) == files
        assert links(result.output_directory_symlinks) == directories
        assert not result.output_files
        assert not result.output_directories

    async def test_IN9_the_older_fields_fill_the_older_lists(self, system: System) -> None:
        fields = {"output_files": ["to-f", "to-none"], "output_directories": ["abs", "to-d"]}
        result = await system.run_cached(self.SCRIPT, **fields)
        assert not result.output_symlinks
        assert links(result.output_file_symlinks) == {"to-f": "f", "to-none": "nowhere"}
        assert links(result.output_directory_symlinks) == {"abs": "/etc", "to-d": "d"}

    async def test_IN10_links_in_directories_keep_their_text(self, system: System) -> None:
        targets = ["../f", ".//f", "../../../outside", "/etc/passwd", "ü", "a/../b/"]
        script = "mkdir d; " + "".join(f"ln -s '{t}' d/{n};" for n, t in enumerate(targets))
        result = await system.run_cached(script, output_paths=["d"])
        tree = await tree_of(system, result.output_directories[0])
        assert [symlink.target for symlink in tree.root.symlinks] == targets

    @pytest.mark.parametrize("target", ["../../outside", "../bait"])
    async def test_IN9_a_relative_link_that_leads_out_is_reported_as_it_is(
        self, system: System, target: str
    ) -> None:
        response = await system.sh(f"ln -s {target} o", output_paths=["o"])
        assert response.status.code == code_pb2.OK
        assert links(response.result.output_symlinks) == {"o": target}

    async def test_S6_nothing_is_read_through_a_link_that_leads_out(
        self, system: System, open_path: Path
    ) -> None:
        (open_path / "bait").mkdir()
        (open_path / "bait" / "secret").write_bytes(b"secret")
        script = f"rmdir d; ln -s '{open_path}/bait' d; ln -s '{open_path}/bait/secret' f"
        response = await system.sh(script, output_paths=["d/secret"])
        assert response.status.code == FAILED
        response = await system.sh(script, output_paths=["d", "f"])
        assert links(response.result.output_symlinks).keys() == {"d", "f"}
        absent = await system.blobs.find_missing([digest_of(b"secret")])
        assert absent == [digest_of(b"secret")]


class TestDirectories:
    async def test_IN11_an_empty_directory_is_a_tree_of_two_bytes(self, system: System) -> None:
        result = await system.run_cached("mkdir d", output_paths=["d"])
        (directory,) = result.output_directories
        assert await system.read(directory.tree_digest) == b"\x0a\x00"
        assert directory.is_topologically_sorted

    async def test_IN11_IN13_a_tree_is_canonical_sorted_and_complete(self, system: System) -> None:
        """Each distinct Directory once, parents before children, names by their UTF-8 bytes."""
        script = (
            "mkdir -p d/a/same d/b/same d/Z d/é; touch d/a/same/x d/b/same/x d/.h d/z d/é/y;"
            "ln -s z d/l; chmod +x d/z"
        )
        result = await system.run_cached(script, output_paths=["d"])
        data = await system.read(result.output_directories[0].tree_digest)
        tree = re_pb2.Tree.FromString(data)
        assert tree.SerializeToString(deterministic=True) == data
        children = {digest_of(child.SerializeToString()): child for child in tree.children}
        assert len(children) == len(tree.children) == 4
        seen: set[Digest] = set()
        needed = {digest_of(tree.root.SerializeToString())}
        for directory in (tree.root, *tree.children):
            digest = digest_of(directory.SerializeToString())
            assert digest in needed  # a parent came before
            seen.add(digest)
            for nodes in (directory.files, directory.directories, directory.symlinks):
                names = [node.name.encode() for node in nodes]
                assert names == sorted(names)
            for node in directory.directories:
                below = Digest(node.digest.hash, node.digest.size_bytes)
                assert below not in seen
                needed.add(below)
        assert needed == seen
        assert [(file.name, file.is_executable) for file in tree.root.files] == [
            (".h", False),
            ("z", True),
        ]

    async def test_IN11_equal_directories_give_equal_trees(self, system: System) -> None:
        script = "mkdir -p d/x e/x; touch d/x/1 d/x/2; touch e/x/2 e/x/1"
        first, second = (
            await system.run_cached(script, output_paths=["d", "e"])
        ).output_directories
        assert first.tree_digest == second.tree_digest

    @pytest.mark.parametrize("name", ["TREE_ONLY", "DIRECTORY_ONLY", "TREE_AND_DIRECTORY"])
    async def test_IN12_the_formats(self, system: System, name: str) -> None:
        """A Tree always (Q-META); on demand the root's digest, with every Directory stored."""
        format = re_pb2.Command.OutputDirectoryFormat.Value(name)
        script = "mkdir -p d/e/g d/f; echo x >d/e/x; echo y >d/f/y"
        result = await system.run_cached(script, output_paths=["d"], output_directory_format=format)
        (directory,) = result.output_directories
        tree = await tree_of(system, directory)
        assert directory.HasField("root_directory_digest") == (name != "TREE_ONLY")
        if name == "TREE_ONLY":
            return
        root = tree.root.SerializeToString()
        assert directory.root_directory_digest == digest_of(root).to_message()
        stored = [digest_of(each.SerializeToString()) for each in (tree.root, *tree.children)]
        assert await system.blobs.find_missing(stored) == []
        assert len(stored) == 4
