"""Some platform properties say how an action is run; what is left of them is matched."""

import pytest

from reapi.core.digest import BLAKE3, SHA256, DigestFunction, digest_of
from reapi.core.errors import InvalidArgument
from reapi.core.execution_properties import (
    ExecutionProperties,
    InputRoot,
    execution_properties,
    image_property,
    matched_properties,
)

IMAGE = digest_of(b"an image", SHA256)


def test_without_properties_nothing_is_asked_and_nothing_is_matched() -> None:
    assert execution_properties((), SHA256) == ExecutionProperties()
    assert matched_properties((), SHA256) == ()


def test_properties_of_other_names_are_matched_as_they_are() -> None:
    properties = (("ISA", "x86-64"), ("OSFamily", "linux"), ("OSFamily", "posix"))
    assert execution_properties(properties, SHA256) == ExecutionProperties()
    assert matched_properties(properties, SHA256) == properties


@pytest.mark.parametrize(
    ("name", "value", "matched"),
    [
        ("network", "off", ()),
        ("network", "on", (("network", "on"),)),
        ("input-root", "host", ()),
        ("input-root", "/", (("input-root", "/"),)),
        ("persistentWorkerKey", "1f2e", ()),
        ("container-image", "docker://gcc:14", (("container-image", "docker://gcc:14"),)),
        ("container-image", f"tree:{IMAGE}", (("container-image", "tree"),)),
    ],
)
def test_an_instruction_is_matched_by_what_a_worker_must_be_able_to_do(
    name: str, value: str, matched: tuple[tuple[str, str], ...]
) -> None:
    assert matched_properties(((name, value),), SHA256) == matched


def test_what_is_asked_is_read() -> None:
    asked = (("network", "on"), ("input-root", "/"))
    assert execution_properties(asked, SHA256) == ExecutionProperties(
        network=True, input_root=InputRoot.FILE_SYSTEM
    )
    asked = (("network", "off"), ("input-root", "host"))
    assert execution_properties(asked, SHA256) == ExecutionProperties(input_root=InputRoot.HOST)


@pytest.mark.parametrize("function", [SHA256, BLAKE3], ids=lambda function: function.name)
def test_an_image_is_of_the_digest_function_of_the_action(
    function: DigestFunction,
) -> None:
    digest = digest_of(b"an image", function)
    assert execution_properties((image_property(digest),), digest.function).image == digest


def test_actions_with_different_images_are_matched_alike() -> None:
    other = digest_of(b"another image", SHA256)
    first, second = (matched_properties((image_property(one),), SHA256) for one in (IMAGE, other))
    assert first == second


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ([("network", "yes")], "network = 'yes' is not valid: give on or off"),
        ([("network", "on"), ("network", "off")], "'network' is given as 'off' and 'on'"),
        ([("input-root", "chroot")], "input-root = 'chroot' is not valid: give / or host"),
        ([("container-image", "tree:x")], "container-image = 'tree:x' is not valid: give tree:"),
        ([("container-image", f"tree:{IMAGE.hash}/0")], "exactly the empty blob has size 0"),
        ([("container-image", f"tree:{IMAGE}"), ("input-root", "/")], "two file systems"),
    ],
)
def test_values_that_mean_nothing_are_refused_by_name(
    properties: list[tuple[str, str]], message: str
) -> None:
    for read in (execution_properties, matched_properties):
        with pytest.raises(InvalidArgument) as caught:
            read(properties, SHA256)
        assert message in caught.value.message
