"""The make rule that a compile writes beside its object, as -MD and its kin ask for it."""

import os

from .model import Depfile, Family, Local
from .options import Meaning
from .parsing import Argument


def depfile_of(
    arguments: list[Argument], family: Family, *, source: str, output: str | None
) -> Depfile | Local | None:
    """`output` as it was given with -o, if it was.

    The rule's target is that output unless -MT or -MQ name others, else an object of the source's
    name in the working directory. GCC's front end, where -Wp,-MD goes, does not know the output
    and always names the latter.
    """
    asked = [
        argument.option.name
        for argument in arguments
        if argument.option.name in ("-MD", "-MMD")
        and argument.option.meaning is Meaning.DEPENDENCIES
    ]
    shaping = [a for a in arguments if a.option.name in ("-MP", "-MT", "-MQ")]
    files = [argument.value for argument in arguments if argument.option.name == "-MF"]
    passed_on = [rule for argument in arguments if (rule := passed_on_rule(argument)) is not None]
    if any(argument.option.name == "-MG" for argument in arguments):
        return Local("-MG is for calls that do not compile")
    if not asked and not passed_on:
        return Local("it shapes a make rule that it does not ask for") if shaping or files else None
    if len({*asked, *(option for option, _ in passed_on)}) > 1:
        return Local("it asks for the make rule with and without system headers")
    if len(files) + len(passed_on) > 1 or (asked and passed_on):
        return Local("it asks for several make rules")
    stem = os.path.splitext(os.path.basename(source))[0]
    path = passed_on[0][1] if passed_on else files[0] if files else None
    if path is None:
        path = os.path.splitext(output)[0] + ".d" if output is not None else f"{stem}.d"
    if path == "-":
        return Local("it prints its make rule")
    options = [word for argument in shaping for word in argument.words]
    if not any(argument.option.name in ("-MT", "-MQ") for argument in shaping):
        knows_output = output is not None and not (passed_on and family is Family.GCC)
        options += ["-MQ", output if output is not None and knows_output else f"{stem}.o"]
    leaves_out = (asked or [passed_on[0][0]])[0] == "-MMD"
    return Depfile(path, leaves_out, tuple(options))


def passed_on_rule(argument: Argument) -> tuple[str, str] | None:
    """-MD or -MMD and its file, of -Wp,-MD,FILE, which is how the Linux kernel asks for it."""
    if argument.option.name != "-Wp,":
        return None
    option, _, path = argument.value.partition(",")
    if option not in ("-MD", "-MMD") or not path or "," in path:
        return None
    return option, path
