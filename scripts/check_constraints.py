"""Says which installed packages constraints.txt does not name with the very version installed.

Run in the virtual environment that `make` keeps: a package that is missing there would float.
"""

import re
import sys
from importlib.metadata import distributions
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
OURS = {"reapi", "reapi-transport"}
# Part of every virtual environment of Python 3.11, and used by nobody.
PREINSTALLED = {"setuptools"}


def canonical(name: str) -> str:
    """One spelling for each package: PyPA's name normalization."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Exits with a message naming each package that is not pinned."""
    lines = CONSTRAINTS.read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    pinned = {canonical(name): version for name, version in pairs}
    installed = {canonical(one.metadata["Name"]): one.version for one in distributions()}
    loose = [
        f"{name}=={version}"
        for name, version in sorted(installed.items())
        if name not in OURS | PREINSTALLED and pinned.get(name) != version
    ]
    if loose:
        sys.exit(f"constraints.txt does not pin: {', '.join(loose)}")


if __name__ == "__main__":
    main()
