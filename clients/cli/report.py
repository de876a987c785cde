"""What commands print on stdout: JSON, aligned columns, and results as JSON objects."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from reapi.clients.model import Entry, RunResult, Transfer, Usage

_LARGEST_TEXT_BYTES = 1 << 20


def print_json(value: Any) -> None:
    """One JSON value and a newline."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Rows whose cells stand below one another; the first row is the head."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def entry_json(entry: "Entry") -> dict[str, Any]:
    """A file, directory or symlink; `name` is its path."""
    return {
        "name": entry.path,
        "kind": entry.kind.value,
        "digest": str(entry.digest) if entry.digest else None,
        "is_executable": entry.is_executable,
        "target": entry.target or None,
    }


def result_json(result: "RunResult") -> dict[str, Any]:
    """A result; `stdout` and `stderr` are null when they are long or not UTF-8."""
    timings = result.timings
    return {
        "exit_code": result.exit_code,
        "cached": result.cached,
        "action_digest": str(result.action_digest),
        "operation": result.operation,
        "worker": result.worker,
        "timings": {
            "queued_seconds": timings.queued,
            "input_fetch_seconds": timings.input_fetch,
            "execution_seconds": timings.execution,
            "output_upload_seconds": timings.output_upload,
        },
        "usage": usage_json(result.usage),
        "outputs": [entry_json(entry) for entry in result.outputs],
        "stdout": _text(result.stdout),
        "stdout_digest": str(result.stdout_digest),
        "stderr": _text(result.stderr),
        "stderr_digest": str(result.stderr_digest),
        "message": result.message,
    }


def usage_json(usage: "Usage | None") -> dict[str, Any] | None:
    """What a command used; null where that is not known."""
    if usage is None:
        return None
    found = {
        "user_seconds": usage.user_seconds,
        "system_seconds": usage.system_seconds,
        "peak_memory_bytes": usage.peak_memory_bytes,
        "read_bytes": usage.read_bytes,
        "written_bytes": usage.written_bytes,
    }
    for name in ("inputs_fetched", "inputs_reused", "outputs_uploaded", "outputs_present"):
        transfer: Transfer | None = getattr(usage, name)
        if transfer is not None:
            found |= {f"{name}_count": transfer.count, f"{name}_bytes": transfer.size_bytes}
    return found


def _text(data: bytes) -> str | None:
    if len(data) > _LARGEST_TEXT_BYTES:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
