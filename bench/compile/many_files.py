"""A build of very many small files: it ends as quickly as it begins, and the daemon stays small."""

from pathlib import Path
from statistics import fmean

from bench.comparison import Comparison, compare

from .builds import Build, build
from .findings import Findings
from .reapi_cc import reapi_cc
from .sources import write_project, write_small_files

_PARTS = 10
_MOST_OF_FIRST = 1.15
_MOST_MIB = 200


def measure_many_files(folder: Path, findings: Findings, files: int) -> None:
    """All of it cold, in ten parts; the first, small compile has shipped the compiler."""
    sources = folder / "sources"
    size = files // _PARTS
    parts = [
        write_small_files(sources / f"part{number}", number * size, size)
        for number in range(_PARTS)
    ]
    builds: list[Build] = []
    resident: list[float] = []
    with findings.noting("many files"), reapi_cc(folder / "reapi-cc", sources) as ours:
        build(write_project(sources / "small", 0), ours.tool)
        for part in parts:
            builds.append(build(part, ours.tool))
            resident.append(ours.daemon_mib())
            print(f"  {builds[-1].seconds:.1f} s, daemon {resident[-1]:.0f} MiB", flush=True)
        wall, cpu = [each.seconds for each in builds], [each.cpu_seconds for each in builds]
        findings.rows.extend(
            [
                _row(f"{files:,} small files: the last {size:,} of them", wall, size),
                _row("the same, processor time over everything", cpu, size),
                compare(
                    "the same, resident memory of the daemon at most",
                    "MiB",
                    [max(resident)],
                    aim=_MOST_MIB,
                    is_ratio=False,
                    is_ceiling=True,
                ),
            ]
        )


def _row(name: str, seconds: list[float], size: int) -> Comparison:
    """The last third beside the first."""
    third = _PARTS // 3
    first, last = fmean(seconds[:third]), fmean(seconds[-third:])
    return compare(
        name, "s", [last], [first], f"the first {size:,}", aim=_MOST_OF_FIRST, is_ceiling=True
    )
