"""`grpcurl` (an older grpc-go) and `buf curl` (connect-go) against each transport.

They read the schema from interop.proto. `buf curl` can neither set a deadline nor compress, and
takes replies up to 4 MiB.
"""

import json
import signal
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from tests.e2e.conftest import TOOLS, installed
from tests.go_programs import skip_without_go

from .process import InteropProcess
from .service import SERVICE, Plan

HERE = Path(__file__).parent
DEADLINE_SECONDS = 60
LARGE = 17 << 20
LARGEST = 64 << 20


@dataclass(frozen=True)
class Client:
    """A program and the words of its command line."""

    name: str
    program: Path

    @property
    def code_factor(self) -> int:
        """It exits with code 0, or with the status times one plus the other."""
        return 8 if self.name == "buf" else 1

    @property
    def code_offset(self) -> int:
        return 0 if self.name == "buf" else 64

    @property
    def largest_reply(self) -> int:
        """buf curl takes no more than 4 MiB, and cannot be told to."""
        return 4_000_000 if self.name == "buf" else LARGE

    def command(
        self, server: InteropProcess, method: str, *flags: str | Path, tls: Path | None = None
    ) -> list[str | Path]:
        """Its requests come on its input."""
        service = SERVICE.strip("/")
        if self.name == "buf":
            secure = ["--cacert", tls / "authority.pem"] if tls else ["--http2-prior-knowledge"]
            url = f"{'https' if tls else 'http'}://{server.target}/{service}/{method}"
            fixed = ["curl", "--protocol", "grpc", "--schema", HERE]
            return [self.program, *fixed, *secure, *flags, "-d", "@-", url]
        secure = ["-cacert", tls / "authority.pem"] if tls else ["-plaintext"]
        fixed = ["-import-path", HERE, "-proto", "interop.proto", "-max-msg-sz", str(LARGEST)]
        end = ["-d", "@", server.target, f"{service}/{method}"]
        return [self.program, *fixed, *secure, *flags, *end]

    def call(
        self,
        server: InteropProcess,
        method: str,
        requests: list[Plan],
        *flags: str | Path,
        tls: Path | None = None,
    ) -> tuple[int, list[Plan], str]:
        """The status, the replies, and what it said besides."""
        done = subprocess.run(
            self.command(server, method, *flags, tls=tls),
            input="\n".join(map(json.dumps, requests)),
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
        )
        code = done.returncode and (done.returncode - self.code_offset) // self.code_factor
        return code, _objects(done.stdout), done.stderr


def _objects(text: str) -> list[Plan]:
    """JSON objects one after the other."""
    decoder, found, rest = json.JSONDecoder(), [], text.lstrip()
    while rest.startswith("{"):
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].lstrip()
    return found


@pytest.fixture(scope="module", params=["grpcurl-1.9.3", "buf-1.75.0"])
def client(request: pytest.FixtureRequest) -> Client:
    tool: str = request.param
    if tool.startswith("grpcurl"):
        skip_without_go()
    program = installed(TOOLS / tool, f"scripts/install_tools.sh {tool}")
    return Client(tool.partition("-")[0], program)


@pytest.mark.parametrize("method", ["Unary", "AtOnce"])
def test_unary_calls_are_answered(client: Client, interop: InteropProcess, method: str) -> None:
    assert client.call(interop, method, [{"text": "ü"}])[:2] == (0, [{"text": "ü"}])


def test_all_streams_flow(client: Client, interop: InteropProcess) -> None:
    requests: list[Plan] = [{"text": "a"}, {"text": "b"}, {"text": "c"}]
    assert client.call(interop, "Collect", requests)[:2] == (0, [{"text": "abc", "count": 3}])
    assert client.call(interop, "Converse", requests)[:2] == (0, requests)
    code, replies, _ = client.call(interop, "Expand", [{"replies": [1, 70_000, 2]}])
    assert (code, [len(reply["text"]) for reply in replies]) == (0, [1, 70_000, 2])


def test_large_messages_go_both_ways(client: Client, interop: InteropProcess) -> None:
    _exchange_large_messages(client, interop, None)


def _exchange_large_messages(client: Client, server: InteropProcess, tls: Path | None) -> None:
    size = client.largest_reply
    request: Plan = {"text": "t" * LARGE, "size": size}
    for method in ("Unary", "AtOnce", "Converse"):
        code, replies, _ = client.call(server, method, [request], tls=tls)
        assert (code, [len(reply["text"]) for reply in replies]) == (0, [size])
    code, replies, _ = client.call(server, "Expand", [{"replies": [size, 1]}], tls=tls)
    assert (code, [len(reply["text"]) for reply in replies]) == (0, [size, 1])


def test_metadata_goes_both_ways(client: Client, interop: InteropProcess) -> None:
    plan: Plan = {
        "tell": ["metadata"],
        "initial": [["x-first", "a b"]],
        "trailing": [["x-last", "c"], ["x-last-bin", "00ff"]],
    }
    done = subprocess.run(
        client.command(interop, "Unary", "-v", "-H", "x-text: v", "-H", "x-bytes-bin: AP8"),
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    told = {"metadata": {"x-text": "v", "x-bytes-bin": "00ff"}}
    shown = done.stdout + done.stderr
    assert done.returncode == 0, shown
    assert told in _objects(shown[shown.index('{\n  "metadata"') :])
    for line in ("x-first: a b", "x-last: c", "x-last-bin: ap8"):
        assert line in shown.lower()


def test_an_error_has_its_code_message_and_details(client: Client, interop: InteropProcess) -> None:
    # A google.rpc.Status with code 5 and the message "gone", as it is sent beside the error.
    plan: Plan = {"code": 5, "message": "gone", "details": "08051204676f6e65"}
    for method in ("Unary", "AtOnce", "Collect", "Expand", "Converse"):
        code, replies, said = client.call(interop, method, [plan])
        assert (code, replies) == (5, [])
        assert "gone" in said


def test_a_deadline_ends_the_call(client: Client, interop: InteropProcess) -> None:
    if client.name == "buf":
        pytest.skip("buf curl cannot set a deadline")
    name = uuid.uuid4().hex
    code, _, _ = client.call(interop, "Unary", [{"wait": name}], "-max-time", "0.5")
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert client.call(interop, "Cancelled", [{"name": name}])[0] == 0


def test_a_client_that_is_interrupted_cancels_its_call(
    client: Client, interop: InteropProcess
) -> None:
    name = uuid.uuid4().hex
    with subprocess.Popen(
        client.command(interop, "Expand"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"wait": name, "replies": [1]}))
        process.stdin.close()
        process.stdout.readline()  # the first reply is there
        process.send_signal(signal.SIGINT)
        process.wait(DEADLINE_SECONDS)
    assert client.call(interop, "Cancelled", [{"name": name}])[0] == 0


def test_tls_clients_are_served(
    client: Client, tls_server: InteropProcess, tls_folder: Path
) -> None:
    _exchange_large_messages(client, tls_server, tls_folder)


def test_a_client_shows_who_it_is(
    client: Client, mtls_server: InteropProcess, tls_folder: Path
) -> None:
    dashes = "--" if client.name == "buf" else "-"
    certificate, key = tls_folder / "client.pem", tls_folder / "client.key"
    flags = [f"{dashes}cert", certificate, f"{dashes}key", key]
    plan: Plan = {"tell": ["common_name"]}
    found = client.call(mtls_server, "Unary", [plan], *flags, tls=tls_folder)
    assert found[:2] == (0, [{"common_name": "client"}])
    # grpcurl tries for ten seconds unless told.
    hurry = [] if client.name == "buf" else ["-connect-timeout", "1"]
    assert client.call(mtls_server, "Unary", [plan], *hurry, tls=tls_folder)[0] != 0
