"""A daemon whose engine does what the call's first argument says; see conftest.py."""

import asyncio
import json
import os
import signal
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4] / "src"))

from reapi.clients.compile.model import Answer, Finished, Invocation, Local
from reapi.clients.compile.outcome import Outcome, OutcomeKind, Phase
from reapi.core.errors import InvalidArgument

TROUBLE = Outcome(
    OutcomeKind.FALLBACK, failure="unavailable", trouble="the server grpc://x cannot be reached"
)
MISS = Outcome(
    OutcomeKind.MISS_REMOTE,
    source="a.c",
    output="a.o",
    reason="an input differs",
    details=("changed: a.h",),
    phases=(Phase("upload", 0.0, 0.5),),
    uploaded_bytes=1 << 20,
)


class FakeEngine:
    """Answers by the word after the compiler's name."""

    def answer_now(self, invocation: Invocation) -> Answer | None:
        """What can be said at once."""
        match invocation.arguments[1:]:
            case ("finish", *_):
                return Finished(3, b"out\n", b"\x1b[1merr\n")
            case ("tell", *_):
                return Finished(0, json.dumps(_facts(invocation)).encode())
            case ("miss", *_):
                return Finished(0, outcome=MISS)
            case ("trouble", *_):
                return Local("trouble", outcome=TROUBLE)
            case ("unshared", *_):
                return Finished(0, outcome=replace(MISS, trouble="nothing is shared"))
            case ("mistake", *_):
                raise InvalidArgument("reapi.toml: [compile] mode must be one of these")
            case ("fault", *_):
                raise RuntimeError("a fault")
            case ("die",):
                os.kill(os.getpid(), signal.SIGKILL)
            case ("probe", *_):
                return Local("a probe", is_work=False)
            case (("wait" | "late" | "die-once"), *_):
                return None
        return Local("a link")

    async def answer(self, invocation: Invocation) -> Answer:
        """`wait PIPE` tells the pipe of its begin and its end."""
        word, path = invocation.arguments[1:3]
        if word == "die-once" and not os.path.exists(path):
            Path(path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "wait":
            with open(path, "w") as pipe:
                print("begun", file=pipe, flush=True)
                try:
                    await asyncio.Event().wait()
                finally:
                    print("cancelled", file=pipe, flush=True)
        return Finished(0, b"late\n")


def _facts(invocation: Invocation) -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "arguments": invocation.arguments,
        "directory": invocation.working_directory,
        "umask": invocation.umask,
        "variable": invocation.environment.get("VARIABLE"),
    }


if __name__ == "__main__":
    purpose, socket_path, *arguments = sys.argv[1:]
    if purpose == "daemon":
        from reapi.clients.compile.daemon_process import IDLE_SECONDS
        from reapi.clients.compile.daemon_process import main as run_daemon

        run_daemon(
            socket_path,
            lambda settings, slots, count_failure: nullcontext(FakeEngine()),
            idle_seconds=float(os.environ.get("IDLE_SECONDS", IDLE_SECONDS)),
        )
    else:
        from reapi.clients.compile.command import main as run_command

        run_command(socket_path, arguments)
