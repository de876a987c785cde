"""Lanes that are the same to every worker: what is chosen among them, and what that costs."""

from random import Random

import pytest

from reapi.scheduler.events import CancelOperation, LeaseReturned, WorkerDisconnected
from reapi.scheduler.lane import Lane
from reapi.scheduler.model import Execution, Properties, Stage, Worker
from reapi.scheduler.priority import scale
from reapi.scheduler.resources import fits
from tests.unit.scheduler.core import SECOND, Core, connect, enqueue, leased

IMAGES = 3
ALL: Properties = tuple(("image", f"i{number}") for number in range(IMAGES))
SOME = ALL[:1]
POOLS = ((ALL, ()), (ALL, (("cpu", 2),)), (SOME, (("cpu", 4),)))
RESOURCES = ((), (), (("cpu", 1),), (("cpu", 2),), (("licence", 1),), (("cpu", 1), ("licence", 1)))

OFTEN = ("enqueue",) * 10 + ("end",) * 6 + ("merge",) * 3 + ("cancel",)
RARELY = ("connect", "connect", "away", "return", "policy")


def image(number: int) -> Properties:
    return ALL[number % IMAGES : number % IMAGES + 1]


def scanned(core: Core, worker: Worker) -> Execution | None:
    """The rule as it is told, by a look at everything: who is next for a worker with room."""
    fleet = core.queue.fleet
    heads: dict[tuple[Lane, str, str], Execution] = {}
    for one in core.queue.executions.values():
        if one.stage is not Stage.QUEUED or one.held_until or one.account.is_at_cap:
            continue
        lane = one.lane
        if not (worker.pool.could_run(lane) and fits(lane.needs, worker.free)):
            continue
        if fits(lane.tokens, fleet.tokens):
            key = (lane, one.tenant, one.invocation)
            other = heads.setdefault(key, one)
            if (one.urgency, one.sequence) < (other.urgency, other.sequence):
                heads[key] = one
    return min(heads.values(), key=rank, default=None)


def rank(head: Execution) -> tuple[object, ...]:
    account, tenant = head.account, head.account.tenant
    return (
        (tenant.running * (1 << 20) // tenant.weight, tenant.turn, tenant.name),
        ((account.running + 1) * scale(head.priority), account.turn, account.name),
        head.urgency,
        head.sequence,
    )


def take(core: Core, number: int, step: str, random: Random) -> None:
    """One step of a history; it may be none, if there is nothing that it could be about."""
    live = list(core.queue.executions.values())
    chosen = random.choice(live) if live else None
    worker_id = f"w{random.randrange(4)}"
    if step == "enqueue":
        event = enqueue(
            f"a{number}",
            properties=image(random.randrange(IMAGES)),
            resources=random.choice(RESOURCES),
            priority=random.choice((0, 0, -150, 70, 5000)),
            tenant=random.choice("aab"),
            invocation=random.choice("xxy"),
            expected=random.choice((0, SECOND, 5 * SECOND)),
        )
        core(event, after=random.choice((0, 1000)))
    elif step == "connect":
        properties, resources = random.choice(POOLS)
        event = connect(
            worker_id, f"s{number}", slots=2, properties=properties, resources=resources
        )
        core(event)
    elif step == "away" and worker_id in core.queue.fleet.workers:
        session = core.queue.fleet.workers[worker_id].session_id
        core(WorkerDisconnected(worker_id, session))
    elif step == "policy":
        core.set_policy(max_running_per_invocation=random.choice((0, 0, 2)))
    elif chosen is None:
        return
    elif step == "end" and chosen.worker_id:
        core.complete(chosen.execution_id)
    elif step == "return" and chosen.worker_id:
        core(LeaseReturned(chosen.worker_id, chosen.execution_id, chosen.epoch))
    elif step == "cancel":
        core(CancelOperation(chosen.operations[0]))
    elif step == "merge":
        more_urgent = chosen.priority - random.randrange(300)
        core(enqueue(f"m{number}", action=chosen.action, priority=more_urgent))


@pytest.mark.parametrize("seed", range(40))
def test_the_next_for_each_worker_is_the_one_that_a_look_at_everything_finds(seed: int) -> None:
    random = Random(seed)
    core = Core(
        fleet_resources=(("licence", 2),),
        preferred_wait=0,
        ageing=10_000,
        tenants=(("a", 3, 0, 0), ("b", 1, 3, 0)),
        max_attempts=100,
    )
    core(connect("w0", "first", slots=2, properties=ALL))
    for number in range(120):
        take(core, number, random.choice(OFTEN * 3 + RARELY), random)
        for worker in core.queue.fleet.workers.values():
            assert core.queue.next_for(worker) is scanned(core, worker)


def test_lanes_that_are_the_same_to_every_worker_share_one_roster() -> None:
    core = Core()
    core(connect(properties=ALL))
    for number in range(2 * IMAGES):
        core(enqueue(f"a{number}", properties=image(number)))
    (roster,) = core.queue.fleet.rosters
    assert len(roster.lanes) == IMAGES


def test_a_new_pool_that_can_run_some_of_the_lanes_parts_them() -> None:
    core = Core(preferred_wait=0)
    core(connect("all", properties=ALL))
    for number in range(3 * IMAGES):
        core(enqueue(f"a{number}", properties=image(number)))
    commands = core(connect("some", slots=9, properties=SOME))
    assert leased(commands) == [(name, "some") for name in ("a3", "a6")]
    assert len(core.queue.fleet.rosters) == 2


def test_a_lane_that_comes_while_a_worker_is_changing_knows_the_room_there_is() -> None:
    """What was given back is asked for again in the same event, in a lane that nothing else has."""
    core = Core(preferred_wait=0, max_attempts=9)
    core(connect(properties=ALL))
    core(enqueue("runs", properties=image(0)))
    core(enqueue("waits", properties=image(1), priority=-100))
    core.set_policy(max_attempts=8)
    assert len(core.queue.fleet.lanes) == 1
    execution = core.execution("runs")
    commands = core(LeaseReturned("w1", "runs", execution.epoch))
    assert leased(commands) == [("runs", "w1")]


def test_the_turns_of_many_lanes_do_not_pile_up() -> None:
    core = Core(max_queued=0)
    core.queue.handle(connect(slots=7, properties=ALL), 0)
    for number in range(3000):
        name = str(number % 3)
        one = enqueue(f"a{number}", tenant=name, invocation=name, properties=image(number))
        core.queue.handle(one, 3000 - number)
    (roster,) = core.queue.fleet.rosters
    bundles = [bundle for branch in roster.branches.values() for bundle in branch.lines.values()]
    assert len(bundles) == 3
    assert all(len(bundle.heap) < 50 for bundle in bundles)
    for _ in range(2900):
        running = next(one for one in core.queue.executions.values() if one.worker_id)
        core.queue.handle(core.completion(running.execution_id), 3000)
        assert len(roster.heap) < 50
        assert all(len(branch.heap) < 50 for branch in roster.branches.values())
        assert all(len(bundle.heap) < 50 for bundle in bundles)
