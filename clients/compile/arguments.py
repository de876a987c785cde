"""What a call of gcc, g++, clang or clang++ asks for: one object that may be made elsewhere, or
something that stays on this machine. What is not known stays: nothing here is a guess."""

import os
from collections.abc import Iterator

from . import languages
from .depfiles import depfile_of, passed_on_rule
from .locality import (
    inputs_of,
    why_of_kind,
    why_of_options,
    why_of_place,
    why_of_sources,
)
from .model import Compilation, Depfile, Family, Invocation, Local, Word
from .options import Meaning
from .parsing import Argument, read
from .response_files import expand
from .surroundings import carries_directory, extra_outputs, has, names_output, splits_debug

_COLOUR_OF = {"yes": True, "always": True, "no": False, "never": False, "plain": False}


def understand(
    invocation: Invocation, family: Family, *, is_cplusplus: bool, root: str | None = None
) -> Compilation | Local:
    """Only response files are looked at. `is_cplusplus`: the compiler is g++ or clang++.

    `root`: the checkout's; a source below it is not taken for a temporary one.
    """
    expanded = expand(invocation.arguments[1:], invocation.working_directory)
    if isinstance(expanded, Local):
        return expanded
    arguments = read(expanded, family)
    return (
        why_of_kind(arguments)
        or why_of_place(arguments, invocation, root)
        or why_of_options(arguments)
        or why_of_sources(arguments)
        or _Call(arguments, invocation, family, root).compilation(is_cplusplus=is_cplusplus)
    )


class _Call:
    """A call of one source, no option of which keeps it here."""

    def __init__(
        self, arguments: list[Argument], invocation: Invocation, family: Family, root: str | None
    ) -> None:
        self._arguments = arguments
        self._invocation = invocation
        self._family = family
        self._root = root
        (self._source,) = inputs_of(arguments)
        self._makes_assembly = has(arguments, Meaning.ASSEMBLY)

    def compilation(self, *, is_cplusplus: bool) -> Compilation | Local:
        explicit = self._language()
        language = languages.language_of(
            self._source,
            explicit.value if explicit else None,
            self._family,
            is_cplusplus=is_cplusplus,
        )
        if isinstance(language, languages.Unsuitable):
            return Local(language.value)
        if self._makes_assembly and language in ("assembler", "assembler-with-cpp"):
            return Local("it makes no object of an assembler's source")
        given = [a.value for a in self._arguments if a.option.meaning is Meaning.OUTPUT]
        if len(given) > 1:
            return Local("several outputs in one call")
        output = given[0] if given else self._default_output()
        depfile = depfile_of(
            self._arguments,
            self._family,
            source=self._source,
            output=given[0] if given else None,
        )
        if isinstance(depfile, Local):
            return depfile
        if language in languages.PREPROCESSED.values():
            # The preprocessor would write it, and does not run.
            depfile = None
        return self._why_of_outputs(output, depfile) or self._described(output, language, depfile)

    def _described(self, output: str, language: str, depfile: Depfile | None) -> Compilation:
        arguments, family = self._arguments, self._family
        directory = self._invocation.working_directory
        is_assembler = language.startswith("assembler")
        return Compilation(
            family=family,
            words=tuple(self._words()),
            source=self._source,
            language=language,
            output=output,
            depfile=depfile,
            extra_outputs=extra_outputs(
                arguments,
                family,
                output,
                makes_assembly=self._makes_assembly,
                is_assembler=is_assembler,
            ),
            input_files=tuple(a.value for a in arguments if a.option.meaning is Meaning.INPUT),
            names_output=names_output(arguments),
            carries_directory=carries_directory(
                arguments,
                family,
                {directory, self._invocation.environment.get("PWD", directory)},
                root=self._root,
                is_assembler=is_assembler,
            ),
            asks_for_colour=self._asks_for_colour(),
        )

    def _language(self) -> Argument | None:
        """The -x that the source obeys, if it is one that says something."""
        last = None
        for argument in self._arguments:
            if argument.option.meaning is Meaning.LANGUAGE:
                last = None if argument.value == "none" else argument
            elif argument.option.meaning is Meaning.INPUT_FILE:
                break
        return last

    def _default_output(self) -> str:
        stem = os.path.splitext(os.path.basename(self._source))[0]
        return stem + (".s" if self._makes_assembly else ".o")

    def _why_of_outputs(self, output: str, depfile: Depfile | None) -> Local | None:
        if output == "-":
            return Local("it prints what it makes")
        written = [output, depfile.path] if depfile else [output]
        for path in written:
            if path.startswith("/dev/"):
                return Local(f"it writes to {path}")
            if not os.path.basename(path):
                return Local("an output has no name")
        if os.path.basename(output).rfind(".") == 0:
            return Local("compilers disagree about the suffix of an output like .x")
        architectures = [a for a in self._arguments if a.option.meaning is Meaning.ARCHITECTURE]
        if len(architectures) > 1:
            return Local("several -arch in one call")
        if self._makes_assembly and self._family is Family.CLANG and splits_debug(self._arguments):
            return Local("clang's -S with -gsplit-dwarf writes where nobody expects it")
        return None

    def _asks_for_colour(self) -> bool | None:
        answer = None
        for argument in self._arguments:
            if argument.option.meaning is Meaning.COLOUR:
                answer = _COLOUR_OF.get(argument.option.detail or argument.value)
            elif argument.option.name == "-Xclang" and argument.value == "-fcolor-diagnostics":
                answer = True
        return answer

    def _words(self) -> Iterator[Word]:
        """In the order given; but -x is where it was only if the source obeys it."""
        language = self._language()
        for argument in self._arguments:
            match argument.option.meaning:
                case Meaning.INPUT_FILE | Meaning.OUTPUT | Meaning.DEPENDENCIES:
                    pass
                case Meaning.LANGUAGE if argument is not language:
                    pass
                case Meaning.COLOUR if argument.option.detail != "plain":
                    pass
                case Meaning.PASSED_ON if passed_on_rule(argument):
                    pass
                case Meaning.PATH | Meaning.INPUT:
                    yield from _words_of_path(argument)
                case Meaning.PREFIX_MAP:
                    old, _, new = argument.value.partition("=")
                    yield from argument.with_path(old, f"={new}")
                case _:
                    yield from argument.plain()


def _words_of_path(argument: Argument) -> list[Word]:
    """A path that begins with the sysroot is no path of ours."""
    if argument.value.startswith(("=", "$SYSROOT")):
        return argument.plain()
    return argument.with_path(argument.value)
