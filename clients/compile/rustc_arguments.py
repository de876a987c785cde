"""What a call of rustc asks for: a library crate that may be kept, or something that stays here.
What is not known stays: nothing here is a guess."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .locality import why_of_source
from .model import Compilation, Depfile, Family, Invocation, Local, Word
from .rustc_options import Meaning, Option, read_options, why_codegen_stays

_LIBRARIES = ("lib", "rlib")
_EMITTED = ("dep-info", "metadata", "link")


@dataclass(frozen=True, slots=True)
class RustCompilation(Compilation):
    """A call that makes a library crate, or the metadata of any: its outputs are rlib and rmeta, as
    far as they are asked for, and its depfile is dep-info.

    `crates` are the files of --extern; what these were made of is in `crate_directories`.
    `static_libraries` are bundled, from the first of `library_directories` that has them;
    in the `open_directories` rustc would look for crates, too.
    """

    crates: tuple[str, ...] = ()
    crate_directories: tuple[str, ...] = ()
    static_libraries: tuple[str, ...] = ()
    library_directories: tuple[str, ...] = ()
    open_directories: tuple[str, ...] = ()

    @property
    def library_candidates(self) -> tuple[str, ...]:
        """All paths that may be one of the static libraries."""
        return tuple(
            os.path.join(directory, name)
            for library in self.static_libraries
            for directory in self.library_directories
            for name in (f"lib{library}.a", f"{library}.lib", library)
        )


def understand_rustc(invocation: Invocation, *, root: str | None = None) -> RustCompilation | Local:
    """Looks at no file. `root` is the checkout's: a source below it is not a temporary one."""
    options = read_options(invocation.arguments[1:])
    if isinstance(options, Local):
        return options
    return _why_of_kind(options) or _Call(options, invocation, root).compilation()


def target_of(compilation: Compilation) -> tuple[str, ...]:
    """The arguments that choose the standard library of a call of rustc."""
    return tuple(str(word) for word in compilation.words if word.before.startswith("--target="))


def _why_of_kind(options: Sequence[Option]) -> Local | None:
    if any(option.meaning is Meaning.PROBE for option in options):
        return Local("it asks about the compiler", is_work=False)
    for option in options:
        if option.meaning is Meaning.LOCAL:
            return Local("the source comes from stdin" if option.name == "-" else "it makes tests")
        reason = why_codegen_stays(option.value) if option.meaning is Meaning.CODEGEN else None
        if reason is not None:
            return Local(reason)
    return None


class _Call:
    """A call no option of which keeps it here by itself."""

    def __init__(self, options: list[Option], invocation: Invocation, root: str | None) -> None:
        self._options = options
        self._invocation = invocation
        self._root = root

    def compilation(self) -> RustCompilation | Local:
        sources = [option.value for option in self._options if not option.name]
        if len(sources) != 1:
            return Local("it has no source, or several", is_work=bool(sources))
        emitted = self._emitted()
        if isinstance(emitted, Local):
            return emitted
        named = self._outputs(emitted)
        if isinstance(named, Local):
            return named
        *outputs, dep_info = named
        searches = [option.value for option in self._options if option.meaning is Meaning.SEARCH]
        if any(value.startswith("crate=") for value in searches):
            return Local("-L crate= names where crates are looked for")
        invocation = self._invocation
        reason = why_of_source(
            sources[0], invocation.working_directory, invocation.environment, self._root
        )
        if reason is not None:
            return Local(reason)
        externs = (_extern(option) for option in self._options if option.meaning is Meaning.EXTERN)
        return RustCompilation(
            family=Family.RUSTC,
            words=tuple(self._words()),
            source=sources[0],
            language="rust",
            output=outputs[0],
            depfile=Depfile(dep_info, leaves_out_system_headers=False, options=()),
            extra_outputs=tuple(outputs[1:]),
            input_files=tuple(self._input_files()),
            names_output=True,
            carries_directory=True,
            asks_for_colour=self._asks_for_colour(),
            crates=tuple(path for _, path in externs if path),
            crate_directories=_directories(searches, "dependency"),
            static_libraries=tuple(self._static_libraries()),
            library_directories=_directories(searches, "native", "all", ""),
            open_directories=_directories(searches, "all", ""),
        )

    def _emitted(self) -> list[str] | Local:
        emitted = [word for value in self._values(Meaning.EMIT) for word in value.split(",")]
        for word in emitted:
            if word not in _EMITTED:
                return Local(f"--emit={word} is not known here")
        if "dep-info" not in emitted:
            return Local("it writes no dep-info, which would tell what it reads")
        if "metadata" not in emitted and "link" not in emitted:
            return Local("it makes nothing but dep-info")
        types = [word for value in self._values(Meaning.CRATE_TYPE) for word in value.split(",")]
        if "link" in emitted and not (types and all(word in _LIBRARIES for word in types)):
            return Local(f"it links: its crate type is {', '.join(types) or 'not given'}")
        return emitted

    def _outputs(self, emitted: list[str]) -> list[str] | Local:
        names = self._values(Meaning.CRATE_NAME)
        if len(names) != 1:
            return Local("it has no --crate-name")
        directories = self._values(Meaning.OUT_DIR)
        if len(directories) > 1:
            return Local("several outputs in one call")
        extra = [
            value.partition("=")[2]
            for value in self._values(Meaning.CODEGEN)
            if value.replace("_", "-").startswith("extra-filename=")
        ]
        stem = os.path.join(*directories, names[0] + (extra[-1] if extra else ""))
        head, tail = os.path.split(stem)
        library = os.path.join(head, f"lib{tail}")
        outputs = [f"{library}.rlib"] if "link" in emitted else []
        outputs += [f"{library}.rmeta"] if "metadata" in emitted else []
        return [*outputs, f"{stem}.d"]

    def _values(self, meaning: Meaning) -> list[str]:
        return [option.value for option in self._options if option.meaning is meaning]

    def _asks_for_colour(self) -> bool | None:
        """None if that is for us to find out; what is asked for is replayed as it is."""
        is_said = any(
            option.name == "--color" or (option.name == "--error-format" and "json" in option.value)
            for option in self._options
        )
        return True if is_said else None

    def _input_files(self) -> Iterator[str]:
        for value in self._values(Meaning.TARGET):
            if value.endswith(".json"):
                yield value
        for value in self._values(Meaning.CODEGEN):
            name, _, path = value.partition("=")
            if name.replace("_", "-") == "profile-use":
                yield path

    def _static_libraries(self) -> Iterator[str]:
        """-l [KIND[:MODIFIERS]=]NAME[:RENAME]"""
        for value in self._values(Meaning.LIBRARY):
            kind, has_kind, name = value.partition("=")
            if has_kind and kind.partition(":")[0] == "static":
                yield name.partition(":")[2] or name

    def _words(self) -> Iterator[Word]:
        for option in self._options:
            match option.meaning:
                case _ if not option.name:
                    pass
                case Meaning.EXTERN:
                    before, path = _extern(option)
                    yield option.word(path, before) if path else option.word()
                case Meaning.SEARCH:
                    kind, path = _search(option.value)
                    yield option.word(path, f"{kind}=" if kind else "")
                case Meaning.OUT_DIR:
                    yield option.word(option.value)
                case Meaning.TARGET if option.value.endswith(".json"):
                    yield option.word(option.value)
                case _:
                    yield option.word()


def _extern(option: Option) -> tuple[str, str]:
    """[OPTIONS:]NAME[=PATH], as what is before the path, and the path."""
    name, has_path, path = option.value.partition("=")
    return f"{name}=" if has_path else name, path


def _search(value: str) -> tuple[str, str]:
    """[KIND=]PATH"""
    kind, has_kind, path = value.partition("=")
    if has_kind and kind in ("dependency", "crate", "native", "framework", "all"):
        return kind, path
    return "", value


def _directories(searches: Sequence[str], *kinds: str) -> tuple[str, ...]:
    found = map(_search, searches)
    return tuple(dict.fromkeys(path for kind, path in found if kind in kinds))
