"""What the parts of the compile clients tell each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from .outcome import Outcome


@dataclass(frozen=True, slots=True)
class Invocation:
    """A call of a compiler, as its user made it.

    `arguments` begin with the compiler's name; `working_directory` is absolute. `wants_colour`:
    stderr is a terminal that shows it.
    """

    arguments: tuple[str, ...]
    working_directory: str
    environment: Mapping[str, str]
    umask: int = 0o022
    wants_colour: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """An argument with the path in it, if there is one: `-I` + `include` + ``."""

    before: str
    path: str | None = None
    after: str = ""

    def __str__(self) -> str:
        return f"{self.before}{self.path or ''}{self.after}"


class Family(StrEnum):
    """Compilers that understand the same options; and `ar`, which is none."""

    GCC = "gcc"
    CLANG = "clang"
    AR = "ar"
    RUSTC = "rustc"


class Product(StrEnum):
    """What a call makes."""

    OBJECT = "object"
    PROGRAM = "program"
    """Or a shared library: what linkers make."""
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class Depfile:
    """The make rule that a compile writes beside its object: -MD, -MMD and their kin.

    `options` say what its rule looks like (-MT, -MQ, -MP, or the -MT that is implied).
    """

    path: str
    leaves_out_system_headers: bool
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compilation:
    """A call that makes one object of one source; paths are as its user wrote them.

    `words` are the compiler's arguments without its name, the source, the output and what makes a
    depfile; response files are expanded. `extra_outputs` are what it may write beside the object
    (.dwo, .gcno, .su), where the compiler would put them. `input_files` are read beside the source
    and what it includes: -fprofile-use=, -specs=, -fplugin=, a sanitizer's list.

    `names_output`: the names of outputs are part of what is made, so the key must have them.
    `carries_directory`: so is the working directory: debug information, coverage.
    """

    family: Family
    words: tuple[Word, ...]
    source: str
    language: str
    output: str
    depfile: Depfile | None = None
    extra_outputs: tuple[str, ...] = ()
    input_files: tuple[str, ...] = ()
    names_output: bool = False
    carries_directory: bool = False
    asks_for_colour: bool | None = None
    """True and False when the call says so itself."""
    product: Product = Product.OBJECT
    """Of others than objects `source` is the first file of `input_files`, which are in `words`
    too: those are all arguments but the output, as text. `language` is empty."""


@dataclass(frozen=True, slots=True)
class Local:
    """A call that stays on this machine, and why. `is_work`: it takes a slot while it runs."""

    reason: str
    is_work: bool = True
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """What a call prints and ends with; its outputs are where they should be."""

    exit_code: int
    stdout: bytes = b""
    stderr: bytes = b""
    outcome: Outcome | None = None


Answer = Finished | Local
"""What becomes of a call: it is done, or the caller runs the compiler itself."""


CANONICAL_ROOT = "/reapi/root"
"""Where all checkouts are for the compiler when its result may be shared between them."""


@dataclass(frozen=True, slots=True)
class View:
    """Where the files below `root`, absolute, are for the compiler: at `seen_at`.

    Files elsewhere and relative paths are the same for both.
    """

    root: str
    seen_at: str

    def there(self, path: str) -> str:
        """The compiler's name of a path of ours."""
        return _replace(path, self.root, self.seen_at)

    def here(self, path: str) -> str:
        """Our name of a path of the compiler's."""
        return _replace(path, self.seen_at, self.root)


def _replace(path: str, old: str, new: str) -> str:
    if path == old:
        return new
    return new + path[len(old) :] if path.startswith(old + "/") else path
