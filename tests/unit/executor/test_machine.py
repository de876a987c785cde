"""What a worker may use of its machine."""

from pathlib import Path

from reapi.executor.machine import memory_bytes


def test_the_limit_of_a_container_counts_where_there_is_one(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    machine = memory_bytes(limit)
    limit.write_text("max\n")
    assert memory_bytes(limit) == machine
    limit.write_text("1048576\n")
    assert memory_bytes(limit) == 1 << 20
