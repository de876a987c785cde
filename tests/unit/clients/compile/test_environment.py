"""What of the caller's environment a compile gets, and what keeps it here."""

import pytest

from reapi.clients.compile.environment import CARRIED, REFUSED, locale_charset, sent_environment
from reapi.clients.compile.model import Local


def test_only_what_a_compiler_reads_is_sent() -> None:
    environment = {"HOME": "/home/u", "PATH": "/bin", "CPATH": "include", "TMPDIR": "/var/tmp"}
    assert sent_environment(environment) == {"CPATH": "include", "LC_ALL": "C"}


@pytest.mark.parametrize("name", CARRIED)
def test_what_changes_a_result_is_sent(name: str) -> None:
    assert sent_environment({name: "x"}) == {name: "x", "LC_ALL": "C"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_had_elsewhere_keeps_a_call_here(name: str) -> None:
    answer = sent_environment({name: "x"})
    assert isinstance(answer, Local)
    assert name in answer.reason


@pytest.mark.parametrize(
    ("variables", "sent"),
    [
        ({}, "C"),
        ({"LANG": "C.UTF-8"}, "C.UTF-8"),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, "C.UTF-8"),
        ({"LANG": "C.UTF-8", "LC_ALL": "C"}, "C"),
        ({"LANG": "C.UTF-8", "LC_ALL": ""}, "C.UTF-8"),
        ({"LANG": "no_SUCH.UTF-8"}, "C"),
    ],
)
def test_the_language_is_english_with_the_characters_of_the_caller(
    variables: dict[str, str], sent: str
) -> None:
    assert sent_environment(variables) == {"LC_ALL": sent}


def test_another_character_set_keeps_a_call_here(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "reapi.clients.compile.environment"
    monkeypatch.setattr(f"{module}._charset", {"de_DE": "ISO-8859-1"}.__getitem__)
    assert locale_charset({"LANG": "de_DE"}) == "ISO-8859-1"
    answer = sent_environment({"LANG": "de_DE"})
    assert isinstance(answer, Local)
    assert "ISO-8859-1" in answer.reason
