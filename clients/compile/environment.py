"""Which environment variables a compiler reads, and what becomes of each in an action."""

import ctypes
import os
from collections.abc import Mapping
from functools import lru_cache

from .model import Local

CARRIED = {
    "CPATH": "directories that are searched like those of -I",
    "C_INCLUDE_PATH": "the same, for C",
    "CPLUS_INCLUDE_PATH": "the same, for C++",
    "OBJC_INCLUDE_PATH": "the same, for Objective-C",
    "OBJCPLUS_INCLUDE_PATH": "the same, for Objective-C++",
    "SOURCE_DATE_EPOCH": "__DATE__ and __TIME__ are made of it",
    "LD_LIBRARY_PATH": "where the compiler's own shared libraries may be",
    "MACOSX_DEPLOYMENT_TARGET": "the target of clang for Darwin",
    "IPHONEOS_DEPLOYMENT_TARGET": "the same",
    "SDKROOT": "the sysroot of clang for Darwin",
    "GCC_COLORS": "the colours of diagnostics",
    "GCC_URLS": "the links in diagnostics",
    "TERM_URLS": "the same",
    "COLUMNS": "where gcc cuts the lines that diagnostics quote",
    "GCC_EXTRA_DIAGNOSTIC_OUTPUT": "what else diagnostics say",
}
"""Those that go into the key and the Command as they are, and what they change."""

REFUSED = {
    "COMPILER_PATH": "it changes which programs the compiler runs",
    "GCC_EXEC_PREFIX": "it changes which programs the compiler runs",
    "GCC_COMPARE_DEBUG": "it makes the compiler run twice",
    "DEPENDENCIES_OUTPUT": "it makes the compiler write a file that no argument names",
    "SUNPRO_DEPENDENCIES": "it makes the compiler write a file that no argument names",
    "CC_PRINT_OPTIONS": "it makes clang write what it runs",
    "CC_PRINT_HEADERS": "it makes clang write what it includes",
    "CC_PRINT_PROC_STAT": "it makes clang write what it used",
    "CC_LOG_DIAGNOSTICS": "it makes clang write a log",
    "CCC_OVERRIDE_OPTIONS": "it changes the arguments of clang",
    "CCC_ADD_ARGS": "it changes the arguments of clang",
    "QA_OVERRIDE_GCC3_OPTIONS": "it changes the arguments of clang",
    "CLANG_CONFIG_FILE_USER_DIR": "it names a directory of further arguments for clang",
    "EXPERIMENTAL_SARIF_SOCKET": "it sends the diagnostics of gcc elsewhere",
    "GNUTARGET": "it changes the format that the assembler writes",
    "LOCPATH": "it changes what the names of locales mean",
}
"""Those that keep a call on this machine, and why.

All others change nothing that a compile makes: TMPDIR only says where its temporary files are,
LIBRARY_PATH is read by links, and LD_PRELOAD is for those who watch the calls.
"""

_PLAIN_CHARSETS = ("ANSI_X3.4-1968", "US-ASCII", "ASCII", "646")
_LC_CTYPE_MASK = 1 << 0
_CODESET = 14


def sent_environment(environment: Mapping[str, str]) -> dict[str, str] | Local:
    """What of the caller's variables belongs to a compile, PATH and PWD excepted.

    It speaks English, with the quotes of the caller's character set.
    """
    for name in REFUSED.keys() & environment.keys():
        return Local(f"the environment has {name}: {REFUSED[name]}")
    charset = locale_charset(environment)
    if charset != "UTF-8" and charset not in _PLAIN_CHARSETS:
        return Local(f"the locale's character set is {charset}, which executors may not have")
    sent = {name: environment[name] for name in CARRIED if name in environment}
    sent["LC_ALL"] = "C.UTF-8" if charset == "UTF-8" else "C"
    return sent


def locale_charset(environment: Mapping[str, str]) -> str:
    """The character set of programs in this environment: that of "C" if its locale is not here."""
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        if environment.get(name):
            return _charset(environment[name])
    return _charset("C")


@lru_cache(maxsize=64)
def _charset(name: str) -> str:
    """Asked of the C library, for only it knows which locales are installed; the process keeps
    its own."""
    library = ctypes.CDLL(None)
    library.newlocale.restype = ctypes.c_void_p
    library.newlocale.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    library.nl_langinfo_l.restype = ctypes.c_char_p
    library.nl_langinfo_l.argtypes = (ctypes.c_int, ctypes.c_void_p)
    library.freelocale.argtypes = (ctypes.c_void_p,)
    found = library.newlocale(_LC_CTYPE_MASK, os.fsencode(name), None)
    if not found:
        return _PLAIN_CHARSETS[0]
    try:
        charset: bytes = library.nl_langinfo_l(_CODESET, found)
        return charset.decode("ascii")
    finally:
        library.freelocale(found)
