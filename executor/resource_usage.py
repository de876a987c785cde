"""What an action used, as it stands in the auxiliary metadata of its result."""

from reapi.protos.reapi.executor.v1.usage_pb2 import ResourceUsage, Transfer

from .input_tree import InputDirectory
from .output_blobs import OutputBlobs
from .run_outcome import ProcessUsage
from .tally import Tally


def resource_usage(
    processes: ProcessUsage, inputs: InputDirectory, fetched: Tally, outputs: OutputBlobs
) -> ResourceUsage:
    """Of the inputs those that were not `fetched` were on the worker already."""
    usage = ResourceUsage(
        peak_memory_bytes=processes.peak_memory_bytes,
        largest_process_bytes=processes.largest_process_bytes,
        read_bytes=processes.read_bytes,
        written_bytes=processes.written_bytes,
        involuntary_context_switches=processes.involuntary_switches,
        inputs_fetched=_transfer(fetched),
        inputs_reused=Transfer(
            count=max(0, inputs.file_count - fetched.count),
            size_bytes=max(0, inputs.file_bytes - fetched.size_bytes),
        ),
        outputs_uploaded=_transfer(outputs.uploaded),
        outputs_present=_transfer(outputs.present),
    )
    usage.user_time.FromMicroseconds(round(processes.user_seconds * 1e6))
    usage.system_time.FromMicroseconds(round(processes.system_seconds * 1e6))
    return usage


def _transfer(tally: Tally) -> Transfer:
    return Transfer(count=tally.count, size_bytes=tally.size_bytes)
