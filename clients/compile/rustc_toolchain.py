"""What rustc consists of: the program, the compiler that it loads, and the standard library."""

import os
from collections.abc import Iterator

from .driver import Driver, ToolchainError
from .elf import NotAProgram, loaded_files
from .model import Family
from .toolchain import DigestOf, Toolchain, env_files, identity_of, read_files, stamp_of

_BACKENDS = "codegen-backends"
_CRATES = (".rlib", ".rmeta", ".so")


def find_rustc_toolchain(driver: Driver, digest_of: DigestOf) -> Toolchain:
    """Reads all of it, some hundreds of MiB; blocks, for a second or so.

    `driver.selecting` chooses the target. Raises ToolchainError for one that is not whole.
    """
    said = driver.ask("--print=sysroot", "--print=target-libdir").splitlines()
    if len(said) != 2:
        raise ToolchainError(f"{driver.path} does not tell where its libraries are")
    sysroot, libraries = said
    try:
        programs = [driver.path, *loaded_files(driver.path, driver.environment)]
    except NotAProgram as error:
        raise ToolchainError(str(error)) from error
    directories = [path for path in _directories(sysroot, libraries) if os.path.isdir(path)]
    files = [file for directory in directories for file in _crates_in(directory)]
    stamps, digests = read_files([*programs, *files, *env_files(driver)], digest_of)
    # A file that is new there may be found as a crate, or as what makes the code.
    stamps |= {directory: stamp_of(directory) for directory in directories}
    return Toolchain(
        Family.RUSTC,
        identity_of(digests),
        digests,
        directories=(),
        search_path=os.path.dirname(driver.path),
        stamps=tuple(stamps.items()),
    )


def _directories(sysroot: str, libraries: str) -> Iterator[str]:
    yield libraries
    yield os.path.join(os.path.dirname(libraries), _BACKENDS)
    yield os.path.join(sysroot, "lib", _BACKENDS)


def _crates_in(directory: str) -> Iterator[str]:
    try:
        with os.scandir(directory) as entries:
            yield from (entry.path for entry in entries if entry.name.endswith(_CRATES))
    except OSError as error:
        raise ToolchainError(f"{directory} cannot be read: {error.strerror}") from error
