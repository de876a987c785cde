"""The console script `reapi-cc` as pip installs it, which takes itself out of the way.

Python takes longer to start than a whole hit, so the first call makes the stub and puts it in the
place of the script; decision 13 says when, and what then happens to upgrades and removals.
"""

import os
import sys
from pathlib import Path

from . import python_stub
from .places import default_cache_directory
from .stub_build import build_stub, is_native, is_own_stub, place_stub, this_installation

_INSTALLERS = frozenset({"pip", "uv"})
"""They remove and replace the files of a package whatever is in them."""


def main() -> None:
    """Becomes the stub."""
    installation = this_installation()
    stub = installation.stub_in(_stub_directory())
    script = os.path.abspath(sys.argv[0])
    try:
        if not is_own_stub(stub):
            build_stub(installation, stub.parent)
            _replace_script(Path(os.path.realpath(script)), stub)
        if is_native(stub):
            os.environ["REAPI_CC_SELF"] = script
            os.execv(stub, sys.argv)
    except OSError as error:
        sys.stderr.write(f"reapi-cc: warning: no quick start: {error}\n")
    arguments = python_stub.arguments_of_this_process()
    python_stub.main(installation.python, installation.entry, installation.key, arguments)


def _stub_directory() -> Path:
    return Path(os.environ.get("REAPI_CC_CACHE_DIR") or default_cache_directory(os.environ))


def _replace_script(script: Path, stub: Path) -> None:
    """Puts the stub where the script was, if an installer put it there for this package alone."""
    if not os.access(script.parent, os.W_OK) or script.lstat().st_uid != os.geteuid():
        return
    if _is_script_of_package(script):
        place_stub(stub, script)


def _is_script_of_package(script: Path) -> bool:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        package = distribution("reapi")
    except PackageNotFoundError:
        return False
    if (package.read_text("INSTALLER") or "").strip() not in _INSTALLERS:
        return False
    return any(Path(os.path.realpath(str(file.locate()))) == script for file in package.files or ())
