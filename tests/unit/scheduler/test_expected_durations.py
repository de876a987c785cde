"""How long actions are expected to take."""

import pytest

from reapi.scheduler import expected_durations
from reapi.scheduler.expected_durations import ExpectedDurations
from reapi.scheduler.history import ObservedDuration


def test_the_target_counts_more_than_the_mnemonic_and_nothing_is_known_of_others() -> None:
    durations = ExpectedDurations()
    durations.observe(ObservedDuration("", "//a", "CppCompile", 100))
    durations.observe(ObservedDuration("", "//b", "CppCompile", 200))
    assert durations.expected("", "//a", "CppCompile") == 100
    assert durations.expected("", "//b", "CppCompile") == 200
    assert durations.expected("", "//c", "CppCompile") == 130
    assert durations.expected("", "", "CppCompile") == 130
    assert durations.expected("", "//a", "CppLink") == 0
    assert durations.expected("main", "//a", "CppCompile") == 0


def test_later_durations_count_more() -> None:
    durations = ExpectedDurations()
    for duration in (1000, 1000, 1000, 100, 100, 100, 100, 100, 100):
        durations.observe(ObservedDuration("", "//a", "Test", duration))
    assert 100 < durations.expected("", "//a", "Test") < 250


def test_commands_without_a_name_have_nothing_in_common() -> None:
    durations = ExpectedDurations()
    durations.observe(ObservedDuration("", "", "", 100))
    assert durations.expected("", "", "") == 0
    durations.observe(ObservedDuration("", "//a", "", 100))
    assert durations.expected("", "//a", "") == 100
    assert durations.expected("", "//b", "") == 0


def test_what_was_of_no_use_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expected_durations, "_MOST_KEYS", 2)
    durations = ExpectedDurations()
    durations.observe(ObservedDuration("", "//a", "", 1))
    durations.observe(ObservedDuration("", "//b", "", 2))
    assert durations.expected("", "//a", "") == 1
    durations.observe(ObservedDuration("", "//c", "", 3))
    assert durations.expected("", "//b", "") == 0
    assert durations.expected("", "//a", "") == 1
