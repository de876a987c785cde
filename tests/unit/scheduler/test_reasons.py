"""What is said to people about why something waits, for how long, and why a worker was chosen."""

import pytest

from reapi.scheduler.events import DrainWorker, TimePassed, WorkerDisconnected
from reapi.scheduler.model import Choice, Why
from reapi.scheduler.reasons import expected_start, position, why_chosen, why_waiting
from tests.unit.scheduler.core import LINUX, POLICY, SECOND, Core, connect, enqueue


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (Choice(Why.PREFERRED, 1, "w"), "w was chosen: it is the preferred worker"),
        (Choice(Why.SPILL, 3, "v"), "number 3 in the order of this action; v would have been"),
        (Choice(Why.SPILL, 0, "v"), "better placed workers have no room; v would have been"),
        (Choice(Why.STOLEN, 0, "v"), "while the preferred worker was busy, which is v"),
        (Choice(Why.HEDGE, 2, "v"), "takes much longer than expected, which is on v"),
        (Choice(Why.TURN), "it had room when the turn of this action came"),
    ],
)
def test_a_choice_is_explained(choice: Choice, words: str) -> None:
    assert words in why_chosen(choice, "w")


def test_what_runs_does_not_wait() -> None:
    core = Core()
    core(connect())
    core(enqueue("a"))
    assert core.why("a") == ""
    assert position(core.execution("a")) == 0
    assert expected_start(core.queue, core.execution("a")) == 0


def test_an_empty_fleet_is_said() -> None:
    core = Core()
    core(enqueue("a", properties=LINUX))
    assert core.why("a") == "no worker has connected yet"
    core(connect("other"))
    assert core.why("a") == "no worker that offers OS=linux is left; it fails unless one comes soon"


def test_workers_that_take_no_leases_are_counted_by_cause() -> None:
    core = Core()
    for name in ("w1", "w2", "w3"):
        core(connect(name))
    core(DrainWorker("w1"))
    core(WorkerDisconnected("w2", "s1"))
    core(WorkerDisconnected("w3", "s1"))
    core(enqueue("a"))
    assert core.why("a") == (
        "of the workers that could run it none takes leases: 2 away, 1 draining"
    )
    core(TimePassed(), after=POLICY.reconnect_grace)
    assert core.why("a") == "of the workers that could run it none takes leases: 1 draining"


def test_the_position_counts_what_starts_before_by_shares() -> None:
    core = Core()
    core(connect())
    core(enqueue("runs"))
    for number in range(10):
        core(enqueue(f"a{number}", invocation="a"))
    for number in range(3):
        core(enqueue(f"b{number}", invocation="b"))
    assert position(core.execution("a0")) == 1
    assert position(core.execution("b0")) == 1
    # Two of its own and two of the other invocation are before it.
    assert position(core.execution("b2")) == 5
    # The other invocation has no more than three.
    assert position(core.execution("a9")) == 13
    assert "about 12 start before it" in core.why("a9")


def test_the_position_in_a_long_queue_is_nearly_right() -> None:
    core = Core()
    for number in range(3000):
        core.queue.handle(enqueue(f"a{number}"), number)
    for number in (0, 1500, 2999):
        assert abs(position(core.execution(f"a{number}")) - number - 1) <= 60


def test_the_expected_start_follows_from_what_history_expects() -> None:
    core = Core()
    core(connect(slots=2))
    for number in range(8):
        core(enqueue(f"a{number}", expected=10 * SECOND))
    core.now = 7 * SECOND
    core(TimePassed())
    # Of six that wait it is the last: they are two at a time.
    assert expected_start(core.queue, core.execution("a7")) == (7 + 6 * 10 // 2) * SECOND
    core(enqueue("b", invocation="other"))
    assert position(core.execution("b")) == 1


def test_nothing_is_guessed_without_history() -> None:
    core = Core()
    core(connect())
    core(enqueue("a"))
    core(enqueue("b"))
    assert expected_start(core.queue, core.execution("b")) == 0


def test_questions_change_nothing() -> None:
    core = Core(max_running_per_invocation=1)
    core(connect(slots=2))
    for number in range(5):
        core(enqueue(f"a{number}"))
    deadline = core.queue.next_deadline()
    for execution in core.queue.executions.values():
        why_waiting(core.queue, execution)
        position(execution)
        expected_start(core.queue, execution)
    assert core.queue.next_deadline() == deadline
    assert core(TimePassed()) == []
