"""Callers are known by their tokens, as a file says it now."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reapi.core.errors import InvalidArgument, Unauthenticated
from reapi.core.identity import Identity, RoleName
from reapi.server.tokens import Tokens, read_tokens
from tests.fakes.call import FakeCall

CI = "ci-token-0123456789abcdef"
LAPTOP = "laptop-token-0123456789"


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class _Clock:
    """Goes on when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "laptop").write_text(LAPTOP + "\n")
    file = tmp_path / "tokens.toml"
    file.write_text(
        f'[ci]\ntoken_sha256 = "{_sha256(CI)}"\nroles = ["writer"]\n'
        '[laptops]\ntoken_file = "laptop"\nroles = ["reader"]\ninstances = ["main"]\n'
    )
    return file


def _call(header: str) -> FakeCall:
    return FakeCall(metadata={"authorization": header})


def test_a_token_says_who_calls(file: Path) -> None:
    tokens = Tokens(file)
    assert tokens.identify(_call(f"Bearer {CI}")) == Identity("ci", ("writer",))
    laptops = Identity("laptops", ("reader",), frozenset({"main"}))
    assert tokens.identify(_call(f"bearer  {LAPTOP} ")) == laptops


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {CI}x",
        f"Bearer {_sha256(CI)}",
        "Bearer ",
        "Bearer",
        "",
        CI,
        f"Basic {CI}",
        "Bearer " + "x" * 16_000,
        "Bearer \u20ac\U0001f600\udcff",
        f"Bearer {CI}, Bearer {LAPTOP}",
    ],
)
def test_whatever_else_is_shown_is_refused_and_not_repeated(file: Path, header: str) -> None:
    with pytest.raises(Unauthenticated, match="REAPI_TOKEN_FILE") as caught:
        Tokens(file, anonymous=("reader",)).identify(_call(header))
    assert CI not in caught.value.message
    assert len(caught.value.message) < 400


@given(st.text())
def test_any_text_is_a_token_that_is_not_known(text: str) -> None:
    tokens = Tokens(Path("/dev/null"))
    with pytest.raises(Unauthenticated):
        tokens.identify(_call(f"Bearer {text}"))


def test_bytes_in_the_header_are_refused(file: Path) -> None:
    with pytest.raises(Unauthenticated):
        Tokens(file).identify(FakeCall(metadata={"authorization": b"Bearer " + CI.encode()}))


@pytest.mark.parametrize("roles", [(), ("reader",), ("reader", "runner")])
def test_callers_without_a_token_have_the_roles_of_the_anonymous(
    file: Path, roles: tuple[RoleName, ...]
) -> None:
    tokens = Tokens(file, anonymous=roles)
    if roles:
        assert tokens.identify(FakeCall()) == Identity("anonymous", roles)
    else:
        with pytest.raises(Unauthenticated, match=r"asks who calls.*Bazel"):
            tokens.identify(FakeCall())


def test_the_processes_of_a_server_know_each_other(file: Path) -> None:
    identity = Tokens(file, own_token="made up").identify(_call("Bearer made up"))
    assert identity == Identity("this server", ("executor",))
    file_says = Tokens(file, own_token=CI).identify(_call(f"Bearer {CI}"))
    assert file_says == Identity("ci", ("writer",))


def test_a_changed_file_counts_within_a_second(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = _Clock()
    tokens = Tokens(file, clock=clock)
    file.write_text(f'[new]\ntoken_sha256 = "{_sha256("new" * 10)}"\nroles = ["reader"]\n')
    assert tokens.identify(_call(f"Bearer {CI}")).name == "ci"
    clock.now = 1.0
    with pytest.raises(Unauthenticated):
        tokens.identify(_call(f"Bearer {CI}"))
    assert tokens.identify(_call("Bearer " + "new" * 10)).name == "new"
    assert not caplog.records


def test_the_file_of_one_token_may_change_too(file: Path) -> None:
    clock = _Clock()
    tokens = Tokens(file, clock=clock)
    (file.parent / "laptop").write_text("another-token-of-laptops")
    clock.now = 1.0
    assert tokens.identify(_call("Bearer another-token-of-laptops")).name == "laptops"
    with pytest.raises(Unauthenticated):
        tokens.identify(_call(f"Bearer {LAPTOP}"))


def test_a_file_that_is_damaged_later_is_told_of_once_and_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = _Clock()
    tokens = Tokens(file, clock=clock)
    file.write_text("[ci\n")
    for clock.now in (1.0, 2.0, 3.0):
        assert tokens.identify(_call(f"Bearer {CI}")).name == "ci"
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "tokens are those from before"
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[ci", "cannot read auth.tokens_file"),
        ("ci = 1", "ci"),
        ('[ci]\nroles = ["writer"]', "ci: Value error, give either token_sha256 or token_file"),
        ('[ci]\ntoken_sha256 = "ab"\nroles = ["writer"]', "ci.token_sha256"),
        ('[ci]\ntoken = "secret-secret-secret"\nroles = ["writer"]', "ci.token: Extra"),
        (f'[ci]\ntoken_sha256 = "{_sha256(CI)}"\nroles = ["admin"]', "ci.roles.0"),
        (f'[ci]\ntoken_sha256 = "{_sha256(CI)}"\nroles = []', "ci.roles"),
        (f'[ci]\ntoken_sha256 = "{_sha256(CI)}"', "ci.roles"),
        (f'[ci]\ntoken_sha256 = "{_sha256(CI)}"\nroles = ["reader"]\ninstances = []', "instances"),
        ('[ci]\ntoken_file = "absent"\nroles = ["writer"]', "cannot read the token file"),
        ('[ci]\ntoken_file = "short"\nroles = ["writer"]', "shorter than 16 characters"),
        ('[ci]\ntoken_file = "two"\nroles = ["writer"]', "does not hold one token"),
        ('[ci]\ntoken_file = "foreign"\nroles = ["writer"]', "does not hold one token"),
        ('[ci]\ntoken_file = "huge"\nroles = ["writer"]', "does not hold one token"),
        (
            f'[a]\ntoken_sha256 = "{_sha256(CI)}"\nroles = ["writer"]\n'
            f'[b]\ntoken_sha256 = "{_sha256(CI)}"\nroles = ["reader"]',
            "a and b have the same token",
        ),
    ],
)
def test_a_file_with_a_mistake_is_refused_by_name_and_without_the_secret(
    tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "short").write_text("swordfish")
    (tmp_path / "two").write_text("secret-secret-secret\nsecret-secret-secret\n")
    (tmp_path / "foreign").write_bytes("secret-secret-s\u00e9cret".encode())
    (tmp_path / "huge").write_text("secret" * 10_000)
    file = tmp_path / "tokens.toml"
    file.write_text(text)
    with pytest.raises(InvalidArgument) as caught:
        read_tokens(file)
    assert reason in caught.value.message
    assert "secret-secret" not in caught.value.message
    assert "swordfish" not in caught.value.message


def test_a_file_that_is_absent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"absent\.toml"):
        read_tokens(tmp_path / "absent.toml")
