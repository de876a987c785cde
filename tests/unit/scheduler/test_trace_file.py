"""Traces are read from JSON of several shapes, and hostile ones are refused with their entry."""

import json
from pathlib import Path
from typing import Any

import pytest

from reapi.core.errors import InvalidArgument, NotFound
from reapi.scheduler.simulation.trace import FleetResized, TraceAction, WorkerFails
from reapi.scheduler.simulation.trace_file import read_trace

SECOND = 1_000_000
ACTION = {"queued": 10, "duration_seconds": 2.5}


def lines(*entries: Any) -> str:
    return "\n".join(map(json.dumps, entries))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "trace"
    path.write_text(text)
    return path


def test_a_trace_begins_with_its_first_step_whatever_the_order(tmp_path: Path) -> None:
    later = {
        "queued": 12,
        "duration_seconds": 1,
        "tenant": "app",
        "invocation": "build-1",
        "target": "//a:b",
        "mnemonic": "Compile",
        "action_digest": "hash/1",
        "platform": {"size": "big", "OSFamily": "linux"},
        "priority": -1,
    }
    failure, resize = {"at": 11, "fails": 3, "away_seconds": 60}, {"at": 13, "workers": 20}
    trace = read_trace(written(tmp_path, lines(later, resize, failure, ACTION)))
    properties = (("OSFamily", "linux"), ("size", "big"))
    assert list(trace.steps) == [
        TraceAction(0, 2_500_000, "at 10000000"),
        WorkerFails(1 * SECOND, 3, 60 * SECOND),
        TraceAction(
            2 * SECOND, SECOND, "hash/1", "app", "build-1", "//a:b", "Compile", properties, -1
        ),
        FleetResized(3 * SECOND, 20),
    ]
    assert trace.properties == properties


def test_the_history_is_a_trace_of_what_ran(tmp_path: Path) -> None:
    entry = {
        "operation": "name",
        "queued": "2026-11-21T08:00:00.500000Z",
        "duration_seconds": 3.0,
        "cached": False,
        "target": "//a:b",
        "mnemonic": None,
        "attempts": [],
    }
    cached = entry | {"cached": True}
    never_ran = entry | {"duration_seconds": None}
    later = entry | {"queued": "2026-11-21T09:00:02.500000+01:00"}
    trace = read_trace(written(tmp_path, json.dumps([later, cached, never_ran, entry], indent=2)))
    assert [step.at for step in trace.steps] == [0, 2 * SECOND]
    assert trace.skipped == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has nothing that ran"),
        ("{", "entry 0: "),
        ("[1]", "entry 1: "),
        ('["text"]', "entry 1: "),
        (lines(ACTION, {"queued": 1}), "entry 2: 'duration_seconds' is missing"),
        (lines(ACTION | {"duration_seconds": -1}), "not within a year"),
        (lines(ACTION | {"duration_seconds": "nan"}), "not within a year"),
        (lines(ACTION | {"queued": "yesterday"}), "entry 1: "),
        (lines(ACTION | {"queued": "inf"}), "entry 1: "),
        (lines(ACTION | {"platform": []}), "entry 1: "),
        ('{"queued": 1e999, "duration_seconds": 1}', "entry 1: "),
        (lines({"at": 1, "workers": 10**9}), "not between"),
        (lines({"at": 1, "fails": -1, "away_seconds": 1}), "not between"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_entry(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        read_trace(written(tmp_path, text))


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_trace(tmp_path / "absent")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidArgument, match="cannot read"):
        read_trace(tmp_path / "bytes")
