"""Platform properties that tell the executor how to run an action, beside those that are matched.

    network           `on` lets the command use the network; `off`, or none, does not.
    input-root        `/`: the input root is the whole file system of the command. `host`: it is a
                      directory beside the host's own tools. Without it the executor finds out.
    container-image   `tree:HASH/SIZE`: the Tree of that digest is the command's file system. All
                      other values name pools of workers and are matched as they are.
    persistentWorkerKey   marks what a warm compiler may serve; a cold one does it just as well.

Scheduler and executor read them here, so that what is matched is what is done.
"""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .digest import Digest, DigestFunction, parse_digest_text
from .errors import InvalidArgument

Properties = Sequence[tuple[str, str]]
"""(name, value) pairs."""

NETWORK = "network"
INPUT_ROOT = "input-root"
CONTAINER_IMAGE = "container-image"
PERSISTENT_WORKER_KEY = "persistentWorkerKey"

NETWORK_OFFER = (NETWORK, "on")
INPUT_ROOT_OFFER = (INPUT_ROOT, "/")
IMAGE_OFFER = (CONTAINER_IMAGE, "tree")
"""What workers that can do it offer by themselves, and actions that ask for it are matched with."""

_IMAGE_PREFIX = "tree:"


class InputRoot(enum.StrEnum):
    """What the input root is to the command."""

    HOST = "host"
    FILE_SYSTEM = "/"


@dataclass(frozen=True, slots=True)
class ExecutionProperties:
    """How to run an action. `input_root` is None where the executor is to find out.

    With an `image` it is None, too: the image is the file system then.
    """

    network: bool = False
    input_root: InputRoot | None = None
    image: Digest | None = None
    persistent_worker_key: str | None = None


def execution_properties(properties: Properties, function: DigestFunction) -> ExecutionProperties:
    """What `properties` say about how to run an action whose digests are of `function`.

    Raises InvalidArgument for a value that means nothing, and for values that contradict each
    other.
    """
    network = _only(properties, NETWORK)
    if network not in (None, "on", "off"):
        raise _bad(NETWORK, network, "give on or off")
    input_root = _only(properties, INPUT_ROOT)
    if input_root is not None and input_root not in list(InputRoot):
        raise _bad(INPUT_ROOT, input_root, "give / or host")
    image = _image(properties, function)
    if image is not None and input_root is not None:
        raise InvalidArgument(
            f"platform properties {CONTAINER_IMAGE}={_IMAGE_PREFIX}{image} and "
            f"{INPUT_ROOT}={input_root} name two file systems for one command: leave one of them"
        )
    return ExecutionProperties(
        network == "on",
        None if input_root is None else InputRoot(input_root),
        image,
        _only(properties, PERSISTENT_WORKER_KEY),
    )


def matched_properties(
    properties: Properties, function: DigestFunction
) -> tuple[tuple[str, str], ...]:
    """What of `properties` a worker must offer, in one order; raises as `execution_properties`."""
    execution = execution_properties(properties, function)
    matched = {pair for pair in properties if not _is_instruction(pair)}
    if execution.network:
        matched.add(NETWORK_OFFER)
    if execution.input_root is InputRoot.FILE_SYSTEM:
        matched.add(INPUT_ROOT_OFFER)
    if execution.image is not None:
        matched.add(IMAGE_OFFER)
    return tuple(sorted(matched))


def _is_instruction(pair: tuple[str, str]) -> bool:
    name, value = pair
    if name == CONTAINER_IMAGE:
        return value.startswith(_IMAGE_PREFIX)
    return name in (NETWORK, INPUT_ROOT, PERSISTENT_WORKER_KEY)


def _image(properties: Properties, function: DigestFunction) -> Digest | None:
    value = _single(
        CONTAINER_IMAGE,
        {v for name, v in properties if name == CONTAINER_IMAGE and v.startswith(_IMAGE_PREFIX)},
    )
    if value is None:
        return None
    try:
        return parse_digest_text(value.removeprefix(_IMAGE_PREFIX), function)
    except InvalidArgument as error:
        raise _bad(CONTAINER_IMAGE, value, f"give tree:HASH/SIZE; {error.message}") from error


def image_property(tree: Digest) -> tuple[str, str]:
    """The property that makes the Tree of this digest the file system of an action."""
    return CONTAINER_IMAGE, f"{_IMAGE_PREFIX}{tree}"


def _only(properties: Properties, name: str) -> str | None:
    return _single(name, {value for other, value in properties if other == name})


def _single(name: str, values: Iterable[str]) -> str | None:
    found = sorted(values)
    if len(found) > 1:
        shown = " and ".join(repr(value[:80]) for value in found[:2])
        raise InvalidArgument(f"platform property {name!r} is given as {shown}: leave one of them")
    return found[0] if found else None


def _bad(name: str, value: str | None, remedy: str) -> InvalidArgument:
    return InvalidArgument(
        f"platform property {name} = {str(value)[:160]!r} is not valid: {remedy}"
    )
