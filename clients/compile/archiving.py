"""What a call of `ar` asks for: an archive of members, made or added to."""

import re

from .locality import why_of_place
from .model import Compilation, Family, Invocation, Local, Product, Word
from .options import Meaning, Option, Shape
from .parsing import Argument
from .response_files import expand

_OPERATION = re.compile(r"-?[cDsSv]*[rq][cDsSv]*")
"""Times and owners are nothing to these, unless U asks for them."""

_MEMBER = Option("", Shape.NONE, Meaning.INPUT_FILE)


def understand_archive(invocation: Invocation, root: str | None) -> Compilation | Local:
    """Of a call of an archiver that leaves times and owners out of its archives."""
    expanded = expand(invocation.arguments[1:], invocation.working_directory)
    if isinstance(expanded, Local):
        return expanded
    operation, names = expanded[:1], expanded[1:]
    if not operation or not _OPERATION.fullmatch(operation[0]):
        return Local("it does something else with an archive than to make it")
    if any(name.startswith("-") for name in names):
        return Local("it has options that are not known here")
    if len(names) < 2:
        return Local("it has no members")
    members = names[1:]
    declined = why_of_place(
        [Argument(_MEMBER, name, (name,)) for name in members], invocation, root
    )
    if declined is not None:
        return declined
    return Compilation(
        family=Family.AR,
        words=tuple(map(Word, (*operation, *members))),
        source=members[0],
        language="",
        output=names[0],
        input_files=members,
        names_output=True,
        product=Product.ARCHIVE,
    )
