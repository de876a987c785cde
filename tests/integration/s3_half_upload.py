"""A process that uploads half an object, says so, and waits to be killed.

python -m tests.integration.s3_half_upload ENDPOINT BUCKET DIRECTORY
"""

import asyncio
import os
import sys
from pathlib import Path

from reapi.cas.objects.s3_config import S3Config
from reapi.core.digest import digest_of
from tests.integration.s3_system import MIB, open_objects


async def main(endpoint: str, bucket: str, directory: Path) -> None:
    config = S3Config(
        bucket,
        endpoint,
        key_prefix="a/prefix",
        use_ssl=False,
        access_key_id_file=directory / "access-key-id",
        secret_access_key_file=directory / "secret-access-key",
    )
    data = os.urandom(64 * MIB)
    digest = digest_of(data)
    async with open_objects(config, directory / "spool-of-the-killed") as objects:
        writer = await objects.create(digest)
        # More than the spool takes: parts of it are in the bucket.
        await writer.write([data[: 40 * MIB]], digest.function.new())
        print("half", flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
