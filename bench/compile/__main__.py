"""`make bench-compile`: reapi-cc beside ccache, sccache, distcc and icecream, in one run.

Figures from one run compare with each other; machines differ. Clients and servers share all cores,
so nothing here says what spreading compiles over machines gains.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from bench.comparison import table

from .findings import Findings
from .hits import measure_hits
from .many_files import measure_many_files
from .processes import adopt_orphans
from .whole_builds import measure_whole_builds


def main() -> None:
    """Parses the command line and runs what it asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.compile", description=__doc__)
    parser.add_argument("only", nargs="?", default="", help="run the parts whose name has this")
    parser.add_argument("--rounds", type=int, default=50, help="of the warm calls")
    parser.add_argument("--units", type=int, default=20, help="of the project, without its main")
    parser.add_argument("--files", type=int, default=10_000, help="of the build of small files")
    arguments = parser.parse_args()
    parts: dict[str, tuple[Callable[[Path, Findings, int], None], int]] = {
        "warm calls": (measure_hits, arguments.rounds),
        "whole builds": (measure_whole_builds, arguments.units),
        "many files": (measure_many_files, arguments.files),
    }
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # with all below it
    adopt_orphans()
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="reapi-bench-") as directory:
        folder = Path(directory)
        folder.chmod(0o755)  # some of the servers become other users
        for number, (name, (measure, size)) in enumerate(parts.items()):
            if arguments.only.lower() in name:
                print(name, flush=True)
                with findings.noting(name):
                    measure(folder / str(number), findings, size)
    print("\n" + "\n".join(table(findings.rows, "compilers")))
    print("".join(f"not as meant: {trouble}\n" for trouble in findings.troubles), end="")
    print(json.dumps(asdict(findings)))


if __name__ == "__main__":
    main()
