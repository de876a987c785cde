"""What a stub runs by its path: `entry.py daemon SOCKET`, or `entry.py command SOCKET OPTIONS`.

It runs under `python -I`, so a source tree is found by where this file is.
"""

import os
import sys
from functools import partial


def main() -> None:
    """Becomes the daemon, or the command line."""
    source_root = os.path.dirname(os.path.abspath(__file__)).removesuffix("/reapi/clients/compile")
    if source_root not in sys.path:
        sys.path.insert(0, source_root)
    purpose, socket_path, *arguments = sys.argv[1:]
    if purpose == "daemon":
        # uvloop forks, and what gRPC then does in the child, before it is a compiler, crashes.
        os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
        from reapi.clients.compile.daemon_process import main as run_daemon
        from reapi.clients.compile.making import make_engines

        run_daemon(socket_path, partial(make_engines, tool_name="reapi-cc"))
    else:
        from reapi.clients.compile.command import main as run_command

        run_command(socket_path, arguments)


if __name__ == "__main__":
    main()
