"""Which environment variables rustc and its macros read, and what becomes of each."""

import re
from collections.abc import Iterable, Mapping

from .model import Local

_CARRIED = (
    "RUSTC_BOOTSTRAP",
    "SDKROOT",
    "MACOSX_DEPLOYMENT_TARGET",
    "IPHONEOS_DEPLOYMENT_TARGET",
)
_REFUSED = {
    "CARGO_CFG_TARGET_ARCH": "a build script checks what rustc can do",
    "RUST_TARGET_PATH": "it names directories of further targets",
    "RUSTC_LOG": "it makes rustc print what it does",
    "RUSTC_FORCE_RUSTC_VERSION": "it makes rustc say that it is another version",
    "RUSTC_OVERRIDE_VERSION_STRING": "it makes rustc say that it is another version",
}

_JOBSERVER = ("CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS")

_OF_PACKAGE = re.compile(
    r"CARGO|CARGO_(?:BIN_NAME|BIN_EXE_.*|CRATE_NAME|MANIFEST_DIR|MANIFEST_LINKS|MANIFEST_PATH"
    r"|PKG_.*|PRIMARY_PACKAGE|TARGET_TMPDIR)|OUT_DIR"
)
"""What cargo tells a compile of its package."""


def rustc_variables(environment: Mapping[str, str]) -> dict[str, str] | Local:
    """What changes rustc itself; the variables that a source names are told by its dep-info."""
    for name in _REFUSED.keys() & environment.keys():
        return Local(f"the environment has {name}: {_REFUSED[name]}")
    return {name: environment[name] for name in _CARRIED if name in environment}


def without_jobserver(environment: Mapping[str, str]) -> dict[str, str]:
    """For a rustc that is not started by the caller, whose descriptors it does not have.

    It would warn of that; so it has a jobserver of its own.
    """
    return {name: value for name, value in environment.items() if name not in _JOBSERVER}


def variables_of_macros(environment: Mapping[str, str]) -> Iterable[str]:
    """The names that a procedural macro may read without rustc knowing of it.

    One that reads others is as much a surprise for cargo, which would not run it again either.
    """
    return filter(_OF_PACKAGE.fullmatch, environment)
