"""`reapi-server`: its command line."""

import sys
from pathlib import Path
from typing import Any

import click
import uvloop

from reapi.core.errors import ReapiError

from .check_commands import check
from .config import load_config
from .journal_commands import scheduler
from .logs import set_up_logs
from .serve import serve as serve_until_stopped
from .storage_commands import storage


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="reapi")
def main() -> None:
    """Remote execution and caching for builds: a Bazel Remote Execution API v2 server."""


@main.command()
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="Settings, in TOML. REAPI_<SECTION>__<KEY> in the environment overlays them.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Everything that is kept lives here; made if absent. [default: reapi-data]",
)
@click.option("--listen", metavar="HOST:PORT", help="gRPC. [default: 127.0.0.1:8980]")
@click.option("--http-listen", metavar="HOST:PORT", help="HTTP. [default: 127.0.0.1:8080]")
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(["frontend", "scheduler", "executor"]),
    help="What this process does; may be repeated. [default: all]",
)
def serve(
    config_file: Path | None,
    data_dir: Path | None,
    listen: str | None,
    http_listen: str | None,
    roles: tuple[str, ...],
) -> None:
    """Serves until SIGTERM or Ctrl-C; prints one line when ready.

    \b
    One machine, nothing to configure:
      reapi-server serve
    Another machine that runs actions for it:
      REAPI_SCHEDULER__ENDPOINT=build-server:8980 reapi-server serve --role executor

    Port 0 takes a free port; the ready line on stdout names it. An executor alone is ready when its
    scheduler has welcomed it. Logs go to stderr. The first signal
    lets running calls end, a second one ends the process at once.
    """
    set_up_logs()
    given = {"listen": listen, "http_listen": http_listen, "roles": roles or None}
    flags: dict[str, Any] = {
        "server": {name: value for name, value in given.items() if value is not None}
    }
    if data_dir is not None:
        flags["data_dir"] = data_dir
    try:
        config = load_config(config_file, flags)
        uvloop.run(serve_until_stopped(config))
    except ReapiError as error:
        click.echo(f"reapi-server: {error.message}", err=True)
        sys.exit(1)


main.add_command(storage)
main.add_command(check)
main.add_command(scheduler)


if __name__ == "__main__":
    main()
