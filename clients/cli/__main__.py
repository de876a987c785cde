"""The entry point of `reapi-cli`: runs a command and turns its end into an exit code.

gRPC and the protocol's messages take a while to import, so commands import them when they run.
"""

import os
import sys

import click

from . import (
    action_command,
    blob_commands,
    compile_command,
    completion_command,
    doctor_command,
    explain_command,
    history_command,
    image_commands,
    operation_commands,
    pipeline_commands,
    run_command,
    server_commands,
    toolchain_commands,
    worker_commands,
)
from .exit_codes import FAILED, INTERRUPTED

EPILOG = """\b
Settings come from flags, then REAPI_SERVER, REAPI_INSTANCE, REAPI_TOKEN_FILE,
REAPI_DIGEST_FUNCTION, REAPI_TLS_CA_FILE, REAPI_TLS_CLIENT_CERTIFICATE_FILE and
REAPI_TLS_CLIENT_KEY_FILE, then reapi.toml in this directory or above, then
~/.config/reapi/config.toml (keys: the same in lower case without REAPI_, but instance_name).
\b
A server is grpc://HOST:PORT, grpcs://HOST:PORT where it speaks TLS, or unix:/PATH.
\b
Exit codes: 0 well, 125 any failure of reapi-cli itself, 130 interrupted; `run` exits with the code
of its command, 124 when the command timed out; `pipeline` with 1 when one failed.
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--server", metavar="grpc://HOST:PORT", help="Where the server listens.")
@click.option("--instance", "instance_name", metavar="NAME", help="Instance name; empty if unset.")
@click.option("--token-file", metavar="FILE", help="File with the bearer token to send.")
@click.option(
    "--digest-function",
    metavar="NAME",
    help="What hashes are of: SHA256 (default), BLAKE3, ...; see `status` for the server's.",
)
@click.pass_context
def cli(context: click.Context, /, **flags: str | None) -> None:
    """Runs commands remotely and looks into the content-addressed store of a REAPI server."""
    context.obj = flags


for command in (
    run_command.run,
    pipeline_commands.pipeline,
    blob_commands.upload,
    blob_commands.download,
    blob_commands.cat,
    blob_commands.ls,
    action_command.action,
    operation_commands.operations,
    explain_command.explain,
    history_command.history,
    image_commands.image,
    toolchain_commands.toolchain,
    worker_commands.workers,
    server_commands.status,
    compile_command.compile_database,
    doctor_command.doctor,
    completion_command.completion,
):
    cli.add_command(command)


def main() -> None:
    """Runs the command line of this process and exits."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # stderr is the command's, and ours
    try:
        exit_code = cli.main(standalone_mode=False, prog_name="reapi-cli")
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        exit_code = FAILED
    except click.UsageError as error:
        click.echo(f"reapi-cli: {error.format_message()}", err=True)
        if error.ctx is not None:
            click.echo(f"see: {error.ctx.command_path} --help", err=True)
        exit_code = FAILED
    except click.ClickException as error:
        click.echo(f"reapi-cli: {error.format_message()}", err=True)
        exit_code = FAILED
    except (click.Abort, KeyboardInterrupt):
        exit_code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough; Python must not complain about it while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        exit_code = FAILED
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
