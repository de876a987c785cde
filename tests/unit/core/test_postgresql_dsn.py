"""Connection strings: both forms are read, and none is ever shown."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from reapi.core.errors import InvalidArgument
from reapi.core.postgresql.dsn import read_dsn


def _file(folder: Path, text: str) -> Path:
    file = folder / "dsn"
    file.write_text(text)
    return file


def test_a_url_is_taken_as_it_is(tmp_path: Path) -> None:
    assert read_dsn(_file(tmp_path, " postgresql://a:b@c/d \n")).url == "postgresql://a:b@c/d"


def test_keywords_become_a_url(tmp_path: Path) -> None:
    text = r"host=db port = 5433 user=reapi password='it''s'".replace("''", r"\'") + "\ndbname=x"
    url = urlsplit(read_dsn(_file(tmp_path, text)).url)
    assert url.scheme == "postgresql"
    assert parse_qs(url.query) == {
        "host": ["db"],
        "port": ["5433"],
        "user": ["reapi"],
        "password": ["it's"],
        "dbname": ["x"],
    }


@pytest.mark.parametrize("text", ["", "secret", "host=a secret", "host='a secret", "http://secret"])
def test_anything_else_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_dsn(_file(tmp_path, text))
    assert "secret" not in caught.value.message
    assert str(tmp_path) in caught.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="nowhere"):
        read_dsn(tmp_path / "nowhere")


def test_the_password_is_not_in_the_text_of_the_object(tmp_path: Path) -> None:
    assert "secret" not in repr(read_dsn(_file(tmp_path, "postgresql://a:secret@c/d")))
