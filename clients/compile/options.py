"""The options of gcc and clang: how each is spelled and what it means for a compile elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from .model import Family


class Shape(Enum):
    """Where the value of an option is."""

    NONE = auto()
    JOINED = auto()
    SEPARATE = auto()
    EITHER = auto()


class Meaning(Enum):
    """What is to be done about an option."""

    HARMLESS = auto()
    """Kept; its value is no path, or none that the compiler opens."""
    PATH = auto()
    """Kept; the value names a file or directory."""
    INPUT = auto()
    """Kept; the value names a file that is read beside the source and its headers."""
    PREFIX_MAP = auto()
    DEBUG = auto()
    SPLIT_DWARF = auto()
    DEBUG_DIRECTORY = auto()
    COVERAGE = auto()
    """Carries the working directory and names of outputs, beside what else it does."""
    NOTES = auto()
    """Like COVERAGE, and writes a file beside the object; `detail` is its suffix."""
    AUXILIARY = auto()
    """Writes a file beside the object, which does not know of it; `detail` is its suffix."""
    LINK_TIME = auto()
    """Carries the working directory, even if a prefix map takes it out of debug information."""
    COLOUR = auto()
    """`detail` is "yes", "no" or "" for what the value says."""
    COMPILE = auto()
    ASSEMBLY = auto()
    OUTPUT = auto()
    LANGUAGE = auto()
    ARCHITECTURE = auto()
    DEPENDENCIES = auto()
    """-MD, -MMD and what shapes their rule."""
    PASSED_ON = auto()
    """To the preprocessor, the assembler or clang's own front end, whichever its name says."""
    PREPROCESS = auto()
    PROBE = auto()
    """Prints something and compiles nothing."""
    LOCAL = auto()
    """`detail` is why."""
    UNKNOWN = auto()
    INPUT_FILE = auto()
    """No option at all."""


@dataclass(frozen=True, slots=True)
class Option:
    """`is_preprocessing`: a source that is preprocessed already has no use for it."""

    name: str
    shape: Shape
    meaning: Meaning
    detail: str = ""
    is_preprocessing: bool = False


_Table = dict[str, Option]


def _options(
    shape: Shape, meaning: Meaning, names: str, detail: str = "", *, is_preprocessing: bool = False
) -> Iterator[tuple[str, Option]]:
    for name in names.split():
        yield name, Option(name, shape, meaning, detail, is_preprocessing)


_MODULES = "C++20 and clang modules are compiled here"
_PRECOMPILED = "it uses or makes a precompiled header"
_PROFILE = "the profile it uses has no name of its own"
_DUMPS = "it dumps what the compiler does"
_REPORTS = "it reports on the compiler itself"

_COMMON: _Table = dict(
    (
        # What kind of call it is.
        *_options(Shape.NONE, Meaning.COMPILE, "-c --compile"),
        *_options(Shape.NONE, Meaning.ASSEMBLY, "-S --assemble"),
        *_options(Shape.EITHER, Meaning.OUTPUT, "-o"),
        *_options(Shape.EITHER, Meaning.LANGUAGE, "-x"),
        *_options(Shape.NONE, Meaning.PREPROCESS, "-E -M -MM --preprocess --dependencies"),
        *_options(
            Shape.NONE,
            Meaning.PROBE,
            "--version --help -help -### -dumpversion -dumpmachine -dumpspecs -dumpfullversion "
            "--target-help",
        ),
        *_options(Shape.JOINED, Meaning.PROBE, "--help= -print- --print-"),
        # Make rules.
        *_options(Shape.NONE, Meaning.DEPENDENCIES, "-MD -MMD -MP -MG"),
        *_options(Shape.EITHER, Meaning.DEPENDENCIES, "-MF -MT -MQ"),
        # The preprocessor.
        *_options(Shape.EITHER, Meaning.HARMLESS, "-D -U -A", is_preprocessing=True),
        *_options(
            Shape.EITHER,
            Meaning.PATH,
            "-I -iquote -isystem -idirafter -iprefix -include -imacros",
            is_preprocessing=True,
        ),
        # Ends of paths: -iprefix has their beginning.
        *_options(
            Shape.EITHER,
            Meaning.HARMLESS,
            "-iwithprefix -iwithprefixbefore -imultilib",
            is_preprocessing=True,
        ),
        *_options(
            Shape.NONE,
            Meaning.HARMLESS,
            "-nostdinc -nostdinc++ -undef -trigraphs",
            is_preprocessing=True,
        ),
        # Where things are.
        *_options(Shape.EITHER, Meaning.PATH, "-isysroot -B -L"),
        *_options(Shape.SEPARATE, Meaning.PATH, "--sysroot"),
        *_options(Shape.JOINED, Meaning.PATH, "--sysroot="),
        *_options(Shape.JOINED, Meaning.INPUT, "-specs= --specs= -fplugin="),
        *_options(Shape.JOINED, Meaning.HARMLESS, "-fplugin-arg-"),
        *_options(
            Shape.JOINED,
            Meaning.PREFIX_MAP,
            "-ffile-prefix-map= -fdebug-prefix-map= -fmacro-prefix-map= -fcoverage-prefix-map= "
            "-fprofile-prefix-map=",
        ),
        # What is written beside the object.
        *_options(Shape.JOINED, Meaning.DEBUG, "-g"),
        *_options(Shape.NONE, Meaning.SPLIT_DWARF, "-gsplit-dwarf -gno-split-dwarf"),
        *_options(Shape.JOINED, Meaning.SPLIT_DWARF, "-gsplit-dwarf="),
        *_options(Shape.NONE, Meaning.NOTES, "--coverage -coverage -ftest-coverage", "gcno"),
        *_options(Shape.NONE, Meaning.COVERAGE, "-fprofile-arcs -fprofile-generate -fprofile"),
        *_options(Shape.JOINED, Meaning.COVERAGE, "-fprofile-generate= -fprofile-dir="),
        *_options(Shape.NONE, Meaning.AUXILIARY, "-fstack-usage", "su"),
        # Diagnostics.
        *_options(Shape.NONE, Meaning.COLOUR, "-fdiagnostics-color", "yes"),
        *_options(Shape.NONE, Meaning.COLOUR, "-fno-diagnostics-color", "no"),
        *_options(Shape.JOINED, Meaning.COLOUR, "-fdiagnostics-color="),
        # The language and the code.
        *_options(Shape.JOINED, Meaning.HARMLESS, "-W -O -m -std= --std="),
        *_options(
            Shape.NONE,
            Meaning.HARMLESS,
            "-ansi -pedantic -pedantic-errors --pedantic -w -pthread -pipe -pg -p -traditional-cpp "
            "-fno-working-directory -fno-stack-usage -fno-profile-generate -fno-profile-arcs "
            "-fno-modules -fno-cxx-modules -fno-implicit-modules -fno-implicit-module-maps "
            "-fno-module-lazy -fno-modules-ts -fno-save-optimization-record -fno-plugin "
            "-fno-record-gcc-switches -fno-record-command-line -fno-crash-diagnostics "
            "-fno-test-coverage -fno-coverage-mapping -fno-profile-instr-generate "
            "-fno-profile-use -fno-profile-instr-use -fno-profile-sample-use -fno-auto-profile "
            "-fno-time-report -fno-time-trace -fno-syntax-only -no-canonical-prefixes",
        ),
        *_options(Shape.SEPARATE, Meaning.HARMLESS, "--param"),
        *_options(Shape.JOINED, Meaning.HARMLESS, "--param= -frandom-seed="),
        *_options(Shape.JOINED, Meaning.PASSED_ON, "-Wp, -Wa,"),
        *_options(Shape.SEPARATE, Meaning.PASSED_ON, "-Xpreprocessor -Xassembler"),
        # For the linker, so they do nothing here.
        *_options(
            Shape.NONE,
            Meaning.HARMLESS,
            "-static -shared -rdynamic -s -pie -no-pie -static-pie -nostdlib -nostartfiles "
            "-nodefaultlibs -nolibc -static-libgcc -static-libstdc++ -shared-libgcc",
        ),
        *_options(Shape.JOINED, Meaning.HARMLESS, "-l -Wl,"),
        *_options(Shape.EITHER, Meaning.HARMLESS, "-z -u"),
        *_options(Shape.SEPARATE, Meaning.HARMLESS, "-Xlinker"),
        # Always here; the reasons are for people.
        *_options(
            Shape.JOINED,
            Meaning.LOCAL,
            "-save-temps --save-temps",
            "it keeps the files in between (-save-temps)",
        ),
        *_options(Shape.JOINED, Meaning.LOCAL, "-d -fdump- -fcompare-debug -da", _DUMPS),
        *_options(
            Shape.JOINED,
            Meaning.LOCAL,
            "-fmodule -fcxx-modules -fimplicit-module -fprebuilt-module -fbuiltin-module-map "
            "--precompile -fsystem-module",
            _MODULES,
        ),
        *_options(
            Shape.JOINED,
            Meaning.LOCAL,
            "-include-pch -emit-pch -fpch-preprocess --relocatable-pch -relocatable-pch",
            _PRECOMPILED,
        ),
        *_options(
            Shape.JOINED,
            Meaning.LOCAL,
            "-fprofile-use -fauto-profile -fbranch-probabilities -fprofile-instr-use "
            "-fprofile-sample-use",
            _PROFILE,
        ),
        *_options(
            Shape.JOINED,
            Meaning.LOCAL,
            "-ftime-report -ftime-trace -fmem-report -fstats -fproc-stat-report -Q -H -save-stats "
            "-fopt-info- -fopt-info= -freport-bug",
            _REPORTS,
        ),
        *_options(Shape.NONE, Meaning.LOCAL, "-v --verbose", "-v says what runs here"),
        *_options(Shape.NONE, Meaning.LOCAL, "-fsyntax-only", "it makes no object"),
        *_options(Shape.SEPARATE, Meaning.LOCAL, "-wrapper", "it has a wrapper of its own"),
        *_options(
            Shape.NONE,
            Meaning.LOCAL,
            "-fworking-directory",
            "it names the working directory (-fworking-directory)",
        ),
        *_options(
            Shape.JOINED,
            Meaning.LOCAL,
            "-fdiagnostics-format=json-file -fdiagnostics-format=sarif-file",
            "it writes its diagnostics to a file",
        ),
        *_options(Shape.JOINED, Meaning.HARMLESS, "-fdiagnostics-format="),
        *_options(Shape.NONE, Meaning.LOCAL, "-gtoggle", "-gtoggle depends on what else is given"),
    )
)

_GCC: _Table = _COMMON | dict(
    (
        *_options(Shape.JOINED, Meaning.AUXILIARY, "-fcallgraph-info", "ci"),
        *_options(Shape.NONE, Meaning.LINK_TIME, "-flto"),
        *_options(Shape.JOINED, Meaning.LINK_TIME, "-flto="),
        *_options(Shape.NONE, Meaning.COLOUR, "-fdiagnostics-plain-output", "plain"),
        *_options(Shape.NONE, Meaning.HARMLESS, "-frecord-gcc-switches -Bstatic -Bdynamic"),
        *_options(
            Shape.JOINED,
            Meaning.LOCAL,
            "-fsave-optimization-record",
            "it records its optimisations",
        ),
    )
)

_CLANG: _Table = _COMMON | dict(
    (
        *_options(Shape.NONE, Meaning.COLOUR, "-fcolor-diagnostics", "yes"),
        *_options(Shape.NONE, Meaning.COLOUR, "-fno-color-diagnostics", "no"),
        *_options(Shape.NONE, Meaning.NOTES, "-fsave-optimization-record", "opt.yaml"),
        *_options(Shape.SEPARATE, Meaning.ARCHITECTURE, "-arch"),
        *_options(Shape.SEPARATE, Meaning.PASSED_ON, "-Xclang"),
        *_options(Shape.SEPARATE, Meaning.HARMLESS, "-target -mthread-model"),
        *_options(Shape.JOINED, Meaning.HARMLESS, "--target= -stdlib= --stdlib= -rtlib= --rtlib="),
        *_options(Shape.NONE, Meaning.HARMLESS, "-Qunused-arguments -Qn -Qy -ObjC -ObjC++"),
        *_options(
            Shape.JOINED,
            Meaning.PATH,
            "-resource-dir= --gcc-toolchain= --gcc-install-dir= -fcrash-diagnostics-dir=",
        ),
        *_options(Shape.SEPARATE, Meaning.PATH, "-resource-dir"),
        *_options(
            Shape.EITHER,
            Meaning.PATH,
            "-F -iframework -isystem-after -cxx-isystem -stdlib++-isystem",
            is_preprocessing=True,
        ),
        # These are below the sysroot.
        *_options(
            Shape.EITHER,
            Meaning.HARMLESS,
            "-iwithsysroot -iframeworkwithsysroot",
            is_preprocessing=True,
        ),
        *_options(Shape.JOINED, Meaning.DEBUG_DIRECTORY, "-fdebug-compilation-dir="),
        *_options(Shape.SEPARATE, Meaning.DEBUG_DIRECTORY, "-fdebug-compilation-dir"),
        *_options(Shape.JOINED, Meaning.DEBUG_DIRECTORY, "-ffile-compilation-dir="),
        *_options(Shape.JOINED, Meaning.HARMLESS, "-fcoverage-compilation-dir="),
        *_options(
            Shape.NONE,
            Meaning.COVERAGE,
            "-fcoverage-mapping -fprofile-instr-generate -fcs-profile-generate",
        ),
        *_options(
            Shape.JOINED, Meaning.COVERAGE, "-fprofile-instr-generate= -fcs-profile-generate="
        ),
        *_options(
            Shape.JOINED,
            Meaning.INPUT,
            "-fprofile-use= -fprofile-instr-use= -fprofile-sample-use= -fauto-profile= "
            "-fsanitize-ignorelist= -fsanitize-blacklist= -fsanitize-system-ignorelist= "
            "-fsanitize-system-blacklist= -fsanitize-coverage-allowlist= "
            "-fsanitize-coverage-ignorelist= -fsanitize-coverage-whitelist= "
            "-fsanitize-coverage-blacklist= -fprofile-list= -fprofile-remapping-file= "
            "-fxray-always-instrument= -fxray-never-instrument= -fxray-attr-list= -fpass-plugin= "
            "-fthinlto-index= -fbasic-block-sections=list=",
        ),
        *_options(
            Shape.JOINED,
            Meaning.LOCAL,
            "-grecord-command-line -frecord-command-line -grecord-gcc-switches "
            "-frecord-gcc-switches",
            "its object names the whole command",
        ),
        *_options(Shape.JOINED, Meaning.LOCAL, "-gmodules", _MODULES),
        *_options(Shape.SEPARATE, Meaning.LOCAL, "-mllvm", "-mllvm may mean anything"),
        *_options(Shape.JOINED, Meaning.LOCAL, "--config", "it has a configuration file"),
        *_options(Shape.JOINED, Meaning.UNKNOWN, "-object-file-name -undefined"),
        *_options(Shape.JOINED, Meaning.LOCAL, "-emit- --analyze -objcmt-", "it makes no object"),
    )
)

TABLES = {Family.GCC: _GCC, Family.CLANG: _CLANG}
LONGEST = max(map(len, _GCC | _CLANG))
"""How many characters the longest name has."""
