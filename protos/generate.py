"""Generates protos/gen from the .proto files; with --check, says whether it is up to date.

The generated modules live under reapi.protos, so the imports that protoc writes for our own files
are moved there: a top-level package named `build` would be shadowed by PyPA's tool of that name.
google.rpc and google.longrunning are left alone; googleapis-common-protos provides them.
"""

import filecmp
import re
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).parent
SOURCES = (
    "build/bazel/semver/semver.proto",
    "build/bazel/remote/execution/v2/remote_execution.proto",
    "google/bytestream/bytestream.proto",
    "reapi/admin/v1/admin.proto",
    "reapi/compile/v1/manifest.proto",
    "reapi/executor/v1/isolation.proto",
    "reapi/executor/v1/usage.proto",
    "reapi/executor/v1/worker_protocol.proto",
    "reapi/scheduler/v1/scheduler.proto",
    "reapi/worker/v1/worker.proto",
)
MOVED_IMPORT = re.compile(r"^from (build\.bazel|google\.bytestream|reapi\.\w+\.v\d)", re.MULTILINE)


def generate(target: Path) -> None:
    """Writes the Python modules and their type stubs for all SOURCES below `target`."""
    well_known_types = Path(protoc.__file__).parent / "_proto"
    arguments = [
        "protoc",
        f"--proto_path={PROTOS}",
        f"--proto_path={well_known_types}",
        f"--python_out={target}",
        f"--pyi_out={target}",
        *SOURCES,
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed; its messages are above")
    for module in sorted([*target.rglob("*.py"), *target.rglob("*.pyi")]):
        module.write_text(MOVED_IMPORT.sub(r"from reapi.protos.\1", module.read_text()))
    (target / "py.typed").touch()


def stale_files(fresh: Path, committed: Path) -> list[str]:
    """The files that differ between the two trees, or that only one of them has."""
    names = {
        path.relative_to(root)
        for root in (fresh, committed)
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return sorted(
        str(name)
        for name in names
        if not (fresh / name).is_file()
        or not (committed / name).is_file()
        or not filecmp.cmp(fresh / name, committed / name, shallow=False)
    )


def main() -> None:
    """Generates in place, or compares with a fresh generation when called with --check."""
    committed = PROTOS / "gen"
    if "--check" not in sys.argv[1:]:
        committed.mkdir(exist_ok=True)
        generate(committed)
        return
    with tempfile.TemporaryDirectory() as fresh:
        generate(Path(fresh))
        if stale := stale_files(Path(fresh), committed):
            raise SystemExit(f"stale generated code, run `make protos`: {', '.join(stale)}")


if __name__ == "__main__":
    main()
