"""A child process of a server, as small as can be: `python -m tests.fakes.server_child FOLDER`.

It is ready at once and answers "pid", "orders" and "settings"; told to, it ends, or it falls
silent. While a file `broken` is in FOLDER it ends before it is ready.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from reapi.server.lifecycle import stop_signals
from reapi.server.parent_process import ParentProcess


async def _run(folder: Path) -> None:
    orders: list[str] = []
    handlers: dict[str, Any] = {
        "pid": os.getpid,
        "orders": lambda: orders,
        "settings": lambda: parent.config.model_dump(mode="json"),
        "silence": lambda: None,
        "stay": lambda: orders.append("stay"),
        "end": lambda: os._exit(3),
    }
    with stop_signals() as stop:
        async with ParentProcess.connected() as parent:
            if (folder / "broken").exists():
                return
            listener = asyncio.create_task(parent.listen(handlers))
            listener.add_done_callback(lambda _: stop.set())
            parent.say_ready()
            await stop.wait()
            (folder / "drained").touch()
            listener.cancel()


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1])))
