"""Names of objects, to and from digests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reapi.cas.objects.names import new_suffix, object_name, parse_object_name
from reapi.core.digest import DIGEST_FUNCTIONS, DigestFunction, digest_of

EVERY_FUNCTION = pytest.mark.parametrize(
    "function", DIGEST_FUNCTIONS, ids=lambda function: function.name
)


@EVERY_FUNCTION
@pytest.mark.parametrize("suffix", ["", ".0123456789abcdef", ".0123456789abcdef.zst"])
def test_a_name_tells_its_digest_and_suffix(function: DigestFunction, suffix: str) -> None:
    for data in (b"", b"x", b"some bytes" * 1000):
        digest = digest_of(data, function)
        assert parse_object_name(object_name(digest, suffix)) == (digest, suffix)


def test_D11_functions_with_hashes_of_one_length_have_folders_of_their_own() -> None:
    names = {one.name: object_name(digest_of(b"x", one), "") for one in DIGEST_FUNCTIONS}
    assert names["BLAKE3"].startswith("blake3/")
    assert names["SHA256TREE"].startswith("sha256tree/")
    assert all(names[name][2] == "/" for name in ("SHA256", "SHA1", "SHA384", "SHA512"))
    assert len(set(names.values())) == len(DIGEST_FUNCTIONS)


@EVERY_FUNCTION
def test_a_name_that_this_program_did_not_give_tells_nothing(function: DigestFunction) -> None:
    digest = digest_of(b"x", function)
    folder, segment = digest.hash[:2], digest.function.segment
    good = f"{segment}{folder}/{digest.hash}-1"
    assert parse_object_name(good) == (digest, "")
    for name in (
        f"{segment}{digest.hash}-1",
        f"{segment}00/{digest.hash}-1",
        f"{segment}{folder}/{digest.hash}-01",
        f"{segment}{folder}/{digest.hash}-0",
        f"{segment}{folder}/{digest.hash}-{2**53 + 1}",
        f"{segment}{folder}/{digest.hash}",
        f"{segment}{folder}/{digest.hash[:-2]}-1",
        f"{segment}{folder}/{digest.hash.upper()}-1",
        f"{good}.ABC",
        f"{good}.",
        f"{good}\n",
        f"/{good}",
        f"other/{good}",
        f"md5/{good}",
        f"sha256/{folder}/{digest.hash}-1",
        f"sha1/{folder}/{digest.hash}-1",
    ):
        assert parse_object_name(name) is None, name


def test_suffixes_differ() -> None:
    suffixes = {new_suffix() for _ in range(100)}
    assert len(suffixes) == 100
    for suffix in suffixes:
        assert parse_object_name(object_name(digest_of(b"x"), suffix)) == (digest_of(b"x"), suffix)


@given(st.text(max_size=200))
def test_any_text_is_a_name_or_is_not(text: str) -> None:
    parsed = parse_object_name(text)
    assert parsed is None or object_name(*parsed) == text
