"""Journal records: the same bytes always, and readable when events have grown."""

import dataclasses
from typing import get_args

import pytest

from reapi.scheduler import codec
from reapi.scheduler.events import Enqueue, Event, PolicySet, TimePassed, WorkerConnected
from reapi.scheduler.model import Execution, Stage, Worker
from reapi.scheduler.policy import Policy

SAMPLES = [
    Enqueue("op", "main", "blobs/ab/1", True, (("a", "b"), ("a", "c")), -3, b"\0\xff"),
    WorkerConnected("w", "s", 2, (), (("op", 1 << 40),)),
    TimePassed(),
    Execution("op", "", "a", False, (), 1, 2, b"x", Stage.EXECUTING, 7, "w", 1, 2, 3, ["op", "b"]),
    Worker("w", "s", 3, (("a", "b"),), False, True, 9, {5: "op", 1 << 33: "b"}),
    Worker("w", "s", 3, (), resources=(("cpu", 9),), booked={5: (("cpu", 2), ("gpu", 1))}),
    PolicySet(
        Policy(
            tenants=(("main", 3, 0, 9),),
            pools=(((("a", "b"),), (("cpu", 9),)),),
            fleet_resources=(("licence", 2),),
        )
    ),
]


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: type(value).__name__)
def test_a_record_says_what_was_written(value: object) -> None:
    record = codec.encode(17, value)
    now, revived = codec.decode(record)
    assert now == 17
    assert codec.revive(revived) == value
    assert codec.encode(17, codec.revive(revived)) == record


def test_every_event_has_a_reader() -> None:
    for event in get_args(Event):
        assert dataclasses.is_dataclass(event)
        assert event.__name__ in codec._TYPES


def test_a_record_from_before_a_field_was_added_gets_its_default() -> None:
    (record,) = codec.decode('[1,["Worker","w","s",3,[]]]')
    assert codec.revive(record) == Worker("w", "s", 3, ())


def test_the_format_on_disk_does_not_change_by_accident() -> None:
    assert codec.encode(5, SAMPLES[0]) == (
        '[2,5,["Enqueue","op","main","blobs/ab/1",true,[["a","b"],["a","c"]],-3,"AP8=","","",[],0]]'
    )


def test_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 3"):
        codec.decode("[3]")
