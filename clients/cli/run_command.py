"""`reapi-cli run`: a command, its inputs and outputs, and nothing in between to see."""

import os
import sys
from typing import TYPE_CHECKING

import click

from .exit_codes import TIMED_OUT, of_command
from .parameters import DurationType, PairType, json_option
from .progress_line import ProgressLine
from .report import print_json, result_json
from .session import with_client

if TYPE_CHECKING:
    from reapi.clients.client import Client
    from reapi.clients.model import Output, RunResult

EPILOG = """\b
Examples:
  reapi-cli run --input src --output out/app -- sh -c 'mkdir -p out && cc -o out/app src/*.c'
  meson test --wrapper 'reapi-cli run --wrapper --'
\b
Exit codes: that of the command; 124 the command took longer than --timeout, 125 reapi-cli or the
server failed, 126 the command cannot be executed, 127 it was not found, 130 interrupted.
"""


@click.command(epilog=EPILOG, context_settings={"allow_interspersed_args": False})
@click.option(
    "--input", "inputs", multiple=True, metavar="PATH", help="File or directory to send; repeat."
)
@click.option(
    "--output", "outputs", multiple=True, metavar="PATH", help="What to bring back; repeat."
)
@click.option("--env", type=PairType(), multiple=True, help="Environment variable; repeat.")
@click.option("--platform", type=PairType(), multiple=True, help="What the worker must be; repeat.")
@click.option("--workdir", default="", metavar="DIR", help="Where the command starts.")
@click.option(
    "--timeout", type=DurationType(), metavar="60s", help="What the command may take: 500ms, 5m."
)
@click.option("--no-cache", is_flag=True, help="Run it even if its result is cached.")
@click.option(
    "--wrapper",
    is_flag=True,
    help="Send the program, its libraries, and the files that arguments name, at their own paths.",
)
@json_option
@click.argument("command", nargs=-1, required=True, metavar="-- CMD...")
def run(
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    env: tuple[tuple[str, str], ...],
    platform: tuple[tuple[str, str], ...],
    workdir: str,
    timeout: float | None,
    no_cache: bool,
    wrapper: bool,
    as_json: bool,
    command: tuple[str, ...],
) -> int:
    """Run a command remotely, with the exit code, stdout and stderr that it has there.

    All paths are relative to the current directory, which is the root of what the command sees:
    the inputs, and nothing else. Outputs are written back to the same paths. What the command
    prints comes while it runs, except with --json. Interrupting (Ctrl-C) cancels the command.

    With --wrapper the command is a program of this machine, such as a test that was just built, and
    the root of what it sees is /: it needs no --input for itself, its shared libraries, its
    interpreter, and the files that its arguments name. An --input may be a pattern: 'data/*'.
    """
    from reapi.clients.action import build_action
    from reapi.clients.model import CommandTimedOut

    root, build, variables = os.getcwd(), build_action, dict(env)
    if wrapper:
        from reapi.clients.compile.program import LIBRARY_PATH, build_program_action

        if workdir:
            raise click.UsageError("with --wrapper the command starts here: no --workdir")
        root, workdir, build = "/", root, build_program_action
        if LIBRARY_PATH in os.environ:
            variables.setdefault(LIBRARY_PATH, os.environ[LIBRARY_PATH])

    async def work(client: "Client") -> "tuple[RunResult, bool]":
        try:
            with ProgressLine() as line:

                def show(output: "Output") -> None:
                    line.end()
                    _write(output)

                result = await client.run(
                    command,
                    inputs=inputs,
                    outputs=outputs,
                    env=variables,
                    platform=platform,
                    working_directory=workdir,
                    command_timeout=timeout,
                    root=root,
                    skip_cache_lookup=no_cache,
                    on_progress=line.show_run,
                    on_output=None if as_json else show,
                    build=build,
                )
        except CommandTimedOut as error:
            return error.result, True
        return result, False

    result, has_timed_out = with_client(work)
    exit_code = TIMED_OUT if has_timed_out else of_command(result.exit_code)
    if as_json:
        print_json(result_json(result) | {"exit_code": exit_code, "timed_out": has_timed_out})
        return exit_code
    if has_timed_out:
        click.echo("reapi-cli: the command took longer than its timeout and was killed", err=True)
    elif result.message:
        click.echo(f"reapi-cli: the server says: {result.message}", err=True)
    return exit_code


def _write(output: "Output") -> None:
    if output.is_anew:
        click.echo(
            f"\nreapi-cli: the worker was lost and the command run again: its {output.stream} anew",
            err=True,
        )
    stream = sys.stdout.buffer if output.stream == "stdout" else sys.stderr.buffer
    stream.write(output.data)
    stream.flush()
