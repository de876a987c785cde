"""Response files: what stands for `@file` among a compiler's arguments."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reapi.clients.compile import response_files
from reapi.clients.compile.model import Local
from reapi.clients.compile.response_files import expand


def expanded(directory: Path, *arguments: str) -> list[str]:
    result = expand(arguments, str(directory))
    assert not isinstance(result, Local), result
    return list(result)


def reason(directory: Path, *arguments: str) -> str:
    result = expand(arguments, str(directory))
    assert isinstance(result, Local), result
    assert result.is_work
    return result.reason


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n\r\v\f ", []),
        ("-c\tfoo.c\n-o\r\nfoo.o", ["-c", "foo.c", "-o", "foo.o"]),
        ("'a b' \"c d\" e'f g'h", ["a b", "c d", "ef gh"]),
        ("'' \"\" x''", ["", "", "x"]),
        (r"a\ b \"c\" \\ \'d", ["a b", '"c"', "\\", "'d"]),
        (r'"a \"b\" \\ c"', ['a "b" \\ c']),
        ('"it\'s" \'say "x"\'', ["it's", 'say "x"']),
        ("-include@x a@b", ["-include@x", "a@b"]),
    ],
)
def test_words_are_parted_as_gcc_parts_them(text: str, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "words").write_text(text)
    assert expanded(tmp_path, "-w", "@words", "end") == ["-w", *words, "end"]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_words_are_those_that_the_compiler_sees(compiler: str, tmp_path: Path) -> None:
    (tmp_path / "words").write_text(
        '-DA=\'1 2\' "-DB=\\"b\\"" -DC=\\\\"\\\\" \\\n'.replace(" \\\n", " ") + "'-DD=\"it\"' @more"
    )
    (tmp_path / "more").write_text("-DE=a\\ b\t-DF=''''''")
    (tmp_path / "foo.c").write_text("A B C D E F\n")
    outputs = [
        subprocess.run(
            [compiler, "-E", "-P", "foo.c", *arguments],
            cwd=tmp_path,
            capture_output=True,
            check=True,
        ).stdout
        for arguments in (["@words"], expanded(tmp_path, "@words"))
    ]
    assert outputs[0] == outputs[1]
    assert b'"it"' in outputs[0]


def test_a_file_that_is_not_there_is_an_argument(tmp_path: Path) -> None:
    assert expanded(tmp_path, "@absent", "@", "@nul\0") == ["@absent", "@", "@nul\0"]


def test_files_in_files_are_relative_to_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/one").write_text("a @two b")
    (tmp_path / "two").write_text("-include @three")
    (tmp_path / "three").write_text("x.h")
    assert expanded(tmp_path, "@sub/one", f"@{tmp_path}/two") == [
        *("a", "-include", "x.h", "b", "-include", "x.h")
    ]


def test_a_file_that_contains_itself_stays_here(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("@one")
    assert "contain each other" in reason(tmp_path, "@one")


@pytest.mark.parametrize("text", [r"'a\b'", r'"a\b"', "a\\\nb", "a\\", '"a\\\nb"'])
def test_what_releases_of_gcc_disagree_about_stays_here(text: str, tmp_path: Path) -> None:
    (tmp_path / "words").write_text(text)
    assert "disagree" in reason(tmp_path, "@words")


@pytest.mark.parametrize("content", [b"a\0b", b"\xef\xbb\xbf-c", b"\xff\xfe-\0c\0", b"'a"])
def test_what_is_no_plain_text_stays_here(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "words").write_bytes(content)
    reason(tmp_path, "@words")


def test_a_pipe_is_left_to_the_compiler(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a plain file" in reason(tmp_path, "@pipe")
    assert "not a plain file" in reason(tmp_path, f"@{tmp_path}")


def test_all_files_of_a_call_together_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_files, "MAX_BYTES", 8)
    monkeypatch.setattr(response_files, "MAX_ARGUMENTS", 4)
    (tmp_path / "words").write_text("a b")
    assert expanded(tmp_path, "@words") == ["a", "b"]
    assert "too large" in reason(tmp_path, "@words", "@words", "@words")
    assert "too many" in reason(tmp_path, "@words", "c", "d", "@words")


def test_bytes_that_are_no_text_come_through(tmp_path: Path) -> None:
    (tmp_path / "words").write_bytes(b"-I\xff\xe9")
    assert os.fsencode(expanded(tmp_path, "@words")[0]) == b"-I\xff\xe9"


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0@\r\n"))))
def test_words_in_quotes_come_out_as_they_were(words: list[str]) -> None:
    text = " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)
    assert list(response_files.split(text)) == words
