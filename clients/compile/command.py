"""`reapi-cc` with options in place of a compiler: what became of calls, and the installation."""

import json
import os
import sys
import time
from importlib.metadata import version as version_of_package
from pathlib import Path
from typing import Any

import click

from reapi.core.errors import InvalidArgument

from .control import ask_daemon
from .journal import JOURNAL_FILE, Entry, read_journal
from .outcome import OutcomeKind
from .settings import load_daemon_settings
from .statistics import STATISTICS_FILE, read_statistics, zero_statistics
from .stub_build import build_stub, place_stub, this_installation
from .trace import trace_of
from .why import calls_of, explain

_EPILOG = """\b
A compiler with reapi-cc before it compiles as ever: from the cache, by the service, or here.
  make CC="reapi-cc gcc" CXX="reapi-cc g++"
  cmake -DCMAKE_C_COMPILER_LAUNCHER=reapi-cc -DCMAKE_CXX_COMPILER_LAUNCHER=reapi-cc ...
  CC="reapi-cc gcc" CXX="reapi-cc g++" meson setup build
  RUSTC_WRAPPER=reapi-cc CARGO_INCREMENTAL=0 cargo build
  CCACHE_PREFIX=reapi-cc make CC="ccache gcc"
  reapi-cc --install ~/reapi-bin gcc g++ && PATH=~/reapi-bin:$PATH make
\b
Settings: [compile] in reapi.toml of the project or ~/.config/reapi/config.toml, and REAPI_CC_<KEY>
in the environment; REAPI_CC_LOCAL=1 compiles here and asks nobody. docs/reapi-cc.md has them all.
"""

_LABELS = {
    OutcomeKind.HIT_LOCAL: "hits, here",
    OutcomeKind.HIT_REMOTE: "hits, service",
    OutcomeKind.MISS_REMOTE: "misses, service",
    OutcomeKind.MISS_LOCAL: "misses, here",
    OutcomeKind.FALLBACK: "fallbacks",
    OutcomeKind.LOCAL: "local calls",
}


@click.command(
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
    options_metavar="COMPILER ARGUMENTS... | OPTIONS",
    no_args_is_help=True,
)
@click.option("--stats", is_flag=True, help="Count what became of calls since --zero-stats.")
@click.option("--zero-stats", is_flag=True, help="Begin to count anew.")
@click.option("--why", "why", metavar="FILE", help="Why this source or object missed, or hit.")
@click.option("--trace", metavar="FILE", help="Write the last calls as a trace for Perfetto.")
@click.option("--json", "as_json", is_flag=True, help="Print --stats or --why as JSON.")
@click.option("--stop", is_flag=True, help="End the daemon after the calls that are under way.")
@click.option(
    "--install",
    metavar="DIRECTORY",
    help="Put reapi-cc there, and links to it named like the COMPILERS that follow.",
)
@click.version_option(package_name="reapi", prog_name="reapi-cc")
@click.argument("compilers", nargs=-1, metavar="")
@click.pass_obj
def command(
    socket_path: str,
    stats: bool,
    zero_stats: bool,
    why: str | None,
    trace: str | None,
    as_json: bool,
    stop: bool,
    install: str | None,
    compilers: tuple[str, ...],
) -> None:
    """Runs compilers by way of a cache and a remote execution service."""
    if compilers and install is None:
        raise click.UsageError(f"a compiler comes before all options: reapi-cc {compilers[0]} ...")
    facts = ask_daemon(socket_path, "stop" if stop else "flush")
    cache_dir = facts["cache_dir"] if facts else load_daemon_settings(os.environ).cache_dir
    directory = Path(cache_dir)
    if stats:
        _print_statistics(read_statistics(directory / STATISTICS_FILE), facts, as_json)
    if zero_stats:
        zero_statistics(directory / STATISTICS_FILE)
    if why is not None:
        _print_why(calls_of(why, read_journal(directory / JOURNAL_FILE)), why, as_json)
    if trace is not None:
        Path(trace).write_text(json.dumps(trace_of(read_journal(directory / JOURNAL_FILE))))
    if install is not None:
        _install(Path(install), compilers, directory)
    if stop and facts is None:
        click.echo("no daemon runs", err=True)


def _print_statistics(found: dict[str, Any], daemon: dict[str, Any] | None, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found | {"daemon": daemon}, indent=2))
        return
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["since"]))
    calls, seconds = found["calls"], found["seconds"]
    click.echo(f"since {since}")
    for kind, label in _LABELS.items():
        spent = seconds.get(kind, 0.0)
        click.echo(f"  {label:<18}{calls.get(kind, 0):>9.0f}{spent:>12.2f} s")
    if found["hit_rate"] is not None:
        click.echo(f"  {'hit rate':<18}{found['hit_rate']:>9.1%}")
    for name, value in found["bytes"].items():
        click.echo(f"  {name:<18}{value / 2**20:>9.1f} MiB")
    for section, title in (("failures", "failures of the service"), ("reasons", "reasons")):
        if found[section]:
            click.echo(title)
        for name, value in sorted(found[section].items(), key=lambda item: (-item[1], item[0])):
            click.echo(f"  {value:>8.0f}  {name}")
    if daemon is None:
        click.echo("no daemon runs: the next call starts one")
        return
    click.echo(
        f"daemon {daemon['pid']}: {daemon['connections']} calls under way, "
        f"{daemon['local_running']} of {daemon['local_slots']} local slots taken, "
        f"{daemon['local_waiting']} wait"
    )


def _print_why(calls: list[Entry], path: str, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps([asdict(entry) for entry in calls], indent=2))
        return
    if not calls:
        raise click.ClickException(f"none of the last calls read or wrote {path}")
    for entry in calls:
        click.echo("\n".join(explain(entry)))


def _install(directory: Path, compilers: tuple[str, ...], cache_directory: Path) -> None:
    installation = this_installation()
    stub = build_stub(installation, cache_directory)
    directory.mkdir(parents=True, exist_ok=True)
    place_stub(stub, directory / "reapi-cc")
    for name in compilers:
        if os.sep in name or name == "reapi-cc":
            raise click.UsageError(f"{name!r} is not the name of a compiler")
        link = directory / name
        if link.exists() and not link.is_symlink():
            raise click.ClickException(f"{link} is there already, and is no link")
        link.unlink(missing_ok=True)
        link.symlink_to("reapi-cc")
    click.echo(f"{directory / 'reapi-cc'}: version {version_of_package('reapi')}")


def main(socket_path: str, arguments: list[str]) -> None:
    """Runs the command line and exits: 0 well, 1 a failure, 2 a wrong option."""
    try:
        command.main(arguments, prog_name="reapi-cc", obj=socket_path, standalone_mode=True)
    except (InvalidArgument, OSError) as error:
        click.echo(f"reapi-cc: {error}", err=True)
        sys.exit(1)
