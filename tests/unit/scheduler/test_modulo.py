"""Strict placement: who owns an action, and which workers may own any."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reapi.core.errors import InvalidArgument
from reapi.scheduler.modulo import check, ordinal_of, owner, scaling_text

hashes = st.binary(min_size=16, max_size=64).map(bytes.hex)
fleets = st.integers(1, 10_000)


@given(hashes, fleets)
def test_exactly_one_worker_owns_an_action_and_it_is_the_hash_modulo_their_number(
    action_hash: str, workers: int
) -> None:
    number = owner(action_hash, workers)
    assert 0 <= number < workers
    assert (int.from_bytes(bytes.fromhex(action_hash)) - number) % workers == 0


@given(st.integers(0, 2**256 - 100), fleets)
def test_consecutive_hashes_go_round_all_workers(first: int, workers: int) -> None:
    owners = [owner(f"{first + step:064x}", workers) for step in range(min(workers, 99))]
    assert len(set(owners)) == len(owners)


@given(st.text(max_size=60), st.integers(0, 999_999_999))
def test_the_number_after_the_last_hyphen_is_the_ordinal(name: str, number: int) -> None:
    assert ordinal_of(f"{name}-{number}", None) == number


def test_the_configured_ordinal_goes_before_the_name() -> None:
    assert ordinal_of("executor-12", 3) == 3
    assert ordinal_of("no number at all", 0) == 0


@pytest.mark.parametrize(
    "name",
    ["", "executor", "12", "executor12", "executor-", "executor-1a", "executor-12-blue",
     "executor-+1", "executor- 1", "executor-1_0", "executor-1\n", "executor-\u0661",
     "executor-0.pod", "executor-" + "1" * 5000],
    ids=lambda name: repr(name[:20]),
)  # fmt: skip
def test_a_name_without_a_number_at_its_end_is_refused_and_told_what_to_set(name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        ordinal_of(name, None)
    for words in ("executor.ordinal", "executor.worker_id", "-NUMBER", repr(name)):
        assert words in refused.value.message


@given(st.text("ab-0159\n.\u0661", max_size=20))
def test_any_name_gives_the_number_at_its_end_or_a_refusal(name: str) -> None:
    _, hyphen, last = name.rpartition("-")
    if hyphen and last.isascii() and last.isdigit() and len(last) < 10:
        assert ordinal_of(name, None) == int(last)
    else:
        with pytest.raises(InvalidArgument):
            ordinal_of(name, None)


@given(fleets, st.data())
def test_every_free_ordinal_below_their_number_is_accepted(
    workers: int, data: st.DataObject
) -> None:
    assert check(data.draw(st.integers(0, workers - 1)), workers, ()) is None


def test_a_missing_ordinal_is_refused_and_told_what_to_set() -> None:
    refusal = check(-1, 3, ())
    assert refusal is not None
    assert "executor.ordinal" in refusal


@given(fleets, st.integers(0, 100))
def test_an_ordinal_beyond_the_fleet_is_refused_and_told_both_numbers(
    workers: int, beyond: int
) -> None:
    refusal = check(workers + beyond, workers, ())
    assert refusal is not None
    assert f"ordinal {workers + beyond} " in refusal
    assert f"expected_workers = {workers}," in refusal


def test_a_doubled_ordinal_is_refused_and_told_who_has_it() -> None:
    refusal = check(1, 3, ["b-1", "a-1"])
    assert refusal is not None
    assert "'a-1', 'b-1'" in refusal


def test_a_change_of_their_number_is_said_with_both_numbers() -> None:
    text = scaling_text(4, 6)
    assert text.startswith("SCALING DETECTED: ")
    assert "was 4 and is 6" in text
