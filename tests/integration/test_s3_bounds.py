"""What many open streams cost."""

import asyncio
import os
from pathlib import Path

import pytest

from reapi.cas.objects.s3_config import S3Config
from reapi.core.digest import digest_of
from tests.integration.s3_system import MIB, listed, open_objects

STREAMS = 64


def _forget_peak() -> None:
    """From now on VmHWM counts anew."""
    Path("/proc/self/clear_refs").write_text("5")


def _kib(field: str) -> int:
    """Of this process, as the kernel counts."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(value)


@pytest.mark.slow
async def test_memory_of_64_open_streams_is_that_of_the_parts_they_share(
    s3_config: S3Config, tmp_path: Path
) -> None:
    """Each has a part on its way to the bucket, and half of another; 4 MiB each are allowed."""
    data = os.urandom(12 * MIB)
    digest = digest_of(data)
    _forget_peak()
    before = _kib("VmRSS")
    async with open_objects(s3_config, tmp_path / "spool") as objects:
        writers = [await objects.create(digest) for _ in range(STREAMS)]

        async def fill(number: int) -> None:
            hasher = digest.function.new()
            for start in range(0, len(data), MIB):
                await writers[number].write([memoryview(data)[start : start + MIB]], hasher)

        await asyncio.gather(*map(fill, range(STREAMS)))
        peak_mib = (_kib("VmHWM") - before) / 1024
        for writer in writers[:4]:
            await writer.publish()
        for writer in writers:
            await writer.discard()
        assert len(await listed(objects)) == 4
    print(f"{peak_mib:.0f} MiB for {STREAMS} streams")
    assert peak_mib < 2 * STREAMS


async def test_a_reader_that_is_not_read_from_asks_for_no_more(
    s3_config: S3Config, tmp_path: Path
) -> None:
    """The bytes of 32 objects that nobody takes wait in the bucket and in the kernel."""
    data = os.urandom(16 * MIB)
    digest = digest_of(data)
    async with open_objects(s3_config, tmp_path / "spool") as objects:
        writer = await objects.create(digest)
        await writer.write([data], digest.function.new())
        await writer.publish()
        await writer.discard()
        ((info,),) = [batch async for batch in objects.list()]
        _forget_peak()
        before = _kib("VmRSS")
        readers = []
        for _ in range(32):
            reader = (await objects.open(info.name, 0, len(data))).chunks(None)
            await anext(reader)
            readers.append(reader)
        peak_mib = (_kib("VmHWM") - before) / 1024
        for reader in readers:
            await reader.aclose()  # type: ignore[attr-defined]
    print(f"{peak_mib:.0f} MiB for 32 readers")
    assert peak_mib < 4 * 32
