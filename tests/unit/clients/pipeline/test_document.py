"""YAML as texts with places, and what is refused of it."""

import pytest

from reapi.clients.pipeline.document import LARGEST_FILE_BYTES, read_documents
from reapi.clients.pipeline.mistakes import InvalidPlan


def mistake(data: bytes) -> str:
    with pytest.raises(InvalidPlan) as raised:
        read_documents("plan.yaml", data)
    (found,) = raised.value.mistakes
    return str(found)


def test_scalars_are_the_texts_that_were_written() -> None:
    (node,) = read_documents("plan.yaml", b"[3.10, no, 010, 1:30, yes, '', 2026-11-21, 'null']")
    assert node.plain() == ["3.10", "no", "010", "1:30", "yes", "", "2026-11-21", "null"]


def test_every_value_and_key_knows_its_place() -> None:
    (node,) = read_documents("plan.yaml", b"a:\n  - x\n  - b: y\n")
    inner = node.at(("a", 1, "b"))
    assert (inner.value, inner.line, inner.column) == ("y", 3, 8)
    key = node.at(("a", 1, "b"), of_key=True)
    assert (key.value, key.line, key.column) == ("b", 3, 5)


def test_a_path_that_leads_nowhere_ends_at_the_last_node_there_is() -> None:
    (node,) = read_documents("plan.yaml", b"a:\n  - x\n")
    assert node.at(("a", 7, "b")) is node.at(("a",))


def test_documents_are_read_one_by_one_without_empty_ones() -> None:
    documents = read_documents("plan.yaml", b"---\na: 1\n---\n---\nb: 2\n...\n")
    assert [node.plain() for node in documents] == [{"a": "1"}, {"b": "2"}]


def test_an_alias_stands_for_what_it_names() -> None:
    (node,) = read_documents("plan.yaml", b"a: &flags [x, y]\nb: *flags\n")
    assert node.plain() == {"a": ["x", "y"], "b": ["x", "y"]}


def test_aliases_that_multiply_are_refused_at_once() -> None:
    lines = [b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    for number in range(1, 10):
        ten = b",".join([b"*a%d" % (number - 1)] * 10)
        lines.append(b"a%d: &a%d [%s]" % (number, number, ten))
    expected = "plan.yaml:4:39: a file has 100,000 values at most, aliases included"
    assert mistake(b"\n".join(lines)).partition(": ")[2] == expected.partition(": ")[2]


def test_aliases_cannot_nest_deeper_than_values() -> None:
    lines = [b"a0: &a0 [x]"]
    for number in range(1, 100):
        lines.append(b"a%d: &a%d [*a%d]" % (number, number, number - 1))
    assert "nested more than 20 deep" in mistake(b"\n".join(lines))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a: 1\nb: 2\na: 3\n", "3:1: 'a' is here twice, first in line 1: remove one"),
        (b"a: !!python/name:os.system x\n", "1:4: plans have no tags: remove tag:yaml.org,2002:"),
        (b"a: !x {}\n", "1:4: plans have no tags: remove !x"),
        (b"? [a]\n: b\n", "1:3: a key must be a text"),
        (b"a: *b\n", "1:4: the alias *b names nothing above"),
        (b"a: &b [*b]\n", "1:8: the alias *b is a part of what it names"),
        (b"a: x\nb: \xff\n", "2:1: this is not UTF-8: save the file so"),
        (b"a:\n\tb: x\n", "2:1: not YAML: found character that cannot start any token"),
        (b"[" * 100_000, "1:22: nested more than 20 deep"),
        (b"#" * (LARGEST_FILE_BYTES + 1), "1:1: a plan has 1,048,576 bytes at most"),
        (b"a: \x00", "1:1: not YAML: "),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(data: bytes, expected: str) -> None:
    assert mistake(data).startswith(f"plan.yaml:{expected}")
