"""Very many resource names, quickly made (reliability B7).

`python -m tests.fuzz.test_resource_names COUNT [SEED]` tries as many as one likes.
"""

import random
import sys
import time

from reapi.core.digest import DIGEST_FUNCTIONS, digest_of, make_digest
from reapi.core.errors import InvalidArgument
from reapi.core.instances import Instances
from reapi.core.resource_name import (
    RESERVED_SEGMENTS,
    ReadName,
    WriteName,
    parse_read_name,
    parse_write_name,
    read_name,
    write_name,
)
from tests.fakes.instances import INSTANCES

CASES = 200_000

_DIGESTS = [digest_of(data, function) for function in DIGEST_FUNCTIONS for data in (b"", b"data")]
_HASHES = [digest.hash for digest in _DIGESTS]
_SEGMENTS = [
    *sorted(RESERVED_SEGMENTS),
    *(function.name.lower() for function in DIGEST_FUNCTIONS),
    *("md5", "vso", "gitsha1", "murmur3", "zstd", "deflate", "brotli", "identity"),
    *("", "", ".", "..", "%2e%2e", "%2f", "\0", "a\0b", "\n", "\u0664", "é", "\U0001f600"),
    *("main", "buck2", "an-upload", "0d6f0f3c-5b6c-4b8e-9d5f-6a2f3f3c1c11", "x" * 5000),
    *_HASHES,
    *("0", "4", "-4", "+4", "04", "4.0", "0x4", "4_0", str(2**53), str(2**53 + 1), "9" * 17),
]
_CHARACTERS = "/0aA%.-\0é\u0661"


def odd_name(chosen: random.Random) -> str:
    """A name that is right, one that is nearly so, or segments in any order."""
    kind = chosen.randrange(3)
    if kind == 2:
        return "/".join(chosen.choices(_SEGMENTS, k=chosen.randrange(9)))
    digest = chosen.choice(_DIGESTS)
    instance_name = chosen.choice(("", "main", "buck2", "a/b"))
    compressor = chosen.randrange(2)
    if chosen.randrange(2):
        name = read_name(instance_name, digest, compressor)  # type: ignore[arg-type]
    else:
        name = write_name(instance_name, "u", digest, compressor)  # type: ignore[arg-type]
    if kind == 0:
        return name
    for _ in range(chosen.randrange(1, 3)):
        at = chosen.randrange(len(name) + 1)
        cut = chosen.randrange(3)
        name = name[:at] + chosen.choice(_CHARACTERS) * chosen.randrange(2) + name[at + cut :]
    return name


def check_name(name: str) -> int:
    """Parses `name` in all ways, each to a sound value or InvalidArgument; how many are sound."""
    sound = 0
    for instances in (None, INSTANCES):
        for parse in (parse_read_name, parse_write_name):
            try:
                parsed = parse(name, instances)
            except InvalidArgument:
                continue
            _check_parsed(parsed, instances)
            sound += 1
    return sound


def _check_parsed(parsed: ReadName | WriteName, instances: Instances | None) -> None:
    instance_name, digest, compressor = parsed.instance_name, parsed.digest, parsed.compressor
    segments = instance_name.split("/") if instance_name else []
    assert "" not in segments
    assert RESERVED_SEGMENTS.isdisjoint(segments)
    assert make_digest(*digest) == digest
    if isinstance(parsed, WriteName):
        assert parsed.upload_id
        assert "/" not in parsed.upload_id
        again = write_name(instance_name, parsed.upload_id, digest, compressor)
        assert parse_write_name(again, instances) == parsed
    else:
        again = read_name(instance_name, digest, compressor)
        assert parse_read_name(again, instances) == parsed


def check_many(count: int, seed: int) -> tuple[int, float]:
    """How many were sound in some way, and cases per second."""
    chosen = random.Random(seed)
    started = time.perf_counter()
    sound = sum(check_name(odd_name(chosen)) > 0 for _ in range(count))
    return sound, count / (time.perf_counter() - started)


def test_reliability_B7_resource_names_by_the_hundred_thousand() -> None:
    sound, cases_per_second = check_many(CASES, seed=7)
    print(f"\n{CASES} resource names, {cases_per_second:.0f} per second")
    assert CASES // 4 < sound < CASES * 3 // 4


if __name__ == "__main__":
    cases, first_seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    print(*check_many(cases, first_seed))
