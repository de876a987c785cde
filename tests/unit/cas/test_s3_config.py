"""Mistyped settings of a bucket are refused with what to write instead."""

from dataclasses import replace
from pathlib import Path

import pytest

from reapi.cas.objects.s3_config import S3Config
from reapi.core.errors import InvalidArgument


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("", "https://s3.eu-north-1.amazonaws.com"),
        ("minio", "https://minio"),
        ("minio.example:9000", "https://minio.example:9000"),
        ("127.0.0.1:9000", "https://127.0.0.1:9000"),
        ("[::1]:9000", "https://[::1]:9000"),
    ],
)
def test_an_endpoint_becomes_a_url(endpoint: str, url: str) -> None:
    config = S3Config("bucket", endpoint, region="eu-north-1")
    assert config.url == url
    assert replace(config, use_ssl=False).url == url.replace("https", "http")


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://minio:9000", 'write endpoint = "minio:9000" and use_ssl = false'),
        ("https://minio:9000/", 'write endpoint = "minio:9000" and use_ssl = true'),
        ("minio:9000/bucket", "has a path"),
        ("minio:9000/", "has a path"),
        ("minio:", "is not HOST:PORT"),
        (":9000", "is not HOST:PORT"),
        ("minio:0", "is not HOST:PORT"),
        ("minio:65536", "is not HOST:PORT"),
        ("minio:http", "is not HOST:PORT"),
        ("minio:9000:9001", "is not HOST:PORT"),
        ("mi nio:9000", "is not HOST:PORT"),
        ("user@minio:9000", "is not HOST:PORT"),
        ("minio:9000\n", "is not HOST:PORT"),
    ],
)
def test_a_wrongly_typed_endpoint_is_refused(endpoint: str, expected: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        S3Config("bucket", endpoint)
    assert expected in caught.value.message


@pytest.mark.parametrize("bucket", ["", "ab", "Bucket", "a/b", "-ab", "s3://bucket", "a" * 64])
def test_a_name_that_no_bucket_can_have_is_refused(bucket: str) -> None:
    with pytest.raises(InvalidArgument, match="bucket: "):
        S3Config(bucket)


@pytest.mark.parametrize("key_prefix", ["/a", "a/", "a//b", "a/../b", ".", "a b", "ä"])
def test_a_prefix_that_would_not_be_the_same_in_a_url_is_refused(key_prefix: str) -> None:
    with pytest.raises(InvalidArgument, match="key_prefix: "):
        S3Config("bucket", key_prefix=key_prefix)


@pytest.mark.parametrize(
    ("key_prefix", "expected"), [("", "cas/name"), ("a", "a/cas/name"), ("a/b.c", "a/b.c/cas/name")]
)
def test_a_prefix_is_followed_by_one_slash(key_prefix: str, expected: str) -> None:
    config = S3Config("bucket", key_prefix=key_prefix)
    assert config.key("cas", "name") == expected
    assert config.key("cas") == expected.removesuffix("/name")


def test_an_unknown_encryption_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="AES256"):
        S3Config("bucket", server_side_encryption="aes")


def test_half_of_the_credentials_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="go together"):
        S3Config("bucket", access_key_id_file=Path("key"))
