"""Amounts of resources as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reapi.core.errors import InvalidArgument
from reapi.scheduler.resource_properties import parse_amount, resources_of, split_resources


@pytest.mark.parametrize(
    ("name", "text", "amount"),
    [
        ("cpu", "2", 2000),
        ("cpu", "0.5", 500),
        ("cpu", "1500m", 1500),
        ("cpu", "0.0001", 1),
        ("memory", "4Gi", 4 << 30),
        ("memory", "1.5Gi", 3 << 29),
        ("memory", "512Mi", 512 << 20),
        ("memory", "2G", 2_000_000_000),
        ("memory", "1000", 1000),
        ("gpu", "1", 1),
        ("licence-x", "0", 0),
    ],
)
def test_an_amount_is_read_in_its_unit_and_rounded_up(name: str, text: str, amount: int) -> None:
    assert parse_amount(name, text) == amount


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("cpu", "two", "give cores such as"),
        ("cpu", "4Gi", "give cores such as"),
        ("cpu", "-1", "give cores such as"),
        ("memory", "1e9", "give bytes such as"),
        ("memory", "4GiB", "give bytes such as"),
        ("memory", "٤", "give bytes such as"),
        ("memory", "9999999Ti", "no machine has it"),
        ("gpu", "0.5", "give a whole number"),
        ("gpu", "1k", "give a whole number"),
        ("gpu", "", "give a whole number"),
        ("", "1", "is no name of a resource"),
        ("a b", "1", "is no name of a resource"),
        ("x" * 64, "1", "is no name of a resource"),
    ],
)
def test_what_cannot_be_read_is_refused_with_how_to_write_it(
    name: str, text: str, complaint: str
) -> None:
    with pytest.raises(InvalidArgument, match=complaint):
        parse_amount(name, text)


def test_resources_are_taken_out_of_the_properties_that_must_match() -> None:
    properties = (("ISA", "x86-64"), ("resource.cpu", "2"), ("resource.gpu", "0"))
    assert split_resources(properties) == ((("ISA", "x86-64"),), (("cpu", 2000),))


def test_a_resource_that_is_asked_for_twice_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"'resource\.cpu' is given twice"):
        split_resources((("resource.cpu", "1"), ("resource.cpu", "2")))


def test_the_number_of_resources_is_bounded() -> None:
    with pytest.raises(InvalidArgument, match="more than 50"):
        resources_of({f"token{number}": 1 for number in range(51)})


@given(st.sampled_from(["cpu", "memory", "gpu"]), st.text(max_size=30))
def test_any_text_is_an_amount_or_refused(name: str, text: str) -> None:
    try:
        amount = parse_amount(name, text)
    except InvalidArgument:
        return
    assert 0 <= amount <= 1 << 53
