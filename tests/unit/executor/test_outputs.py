"""What becomes of declared outputs, seen in the ActionResults of real commands."""

from pathlib import Path

import pytest
from google.rpc import code_pb2

from reapi.core.digest import Digest, digest_of
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.unit.executor.harness import Harness, add_lease


def blob(harness: Harness, digest: re_pb2.Digest) -> bytes:
    if not digest.size_bytes:
        return b""
    return harness.store.blobs[Digest(digest.hash, digest.size_bytes)]


def tree_of(harness: Harness, directory: re_pb2.OutputDirectory) -> re_pb2.Tree:
    return re_pb2.Tree.FromString(blob(harness, directory.tree_digest))


async def result_of(harness: Harness, script: str, **command: object) -> re_pb2.ActionResult:
    response = await harness.sh(script, **command)
    assert not response.status.code, response.status.message
    assert not response.result.exit_code, harness.stderr(response)
    return response.result


async def refusal_of(harness: Harness, script: str, **command: object) -> str:
    response = await harness.sh(script, **command)
    assert response.status.code == code_pb2.FAILED_PRECONDITION
    return response.status.message


class TestPaths:
    async def test_IN4_result_paths_repeat_the_words_of_the_request(self, harness: Harness) -> None:
        tree = {"work": {}, "beside": {}}
        paths = ["out", "../beside/out", "sub/./out2"]
        result = await result_of(
            harness,
            "touch out ../beside/out sub/out2",
            tree=tree,
            working_directory="work",
            output_paths=paths,
        )
        assert [file.path for file in result.output_files] == paths

    async def test_IN4_the_empty_path_is_the_whole_working_directory(
        self, harness: Harness
    ) -> None:
        result = await result_of(
            harness, "touch x", tree={"work": {}}, working_directory="work", output_paths=[""]
        )
        (directory,) = result.output_directories
        assert directory.path == ""
        assert [file.name for file in tree_of(harness, directory).root.files] == ["x"]

    async def test_IN5_the_older_lists_are_ignored_beside_output_paths(
        self, harness: Harness
    ) -> None:
        result = await result_of(
            harness,
            "touch a b; mkdir c",
            output_paths=["a"],
            output_files=["b"],
            output_directories=["c"],
        )
        assert [file.path for file in result.output_files] == ["a"]
        assert not result.output_directories

    async def test_IN7_missing_outputs_are_left_out(self, harness: Harness) -> None:
        result = await result_of(
            harness,
            "touch there; rm -r gone; touch file; rm -r way; touch way",
            tree={"gone": {}},
            output_paths=["there", "not", "gone/below/not", "way/not"],
        )
        assert [file.path for file in result.output_files] == ["there"]

    async def test_S6_an_output_behind_a_link_out_of_the_root_is_refused(
        self, harness: Harness, reachable_path: Path
    ) -> None:
        bait = reachable_path / "bait"
        bait.mkdir()
        (bait / "secret").write_text("bait")
        for target in (str(bait), "../../../../bait"):
            message = await refusal_of(
                harness, f"rmdir sub; ln -s {target} sub", output_paths=["sub/secret"]
            )
            assert "symbolic link" in message
        assert digest_of(b"bait") not in harness.store.blobs

    async def test_S6_a_link_to_a_secret_is_reported_as_a_link_and_not_read(
        self, harness: Harness, reachable_path: Path
    ) -> None:
        bait = reachable_path / "secret"
        bait.write_text("bait")
        result = await result_of(
            harness, f"ln -s {bait} a; mkdir d; ln -s {bait} d/b", output_paths=["a", "d"]
        )
        assert result.output_symlinks[0].target == str(bait)
        assert digest_of(b"bait") not in harness.store.blobs

    async def test_a_link_on_the_way_that_stays_inside_is_followed(self, harness: Harness) -> None:
        result = await result_of(
            harness,
            "mkdir -p real/deep; touch real/deep/x; rmdir way/in way; ln -s real way;"
            " ln -s ../real/deep real/in",
            output_paths=["way/in/x"],
        )
        assert [file.path for file in result.output_files] == ["way/in/x"]

    async def test_links_in_a_circle_are_refused(self, harness: Harness) -> None:
        message = await refusal_of(harness, "rmdir a; ln -s b a; ln -s a b", output_paths=["a/x"])
        assert "circles" in message


class TestFiles:
    async def test_IN17_the_executable_bit_is_that_of_the_owner(self, harness: Harness) -> None:
        result = await result_of(
            harness,
            "echo a > plain; echo b > owner; echo c > others; chmod 744 owner; chmod 655 others",
            output_paths=["owner", "plain", "others"],
        )
        assert [(f.path, f.is_executable) for f in result.output_files] == [
            ("owner", True),
            ("plain", False),
            ("others", False),
        ]
        assert blob(harness, result.output_files[0].digest) == b"b\n"

    async def test_large_and_empty_and_equal_files_are_stored(self, harness: Harness) -> None:
        result = await result_of(
            harness,
            "head -c 5000000 /dev/zero > large; cp large copy; touch empty",
            output_paths=["large", "copy", "empty"],
        )
        large, copy, empty = result.output_files
        assert large.digest == copy.digest == digest_of(bytes(5_000_000)).to_message()
        assert blob(harness, large.digest) == bytes(5_000_000)
        assert empty.digest.size_bytes == 0

    async def test_files_that_were_asked_for_come_inline(self, harness: Harness) -> None:
        command = re_pb2.Command(
            arguments=["sh", "-c", "echo a > a; echo b > b"], output_paths=["a", "b"]
        )
        lease = add_lease(harness.store, command, {})
        lease.inline_output_files.append("b")
        result = (await harness.run_lease(lease)).result
        assert [file.contents for file in result.output_files] == [b"", b"b\n"]

    @pytest.mark.parametrize("path", ["odd", "directory/odd"])
    async def test_IN8_a_fifo_is_refused_by_name(self, harness: Harness, path: str) -> None:
        outputs = [path.split("/")[0]]
        message = await refusal_of(
            harness, f"mkdir -p directory; mkfifo {path}", output_paths=outputs
        )
        assert f"'{path}' is a FIFO" in message

    async def test_IN8_a_directory_is_no_output_file(self, harness: Harness) -> None:
        assert "is a directory" in await refusal_of(harness, "mkdir x", output_files=["x"])
        message = await refusal_of(harness, "mkdir d; ln -s d x", output_files=["x"])
        assert "link to a directory" in message

    async def test_IN8_a_file_is_no_output_directory(self, harness: Harness) -> None:
        assert "is a file" in await refusal_of(harness, "touch x", output_directories=["x"])
        message = await refusal_of(harness, "touch f; ln -s f x", output_directories=["x"])
        assert "link to a file" in message

    async def test_a_refused_output_does_not_hide_the_log(self, harness: Harness) -> None:
        response = await harness.sh("echo why >&2; mkfifo x", output_paths=["x"])
        assert harness.stderr(response) == "why\n"


class TestSymlinks:
    async def test_IN9_output_paths_fill_the_new_and_the_matching_older_list(
        self, harness: Harness
    ) -> None:
        result = await result_of(
            harness,
            "touch f; mkdir d; ln -s f to-file; ln -s d to-dir; ln -s nowhere dangling",
            output_paths=["to-file", "to-dir", "dangling"],
        )
        assert [(s.path, s.target) for s in result.output_symlinks] == [
            ("to-file", "f"),
            ("to-dir", "d"),
            ("dangling", "nowhere"),
        ]
        assert [s.path for s in result.output_file_symlinks] == ["to-file", "dangling"]
        assert [s.path for s in result.output_directory_symlinks] == ["to-dir"]

    async def test_IN9_the_older_fields_fill_only_the_older_lists(self, harness: Harness) -> None:
        result = await result_of(
            harness,
            "touch f; mkdir d; ln -s f to-file; ln -s d to-dir",
            output_files=["to-file"],
            output_directories=["to-dir"],
        )
        assert not result.output_symlinks
        assert [s.path for s in result.output_file_symlinks] == ["to-file"]
        assert [s.path for s in result.output_directory_symlinks] == ["to-dir"]

    async def test_IN10_links_in_directories_keep_their_text(self, harness: Harness) -> None:
        result = await result_of(harness, "mkdir d; ln -s ../x//y d/l", output_paths=["d"])
        tree = tree_of(harness, result.output_directories[0])
        assert [(s.name, s.target) for s in tree.root.symlinks] == [("l", "../x//y")]


class TestDirectories:
    async def test_IN11_the_tree_of_an_empty_directory_has_two_bytes(
        self, harness: Harness
    ) -> None:
        result = await result_of(harness, "mkdir d", output_directories=["d"])
        (directory,) = result.output_directories
        assert blob(harness, directory.tree_digest) == b"\x0a\x00"
        assert directory.is_topologically_sorted

    async def test_IN11_each_directory_is_once_in_a_tree_and_parents_come_first(
        self, harness: Harness
    ) -> None:
        # `shared` is below a (early) and below z/m (late, and deeper).
        script = (
            "for d in a z/m; do mkdir -p d/$d/shared/leaf; echo x > d/$d/shared/leaf/f; done;"
            " echo y > d/z/own"
        )
        result = await result_of(harness, script, output_paths=["d"])
        tree = tree_of(harness, result.output_directories[0])
        listed = [tree.root, *tree.children]
        digests = [digest_of(d.SerializeToString(deterministic=True)).hash for d in listed]
        assert len(set(digests)) == len(digests) == 4 + 1
        for index, directory in enumerate(listed):
            for node in directory.directories:
                assert digests.index(node.digest.hash) > index
        assert tree.SerializeToString(deterministic=True) == blob(
            harness, result.output_directories[0].tree_digest
        )

    async def test_IN11_equal_directories_give_equal_trees(self, harness: Harness) -> None:
        script = (
            "mkdir -p x/b x/a y/a; echo 1 > x/f; echo 2 > x/a/g; mkdir y/b; echo 2 > y/a/g;"
            " echo 1 > y/f"
        )
        result = await result_of(harness, script, output_paths=["x", "y"])
        x, y = result.output_directories
        assert x.tree_digest == y.tree_digest

    async def test_IN12_the_formats_add_the_directories_and_the_root_digest(
        self, harness: Harness
    ) -> None:
        script = "mkdir -p d/sub; echo x > d/sub/f"
        plain = await result_of(harness, script, output_paths=["d"])
        assert not plain.output_directories[0].HasField("root_directory_digest")
        for format in ("DIRECTORY_ONLY", "TREE_AND_DIRECTORY"):
            result = await result_of(
                harness, script, output_paths=["d"], output_directory_format=format
            )
            (directory,) = result.output_directories
            assert directory.tree_digest == plain.output_directories[0].tree_digest
            root = tree_of(harness, directory).root
            assert blob(harness, directory.root_directory_digest) == root.SerializeToString()
            assert blob(harness, root.directories[0].digest)

    async def test_IN13_directories_are_canonical(self, harness: Harness) -> None:
        script = "mkdir d; cd d; touch b 'é' a Z; mkdir y x; ln -s t l2; ln -s t l1"
        result = await result_of(harness, script, output_paths=["d"])
        root = tree_of(harness, result.output_directories[0]).root
        assert [node.name for node in root.files] == ["Z", "a", "b", "é"]
        assert [node.name for node in root.directories] == ["x", "y"]
        assert [node.name for node in root.symlinks] == ["l1", "l2"]

    async def test_a_name_that_is_not_utf8_is_refused(self, harness: Harness) -> None:
        script = "mkdir d; touch \"d/$(printf '\\377')\""
        assert "not UTF-8" in await refusal_of(harness, script, output_paths=["d"])

    async def test_S11_a_directory_deeper_than_allowed_is_refused_and_cleaned_up(
        self, harness: Harness
    ) -> None:
        script = "mkdir d; cd d; for i in $(seq 400); do mkdir x; cd x; done"
        response = await harness.sh(script, output_paths=["d"])
        assert response.status.code == code_pb2.RESOURCE_EXHAUSTED
        assert harness.stdout(await harness.sh("ls")) == ""
