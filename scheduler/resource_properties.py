"""Reads amounts of resources as people write them, and takes them out of platform properties.

`resource.cpu` is in cores ("2", "1.5", "1500m"), `resource.memory` in bytes ("512Mi", "4Gi", "2G");
`resource.gpu` and every other name count tokens, which are whole.
"""

import re

from reapi.core.errors import InvalidArgument

from .model import Properties, Resources

PREFIX = "resource."
MOST_RESOURCES = 50

_LARGEST_AMOUNT = 1 << 53
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z", re.ASCII)
_AMOUNT = re.compile(r"(\d{1,16})(?:\.(\d{1,9}))?([A-Za-z]{0,2})\Z", re.ASCII)
_CPU_UNITS = {"": 1000, "m": 1}
_MEMORY_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
}
_FORMS = {
    "cpu": 'cores such as "2", "0.5" or "1500m"',
    "memory": 'bytes such as "512Mi", "4Gi" or "2000000000"',
}


def split_resources(properties: Properties) -> tuple[Properties, Resources]:
    """The properties to match exactly, and the resources to book; zero books nothing.

    Raises InvalidArgument that names the property and says how to write it.
    """
    exact = []
    amounts: dict[str, int] = {}
    for name, value in properties:
        resource = name.removeprefix(PREFIX)
        if resource == name:
            exact.append((name, value))
        elif resource in amounts:
            raise InvalidArgument(f"platform property {name!r} is given twice: leave one of them")
        else:
            amounts[resource] = parse_amount(resource, value)
    return tuple(exact), resources_of(amounts)


def resources_of(amounts: dict[str, int]) -> Resources:
    """In their one order, without what is zero; raises InvalidArgument for too many."""
    if len(amounts) > MOST_RESOURCES:
        raise InvalidArgument(f"more than {MOST_RESOURCES} resources: name fewer")
    return tuple(sorted((name, amount) for name, amount in amounts.items() if amount))


def parse_amount(name: str, text: str) -> int:
    """An amount of the resource `name`, rounded up; InvalidArgument says what is wrong with it."""
    units = {"cpu": _CPU_UNITS, "memory": _MEMORY_UNITS}.get(name, {"": 1})
    match = _AMOUNT.match(text)
    if match is None or match[3] not in units or (match[2] and name not in _FORMS):
        form = _FORMS.get(name, 'a whole number such as "1"')
        raise InvalidArgument(f"{PREFIX}{name[:80]} = {text[:80]!r} cannot be read: give {form}")
    fraction = match[2] or ""
    scale = 10 ** len(fraction)
    return check_amount(name, -(-int(match[1] + fraction) * units[match[3]] // scale))


def check_amount(name: str, amount: int) -> int:
    """The amount; InvalidArgument for a name or an amount that no machine has."""
    if not _NAME.match(name):
        raise InvalidArgument(
            f"{PREFIX}{name[:80]}: {name[:80]!r} is no name of a resource: use up to 63 letters, "
            "digits, dots, dashes and underscores"
        )
    if amount > _LARGEST_AMOUNT:
        raise InvalidArgument(f"{PREFIX}{name} of {amount} is too much: no machine has it")
    return amount
