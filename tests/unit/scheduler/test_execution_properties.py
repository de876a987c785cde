"""Properties that say how to run an action are matched by ability and travel with the lease."""

from pathlib import Path

import pytest

from reapi.core.errors import InvalidArgument
from reapi.scheduler.platform_rewriting import PlatformRewriting
from tests.unit.scheduler.harness import FakeWorker, Scheduler, response_of

IMAGE = f"tree:{'ab' * 32}/100"


async def test_an_action_with_an_image_goes_to_a_worker_that_can_use_images(
    scheduler: Scheduler,
) -> None:
    worker = FakeWorker(scheduler, platform={"container-image": "tree"})
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action(platform={"container-image": IMAGE}))
    await stream.next()
    lease = await worker.lease()
    assert [(one.name, one.value) for one in lease.platform.properties] == [
        ("container-image", IMAGE)
    ]
    await worker.run(lease)
    await stream.last()


async def test_a_fleet_that_cannot_do_it_is_named_at_once(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    properties = {"input-root": "/", "network": "on", "container-image": "docker://x"}
    stream = scheduler.execute(scheduler.add_action(platform=properties))
    response = response_of(await stream.last())
    for unmet in ("input-root=/", "network=on", "container-image=docker://x"):
        assert unmet in response.status.message


async def test_what_any_worker_may_do_its_own_way_is_not_matched(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    properties = {"persistentWorkerKey": "17", "network": "off", "input-root": "host"}
    stream = scheduler.execute(scheduler.add_action(platform=properties))
    await stream.next()
    lease = await worker.lease()
    assert {one.name for one in lease.platform.properties} == set(properties)
    await worker.run(lease)
    await stream.last()


async def test_what_is_booked_travels_with_the_lease(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler, resources={"cpu": 4000, "memory": 1 << 30})
    await worker.connect()
    properties = {"resource.cpu": "1.5", "resource.memory": "512Mi"}
    stream = scheduler.execute(scheduler.add_action(platform=properties))
    await stream.next()
    lease = await worker.lease()
    assert {one.name: one.amount for one in lease.resources} == {"cpu": 1500, "memory": 512 << 20}
    await worker.run(lease)
    await stream.last()


async def test_an_operator_can_say_how_the_actions_of_an_instance_are_run(tmp_path: Path) -> None:
    rewritings = {"main": PlatformRewriting(add={"input-root": "/"})}
    async with Scheduler(tmp_path / "scheduler.db", platform_rewritings=rewritings) as scheduler:
        worker = FakeWorker(scheduler, platform={"input-root": "/"})
        await worker.connect()
        stream = scheduler.execute(scheduler.add_action(), instance_name="main")
        await stream.next()
        lease = await worker.lease()
        assert [(one.name, one.value) for one in lease.platform.properties] == [("input-root", "/")]
        await worker.run(lease)
        await stream.last()


async def test_a_value_that_means_nothing_fails_the_call(scheduler: Scheduler) -> None:
    stream = scheduler.execute(scheduler.add_action(platform={"network": "maybe"}))
    with pytest.raises(InvalidArgument, match="network = 'maybe' is not valid"):
        await stream.next()
