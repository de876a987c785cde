"""Counters, the journal, its answers and its trace."""

from pathlib import Path

import pytest

from reapi.clients.compile import journal as journal_module
from reapi.clients.compile import statistics as statistics_module
from reapi.clients.compile.build_warnings import BuildWarnings
from reapi.clients.compile.journal import Entry, Journal, entry_of, read_journal
from reapi.clients.compile.model import Invocation
from reapi.clients.compile.outcome import Outcome, OutcomeKind, Phase
from reapi.clients.compile.statistics import Statistics, read_statistics, zero_statistics
from reapi.clients.compile.trace import trace_of
from reapi.clients.compile.why import calls_of, explain

HIT = Outcome(OutcomeKind.HIT_LOCAL)


def entry(at: float, seconds: float = 1.0, source: str = "a.c", directory: str = "/p") -> Entry:
    return Entry(at, seconds, directory, "hit-local", source)


def test_two_daemons_count_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "statistics.json"
    one, other = Statistics(path), Statistics(path)
    one.count(HIT, 0.5)
    other.count(HIT, 0.25)
    other.count(Outcome(OutcomeKind.MISS_REMOTE, slot_seconds=3), 1)
    one.flush()
    other.flush()
    other.flush()
    found = read_statistics(path)
    assert found["calls"] == {"hit-local": 2, "miss-remote": 1}
    assert found["seconds"] == {"hit-local": 0.75, "miss-remote": 1, "executor-slots": 3}
    assert found["hit_rate"] == pytest.approx(2 / 3)
    zero_statistics(path)
    assert read_statistics(path)["calls"] == {}


@pytest.mark.parametrize("content", ["", "[]", '{"since": 1}', '{"since": 1, "calls": {"a": "b"}}'])
def test_a_damaged_file_begins_anew(tmp_path: Path, content: str) -> None:
    path = tmp_path / "statistics.json"
    path.write_text(content)
    statistics = Statistics(path)
    statistics.count(HIT, 1)
    statistics.flush()
    assert read_statistics(path)["calls"] == {"hit-local": 1}


def test_reasons_without_end_are_counted_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics_module, "_MOST_NAMES", 3)
    statistics = Statistics(tmp_path / "statistics.json")
    for number in range(10):
        statistics.count(Outcome(OutcomeKind.LOCAL, reason=str(number)), 1)
    statistics.flush()
    reasons = read_statistics(tmp_path / "statistics.json")["reasons"]
    assert reasons == {"local: 0": 1, "local: 1": 1, "local: 2": 1, "other": 7}


def test_counters_that_cannot_be_written_are_kept(tmp_path: Path) -> None:
    statistics = Statistics(tmp_path / "absent" / "statistics.json")
    statistics.count(HIT, 1)
    with pytest.raises(OSError, match="absent"):
        statistics.flush()
    (tmp_path / "absent").mkdir()
    statistics.flush()
    assert read_statistics(tmp_path / "absent" / "statistics.json")["calls"] == {"hit-local": 1}


def test_the_journal_forgets_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_LARGEST_FILE_BYTES", 1000)
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for number in range(50):
        journal.note(entry(number))
        journal.flush()
    found = [each.at for each in read_journal(path)]
    assert found == sorted(found)
    assert found[-1] == 49
    assert 1 < len(found) < 20


def test_damaged_lines_of_the_journal_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.note(entry(1))
    journal.flush()
    with path.open("a") as file:
        file.write('{"at": 1}\n[]\n{"at"\n{"phases": [1]}\n\xff\n')
    journal.note(entry(2))
    journal.flush()
    assert [each.at for each in read_journal(path)] == [1, 2]


def test_an_entry_has_its_phases_from_its_own_begin_and_is_bounded() -> None:
    outcome = Outcome(
        OutcomeKind.MISS_REMOTE,
        source="x" * 5000,
        details=("d" * 5000,) * 100,
        phases=(Phase("upload", 10.5, 11.0),),
    )
    call = Invocation(("cc", "-c", "x.c"), "/p", {})
    made = entry_of(call, outcome, at=100, begin=10, seconds=2, exit_code=0)
    assert made.phases == [("upload", 0.5, 0.5)]
    assert len(made.source) == 1000
    assert sum(map(len, made.details)) == 20_000


def test_why_finds_a_file_by_any_of_its_paths_newest_first(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    entries = [
        entry(1, source="a.c", directory=str(tmp_path)),
        entry(2, source="b.c", directory=str(tmp_path)),
        entry(3, source=f"{tmp_path}/link/a.c", directory="/"),
    ]
    assert [each.at for each in calls_of(f"{tmp_path}/a.c", entries)] == [3, 1]
    assert calls_of("/elsewhere/a.c", entries) == []
    assert "came from the cache of this machine" in "\n".join(explain(entries[0]))
    assert explain(Entry(1, 1, "/", "of a later version"))


def test_calls_at_the_same_time_are_on_lanes_of_their_own() -> None:
    events = trace_of([entry(2, 1), entry(0, 1.5), entry(1, 2), entry(3, 1)])["traceEvents"]
    slices = [(event["ts"], event["dur"], event["tid"]) for event in events[1:]]
    assert slices == [(0, 1.5e6, 1), (1e6, 2e6, 2), (2e6, 1e6, 1), (3e6, 1e6, 1)]


def test_a_build_is_warned_once_and_the_next_one_again() -> None:
    warnings = BuildWarnings()
    for now in (0.0, 10.0, 20.0):
        warnings.note_call(1, now)
        assert bool(warnings.line(1, "trouble\u20ac", now)) is (now == 0.0)
    warnings.note_call(2, 20)
    assert warnings.line(2, "trouble", 20)
    warnings.note_call(1, 36)
    assert warnings.line(1, "trouble", 36)


def test_sessions_without_end_are_forgotten() -> None:
    warnings = BuildWarnings()
    for session in range(10_000):
        warnings.note_call(session, 0)
    assert len(warnings._builds) < 1000
