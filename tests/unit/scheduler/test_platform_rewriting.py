"""Platform properties of actions are translated before they count."""

from pathlib import Path

import pytest

from reapi.core.errors import InvalidArgument
from reapi.scheduler.platform_rewriting import UNCHANGED, PlatformRewriting
from tests.unit.scheduler.harness import FakeWorker, Scheduler

ASKED = (("OSFamily", "Linux"), ("Pool", "a"), ("container-image", "docker://x"))


def test_names_are_removed_renamed_set_and_added() -> None:
    rewriting = PlatformRewriting(
        remove=frozenset({"container-image"}),
        rename={"Pool": "pool"},
        set={"OSFamily": "linux"},
        add={"ISA": "x86-64", "pool": "default"},
    )
    assert rewriting.apply(ASKED) == (("ISA", "x86-64"), ("OSFamily", "linux"), ("pool", "a"))


def test_names_are_renamed_all_at_once() -> None:
    rewriting = PlatformRewriting(rename={"a": "b", "b": "a"})
    assert rewriting.apply((("a", "1"), ("b", "2"))) == (("a", "2"), ("b", "1"))


def test_what_is_set_replaces_all_values() -> None:
    rewriting = PlatformRewriting(set={"a": "3"})
    assert rewriting.apply((("a", "1"), ("a", "2"))) == (("a", "3"),)


def test_without_a_table_nothing_changes() -> None:
    assert UNCHANGED.apply(ASKED) == ASKED


async def test_an_action_goes_where_its_rewritten_properties_lead(tmp_path: Path) -> None:
    rewriting = PlatformRewriting(set={"OSFamily": "linux"}, add={"resource.cpu": "2"})
    rewritings = {"main": rewriting}
    async with Scheduler(tmp_path / "scheduler.db", platform_rewritings=rewritings) as scheduler:
        worker = FakeWorker(scheduler, platform={"OSFamily": "linux"}, resources={"cpu": 2000})
        await worker.connect()
        action = scheduler.add_action(platform={"OSFamily": "Linux"})
        stream = scheduler.execute(action, instance_name="main")
        await stream.next()
        lease = await worker.lease()
        assert lease.action.platform.properties[0].value == "Linux"
        await worker.run(lease)
        await stream.last()


async def test_a_resource_that_cannot_be_read_fails_the_call(scheduler: Scheduler) -> None:
    stream = scheduler.execute(scheduler.add_action(platform={"resource.cpu": "many"}))
    with pytest.raises(InvalidArgument, match=r"resource\.cpu = 'many' cannot be read"):
        await stream.next()
