"""Action results for tests."""

from reapi.core.digest import digest_of
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ActionResult,
    OutputFile,
)


def result_of(*outputs: bytes) -> ActionResult:
    """A result with these output files."""
    return ActionResult(
        output_files=[
            OutputFile(path=f"out{number}", digest=digest_of(output).to_message())
            for number, output in enumerate(outputs)
        ]
    )
