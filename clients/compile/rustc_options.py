"""The options of rustc that a cached call may have, and what each of them means for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from .model import Local, Word


class Meaning(Enum):
    """What an option is to us."""

    PLAIN = auto()
    """It is part of the key, and nothing else."""
    CRATE_NAME = auto()
    CRATE_TYPE = auto()
    EMIT = auto()
    EXTERN = auto()
    LIBRARY = auto()
    SEARCH = auto()
    CODEGEN = auto()
    OUT_DIR = auto()
    TARGET = auto()
    PREFIX_MAP = auto()
    PROBE = auto()
    LOCAL = auto()


@dataclass(frozen=True, slots=True)
class Option:
    """An option as it was given, its value with it; a path without an option has no name."""

    name: str
    value: str
    meaning: Meaning

    def word(self, path: str | None = None, before: str = "") -> Word:
        """It as one word; `path` is in the value behind `before`, and ends it."""
        joined = f"{self.name}=" if self.name.startswith("--") else self.name
        if path is None:
            return Word(joined + self.value if self.value else self.name)
        return Word(joined + before, path)


_WITH_VALUE = {
    "--crate-name": Meaning.CRATE_NAME,
    "--crate-type": Meaning.CRATE_TYPE,
    "--emit": Meaning.EMIT,
    "--extern": Meaning.EXTERN,
    "--out-dir": Meaning.OUT_DIR,
    "--target": Meaning.TARGET,
    "--remap-path-prefix": Meaning.PREFIX_MAP,
    "--codegen": Meaning.CODEGEN,
    "--print": Meaning.PROBE,
    "--explain": Meaning.PROBE,
    "--edition": Meaning.PLAIN,
    "--cfg": Meaning.PLAIN,
    "--check-cfg": Meaning.PLAIN,
    "--cap-lints": Meaning.PLAIN,
    "--error-format": Meaning.PLAIN,
    "--json": Meaning.PLAIN,
    "--color": Meaning.PLAIN,
    "--diagnostic-width": Meaning.PLAIN,
    "--allow": Meaning.PLAIN,
    "--warn": Meaning.PLAIN,
    "--force-warn": Meaning.PLAIN,
    "--deny": Meaning.PLAIN,
    "--forbid": Meaning.PLAIN,
    "-C": Meaning.CODEGEN,
    "-L": Meaning.SEARCH,
    "-l": Meaning.LIBRARY,
    "-A": Meaning.PLAIN,
    "-W": Meaning.PLAIN,
    "-D": Meaning.PLAIN,
    "-F": Meaning.PLAIN,
}
_ALONE = {
    "-g": Meaning.PLAIN,
    "-O": Meaning.PLAIN,
    "-V": Meaning.PROBE,
    "-vV": Meaning.PROBE,
    "-Vv": Meaning.PROBE,
    "--version": Meaning.PROBE,
    "-h": Meaning.PROBE,
    "--help": Meaning.PROBE,
    "-": Meaning.LOCAL,
    "--test": Meaning.LOCAL,
}

_CODEGEN = frozenset(
    (
        *("code-model", "codegen-units", "collapse-macro-debuginfo", "control-flow-guard"),
        *("debug-assertions", "debuginfo", "default-linker-libraries", "dwarf-version"),
        *("embed-bitcode", "extra-filename", "force-frame-pointers", "force-unwind-tables"),
        *("inline-threshold", "instrument-coverage", "jump-tables", "link-arg", "link-args"),
        *("link-dead-code", "link-self-contained", "linker", "linker-flavor", "lto"),
        *("linker-plugin-lto", "metadata", "no-prepopulate-passes", "no-redzone"),
        *("no-vectorize-loops", "no-vectorize-slp", "opt-level", "overflow-checks", "panic"),
        *("prefer-dynamic", "profile-generate", "profile-use", "relocation-model"),
        *("relro-level", "rpath", "soft-float", "split-debuginfo", "strip"),
        *("symbol-mangling-version", "target-cpu", "target-feature"),
    )
)
"""Those that write nothing beside the outputs. Those about links are for crates that link this."""


def read_options(arguments: Sequence[str]) -> list[Option] | Local:
    """The options of a call, its sources among them with an empty name; Local for unknown ones."""
    options = []
    following = iter(arguments)
    for argument in following:
        option = _read(argument, following)
        if option is None:
            return Local(f"{argument} is not known here")
        options.append(option)
    return options


def _read(argument: str, following: Iterator[str]) -> Option | None:
    if argument in _ALONE:
        return Option(argument, "", _ALONE[argument])
    if not argument.startswith("-"):
        # What a response file says is read by nobody here.
        return None if argument.startswith("@") else Option("", argument, Meaning.PLAIN)
    if argument.startswith("--"):
        name, has_value, value = argument.partition("=")
    else:
        name, has_value, value = argument[:2], argument[2:], argument[2:]
    if name not in _WITH_VALUE:
        return None
    if not has_value:
        given = next(following, None)
        if given is None:
            return None
        value = given
    return Option("-C" if name == "--codegen" else name, value, _WITH_VALUE[name])


def why_codegen_stays(value: str) -> str | None:
    """The reason of an option of -C to keep a call on this machine, if it has one."""
    name, _, setting = value.partition("=")
    name = name.replace("_", "-")
    if name == "incremental":
        return "incremental crates are this machine's (CARGO_INCREMENTAL=0 lets them be shared)"
    if name == "target-cpu" and setting == "native":
        return "-C target-cpu=native means this machine"
    if name == "split-debuginfo" and setting != "off":
        return "-C split-debuginfo writes files that no argument names"
    return None if name in _CODEGEN else f"-C {value} is not known here"
