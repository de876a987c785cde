"""What an explanation is made of where a real server would take long to get there."""

import pytest
from google.rpc import code_pb2

from reapi.core.cache_state import CacheFinding, CacheState
from reapi.core.digest import Digest
from reapi.core.errors import NotFound
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ExecuteResponse
from reapi.scheduler.explainer import Explainer
from reapi.scheduler.explanation import ending
from tests.unit.scheduler.harness import FakeWorker, Scheduler


@pytest.fixture
def explainer(scheduler: Scheduler) -> Explainer:
    return Explainer(scheduler.dispatcher, scheduler.blobs, scheduler.action_cache)


@pytest.fixture
async def worker(scheduler: Scheduler) -> FakeWorker:
    made = FakeWorker(scheduler)
    await made.connect()
    return made


async def run(scheduler: Scheduler, worker: FakeWorker, action: Digest) -> str:
    """The name of the operation."""
    stream = scheduler.execute(action, instance_name="main")
    await worker.run(await worker.lease())
    return (await stream.last()).name


async def test_an_evicted_result_is_told_from_one_that_never_was(
    scheduler: Scheduler, explainer: Explainer, worker: FakeWorker
) -> None:
    action = scheduler.add_action()
    name = await run(scheduler, worker, action)
    scheduler.action_cache.results.clear()
    explanation = await explainer.explain_action("main", action)
    assert f"the result of {name} is not stored any more" in explanation.cache_reason
    again = await run(scheduler, worker, action)
    explanation = await explainer.explain_operation(again)
    assert f"the result of {name} is not stored any more" in explanation.run_reason
    assert explanation.compared_with is None
    (earlier,) = explanation.earlier
    assert earlier.operation_name == name


async def test_an_operation_of_the_past_is_explained_by_what_was_before_it(
    scheduler: Scheduler, explainer: Explainer, worker: FakeWorker
) -> None:
    action = scheduler.add_action()
    first = await run(scheduler, worker, action)
    del scheduler.action_cache.results["main", action]
    await run(scheduler, worker, action)
    explanation = await explainer.explain_operation(first)
    assert "no earlier run" in explanation.run_reason
    assert not explanation.earlier


async def test_a_removal_explains_only_what_came_after_it(
    scheduler: Scheduler, explainer: Explainer, worker: FakeWorker
) -> None:
    action = scheduler.add_action()
    name = await run(scheduler, worker, action)
    scheduler.action_cache.results.clear()
    long_ago = CacheFinding(CacheState.REVOKED, 1)
    scheduler.action_cache.removals["main", action] = long_ago
    explanation = await explainer.explain_action("main", action)
    assert "not stored any more" in explanation.cache_reason
    just_now = CacheFinding(CacheState.REVOKED, 1 << 35)
    scheduler.action_cache.removals["main", action] = just_now
    explanation = await explainer.explain_operation(name)
    assert explanation.cache_reason == just_now.sentence
    assert "no earlier run" in explanation.run_reason


async def test_the_next_like_action_is_taken_when_the_nearest_is_gone(
    scheduler: Scheduler, explainer: Explainer, worker: FakeWorker
) -> None:
    first, second, third = (scheduler.add_action("cc", str(n), outputs=["o"]) for n in range(3))
    for action in (first, second, third):
        await run(scheduler, worker, action)
    del scheduler.blobs.blobs[second]
    explanation = await explainer.explain_action("main", third)
    assert explanation.compared_with is not None
    assert explanation.compared_with.action == first
    assert explanation.comparison.notes == [
        f"the earlier action {second} is not stored any more, or malformed"
    ]
    (difference,) = explanation.comparison.differences
    assert (difference.earlier, difference.now) == ("0", "2")


async def test_other_instances_do_not_count(
    scheduler: Scheduler, explainer: Explainer, worker: FakeWorker
) -> None:
    action = scheduler.add_action("cc", "1", outputs=["o"])
    await run(scheduler, worker, action)
    explanation = await explainer.explain_action("", action)
    assert explanation.operation is None
    other = scheduler.add_action("cc", "2", outputs=["o"])
    assert (await explainer.explain_action("", other)).compared_with is None
    assert (await explainer.explain_action("main", other)).compared_with is not None


async def test_an_operation_that_history_has_forgotten_is_not_found(explainer: Explainer) -> None:
    with pytest.raises(NotFound, match="history has expired"):
        await explainer.explain_operation("operations/unknown")


@pytest.mark.parametrize("code", [code_pb2.ABORTED, 4711])
async def test_an_end_of_any_status_has_words(
    scheduler: Scheduler, explainer: Explainer, worker: FakeWorker, code: int
) -> None:
    stream = scheduler.execute(scheduler.add_action())
    response = ExecuteResponse()
    response.status.code = code
    response.status.message = "no luck"
    await worker.run(await worker.lease(), response)
    explanation = await explainer.explain_operation((await stream.last()).name)
    assert explanation.operation is not None
    assert ending(explanation.operation).endswith("no luck")
    assert "only successes are cached" in explanation.cache_reason
    assert any(line.startswith("ended") and "no luck" in line for line in explanation.lines())
