"""The executor's directory: one executor at a time, and nothing of an earlier one left."""

from pathlib import Path

import pytest

from reapi.core.errors import FailedPrecondition
from reapi.executor.action_uid import ActionUid, can_separate_uids
from reapi.executor.work_area import WorkArea
from tests.unit.executor.harness import needs_root


def test_what_an_earlier_life_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    WorkArea(tmp_path).close()
    (tmp_path / "files" / "ab").mkdir()
    (tmp_path / "files" / "ab" / "stale").write_text("stale")
    (tmp_path / "slots" / "0" / "root").mkdir(parents=True)
    (tmp_path / "images" / "1" / "root").mkdir(parents=True)
    (tmp_path / "trash" / "7").mkdir()
    (tmp_path / "mine").write_text("mine")
    area = WorkArea(tmp_path)
    for cleared in (area.files, area.slots, area.images):
        assert list(cleared.iterdir()) == []
    assert list((tmp_path / "trash").iterdir()) == []
    assert (tmp_path / "mine").read_text() == "mine"
    area.close()


def test_a_directory_in_use_by_another_executor_is_refused(tmp_path: Path) -> None:
    area = WorkArea(tmp_path)
    with pytest.raises(FailedPrecondition, match="another executor uses"):
        WorkArea(tmp_path)
    area.close()
    WorkArea(tmp_path).close()


def test_no_two_slots_on_a_machine_have_the_same_uid() -> None:
    one, two = ActionUid(), ActionUid()
    assert one.number != two.number
    one.release()
    two.release()


@needs_root
def test_uids_that_cannot_reach_the_work_area_are_not_used(
    tmp_path: Path, reachable_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert can_separate_uids(reachable_path)
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    assert not can_separate_uids(hidden)
    assert "chmod o+x" in caplog.text
