"""The arguments of the compilers that a compile elsewhere needs, from what its call asks for."""

from collections.abc import Callable, Iterable, Iterator

from .languages import PREPROCESSED
from .model import Compilation, View, Word
from .options import Meaning
from .parsing import Argument, read

_COLOURED = "-fdiagnostics-color=always"
"""Both families know it, the others of its kind are clang's alone."""


def coloured(compilation: Compilation) -> tuple[str, ...]:
    """What makes diagnostics have colours; clang finds that unused where only an assembler runs."""
    return () if compilation.language == "assembler" else (_COLOURED,)


def dependency_arguments(compilation: Compilation) -> tuple[str, ...]:
    """For a run on this machine that prints a make rule of all headers, and writes no file.

    It prints nothing for a source that is preprocessed or an assembler's: that has no headers.
    Warnings are the compile's to give.
    """
    return (*_preprocessor_words(compilation), "-w", "-M", compilation.source)


def depfile_arguments(compilation: Compilation) -> tuple[str, ...]:
    """Like `dependency_arguments`, but the rule is that of the depfile, which must be asked for.

    If that does not leave out system headers it names all headers, so one run is enough for both.
    """
    depfile = compilation.depfile
    assert depfile is not None
    kind = "-MM" if depfile.leaves_out_system_headers else "-M"
    words = _preprocessor_words(compilation)
    return (*words, "-w", kind, *depfile.options, compilation.source)


def compile_arguments(compilation: Compilation, view: View, *, output: str) -> tuple[str, ...]:
    """For the compile itself, where the files are as `view` says. `output` is taken as it is.

    No depfile is written, and diagnostics have colours: without them is easier than with.
    """
    return (
        *_seen(compilation.words, view),
        *coloured(compilation),
        "-o",
        output,
        view.there(compilation.source),
    )


def preprocess_arguments(compilation: Compilation) -> tuple[str, ...]:
    """For a run on this machine that prints the preprocessed source and writes no file."""
    return (*_preprocessor_words(compilation), "-E", compilation.source)


def compile_preprocessed_arguments(
    compilation: Compilation, view: View, *, source: str, output: str
) -> tuple[str, ...]:
    """Like `compile_arguments`, of a source that `preprocess_arguments` have made."""
    language = PREPROCESSED.get(compilation.language, compilation.language)
    words = _without(
        compilation,
        lambda argument: (
            argument.option.is_preprocessing
            or argument.option.meaning is Meaning.LANGUAGE
            or argument.option.name in ("-Wp,", "-Xpreprocessor")
        ),
    )
    colour = () if language == "assembler" else (_COLOURED,)
    return (*_seen(words, view), *colour, "-o", output, "-x", language, source)


def _preprocessor_words(compilation: Compilation) -> tuple[str, ...]:
    """Without -c and -S, which clang finds unused."""
    return tuple(
        str(word)
        for word in _without(
            compilation,
            lambda argument: argument.option.meaning in (Meaning.COMPILE, Meaning.ASSEMBLY),
        )
    )


def _seen(words: Iterable[Word], view: View) -> Iterator[str]:
    for word in words:
        yield word.before + view.there(word.path) + word.after if word.path else str(word)


def _without(compilation: Compilation, is_dropped: Callable[[Argument], bool]) -> Iterator[Word]:
    rest = iter(compilation.words)
    for argument in read(map(str, compilation.words), compilation.family):
        words = [next(rest) for _ in argument.words]
        if not is_dropped(argument):
            yield from words
