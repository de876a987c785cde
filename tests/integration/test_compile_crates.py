"""Cargo workspaces built by way of `reapi-cc`, beside what cargo makes of them by itself."""

import asyncio
import os
import select
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from reapi.clients.compile.control import ask_daemon
from reapi.clients.compile.outcome import OutcomeKind
from reapi.clients.compile.statistics import STATISTICS_FILE, read_statistics, zero_statistics
from reapi.clients.compile.stub_build import build_stub, place_stub, this_installation
from tests.integration.system import System

WORKSPACE = {
    "Cargo.toml": '[workspace]\nmembers = ["base", "macros", "middle", "top", "app"]\n',
    "base/src/lib.rs": """
        pub fn text() -> &'static str {
            concat!(env!("CARGO_PKG_VERSION"), include_str!("text.txt"), file!())
        }
        pub fn flavour() -> &'static str { option_env!("FLAVOUR").unwrap_or("plain") }
        pub fn warned() { let unused = 1; }
    """,
    "base/src/text.txt": "hello\n",
    "macros/src/lib.rs": """
        use proc_macro::TokenStream;
        #[proc_macro]
        pub fn seven(_: TokenStream) -> TokenStream { "7".parse().unwrap() }
    """,
    "middle/build.rs": """
        fn main() {
            let target = std::env::var("OUT_DIR").unwrap() + "/generated.rs";
            std::fs::write(target, "pub const GENERATED: i32 = 4;").unwrap();
            println!("cargo:rustc-env=FROM_BUILD=yes");
            println!("cargo:rerun-if-changed=build.rs");
        }
    """,
    "middle/src/lib.rs": """
        include!(concat!(env!("OUT_DIR"), "/generated.rs"));
        pub mod part;
        pub fn number() -> i32 { macros::seven!() + GENERATED + base::text().len() as i32 }
        pub fn from_build() -> &'static str { env!("FROM_BUILD") }
        #[inline] pub fn flavour() -> &'static str { base::flavour() }
    """,
    "middle/src/part.rs": "pub fn part() {}\n",
    "top/src/lib.rs": """
        pub fn all() -> String {
            format!("{} {} {}", middle::number(), middle::from_build(), middle::flavour())
        }
    """,
    "app/src/main.rs": 'fn main() { println!("{}", top::all()); }\n',
}
DEPENDENCIES = {"base": [], "macros": [], "middle": ["base", "macros"], "top": ["middle"]}
LIBRARIES = 3


@dataclass
class Workspace:
    """A workspace, the server, and a wrapper whose cache and daemon are the workspace's own."""

    root: Path
    wrapper: Path
    server: str
    cache: Path

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def write_all(self) -> None:
        for path, text in WORKSPACE.items():
            self.write(path, text)
        for name, needed in {**DEPENDENCIES, "app": ["top"]}.items():
            lines = [f'[package]\nname = "{name}"\nversion = "1.2.3"\nedition = "2018"']
            lines += ["[lib]\nproc-macro = true"] if name == "macros" else []
            lines += ["[dependencies]", *(f'{one} = {{ path = "../{one}" }}' for one in needed)]
            self.write(f"{name}/Cargo.toml", "\n".join(lines))

    async def plain(self, **variables: str) -> dict[str, bytes]:
        """What cargo makes by itself; nothing of it is left."""
        await self._cargo(variables)
        return self.take_outputs()

    async def build(self, **variables: str) -> Counter[str]:
        """Builds all from nothing but what caches have; what became of the calls of rustc."""
        zero_statistics(self.cache / STATISTICS_FILE)
        shutil.rmtree(self.root / "target", ignore_errors=True)
        self.said = await self._cargo({"RUSTC_WRAPPER": str(self.wrapper), **variables})
        ask_daemon(self._socket, "flush")
        found = read_statistics(self.cache / STATISTICS_FILE)
        self.reasons = found["reasons"]
        calls = Counter({kind: int(count) for kind, count in found["calls"].items()})
        del calls[OutcomeKind.LOCAL]
        return +calls

    def take_outputs(self) -> dict[str, bytes]:
        """The crates with their dep-info, whose lines some versions write in any order."""
        found = {}
        for path in (self.root / "target/debug/deps").iterdir():
            if path.suffix in (".rlib", ".rmeta"):
                found[path.name] = path.read_bytes()
            if path.suffix == ".d":
                found[path.name] = b"\n".join(sorted(path.read_bytes().splitlines()))
        shutil.rmtree(self.root / "target")
        return found

    async def run(self) -> str:
        """What the program says."""
        process = await asyncio.create_subprocess_exec(
            self.root / "target/debug/app", stdout=asyncio.subprocess.PIPE
        )
        stdout, _ = await process.communicate()
        return stdout.decode().strip()

    async def forget(self) -> None:
        """Ends the daemon when it has shared all, and removes what this machine has."""
        facts = ask_daemon(self._socket, "stop")
        if facts is not None:
            await asyncio.to_thread(_wait_for_end, facts["pid"])
        shutil.rmtree(self.cache)

    @property
    def _socket(self) -> str:
        return str(self.cache / "reapi-cc" / f"{this_installation().key}.socket")

    async def _cargo(self, variables: Mapping[str, str]) -> str:
        left_out = ("CARGO", "REAPI_", "RUSTC", "RUSTFLAGS", "FLAVOUR")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
        environment |= {
            "CARGO_HOME": str(self.root.parent / "cargo"),
            "CARGO_INCREMENTAL": "0",
            "REAPI_SERVER": self.server,
            "REAPI_CC_CACHE_DIR": str(self.cache),
            "REAPI_CC_ROOT": str(self.root),
            "REAPI_CC_STRATEGY": "local",
        }
        process = await asyncio.create_subprocess_exec(
            *("cargo", "build", "--offline", "-j2"),
            cwd=self.root,
            env={**environment, **variables},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        stdout, _ = await process.communicate()
        assert process.returncode == 0, stdout.decode()
        return stdout.decode()


def _wait_for_end(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([pidfd], [], [])
    finally:
        os.close(pidfd)


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_stub(this_installation(), tmp_path_factory.mktemp("stub"))


@pytest.fixture
async def workspace(idle_system: System, open_path: Path, stub: Path) -> AsyncIterator[Workspace]:
    for program in ("cargo", "rustc"):
        if shutil.which(program) is None:
            pytest.fail(f"run `scripts/install_system_packages.sh {program}`", pytrace=False)
    wrapper = open_path / "reapi-cc"
    place_stub(stub, wrapper)
    made = Workspace(open_path / "work", wrapper, idle_system.address, open_path / "cache")
    made.write_all()
    yield made
    await made.forget()


async def test_a_workspace_comes_from_the_caches_as_cargo_makes_it(workspace: Workspace) -> None:
    plain = await workspace.plain()
    assert len([name for name in plain if name.endswith(".rlib")]) == LIBRARIES
    assert await workspace.build() == {OutcomeKind.MISS_LOCAL: LIBRARIES}
    said = await workspace.run()
    assert workspace.take_outputs() == plain
    assert await workspace.build() == {OutcomeKind.HIT_LOCAL: LIBRARIES}
    assert "unused variable" in workspace.said
    assert await workspace.run() == said
    assert workspace.take_outputs() == plain
    await workspace.forget()
    assert await workspace.build() == {OutcomeKind.HIT_REMOTE: LIBRARIES}
    assert "unused variable" in workspace.said
    assert await workspace.run() == said
    assert workspace.take_outputs() == plain


async def test_S2_executors_make_the_crates_that_have_no_macros_in_them(
    workspace: Workspace, idle_system: System
) -> None:
    plain = await workspace.plain()
    async with idle_system.worker(sandbox="auto"):
        calls = await workspace.build(REAPI_CC_STRATEGY="remote")
    assert calls == {OutcomeKind.MISS_REMOTE: 1, OutcomeKind.MISS_LOCAL: LIBRARIES - 1}
    assert workspace.reasons["miss-local: procedural macros run in its compiler"] == 2
    assert "unused variable" in workspace.said
    assert workspace.take_outputs() == plain
    assert await workspace.build() == {OutcomeKind.HIT_LOCAL: LIBRARIES}
    assert workspace.take_outputs() == plain


@pytest.mark.parametrize(
    ("path", "old", "new", "again"),
    [
        ("base/src/lib.rs", 'unwrap_or("plain")', 'unwrap_or("simple")', 3),
        ("base/src/text.txt", "hello", "hello, world", 3),
        ("macros/src/lib.rs", '"7"', '"8"', 2),
        ("middle/build.rs", "i32 = 4", "i32 = 5", 2),
        ("middle/src/part.rs", "pub fn part() {}", "pub fn part() { todo!() }", 2),
        ("top/src/lib.rs", "{} {} {}", "{}, {}, {}", 1),
    ],
)
async def test_what_an_input_goes_into_is_made_anew(
    workspace: Workspace, path: str, old: str, new: str, again: int
) -> None:
    await workspace.build()
    text = WORKSPACE[path]
    assert old in text
    workspace.write(path, text.replace(old, new))
    expected = {OutcomeKind.MISS_LOCAL: again, OutcomeKind.HIT_LOCAL: LIBRARIES - again}
    assert await workspace.build() == Counter(expected)
    made = workspace.take_outputs()
    assert made == await workspace.plain()
    workspace.write(path, text)
    assert await workspace.build() == {OutcomeKind.HIT_LOCAL: LIBRARIES}


async def test_variables_that_a_source_asks_for_are_inputs(workspace: Workspace) -> None:
    await workspace.build(OTHER="1")
    assert (await workspace.run()).endswith("plain")
    await workspace.build(FLAVOUR="sweet")
    assert (await workspace.run()).endswith("sweet")
    assert workspace.take_outputs() == await workspace.plain(FLAVOUR="sweet")
    for variables in ({"FLAVOUR": "sweet"}, {"OTHER": "2"}):
        assert await workspace.build(**variables) == {OutcomeKind.HIT_LOCAL: LIBRARIES}


async def test_what_links_or_grows_stays_here_and_says_why(workspace: Workspace) -> None:
    await workspace.build()
    assert workspace.reasons["local: it links: its crate type is bin"] == 2
    assert workspace.reasons["local: it links: its crate type is proc-macro"] == 1
    assert await workspace.build(CARGO_INCREMENTAL="1") == {}
    assert sum("CARGO_INCREMENTAL=0" in reason for reason in workspace.reasons) == 1


@pytest.fixture
def outside() -> Iterator[Path]:
    """Like cargo's registry, which is not below /tmp: what is there is taken to be gone soon."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="reapi-test-") as name:
        yield Path(name)


async def test_crates_from_outside_are_shared_between_checkouts(
    workspace: Workspace, outside: Path
) -> None:
    for name in ("base", "macros"):
        shutil.move(workspace.root / name, outside / name)
    checkouts = [workspace, replace(workspace, root=workspace.root.parent / "other")]
    shutil.copytree(checkouts[0].root, checkouts[1].root)
    for checkout in checkouts:
        checkout.write("Cargo.toml", '[workspace]\nmembers = ["middle", "top", "app"]\n')
        needed = checkout.root / "middle/Cargo.toml"
        needed.write_text(needed.read_text().replace("../", f"{outside}/"))
    await checkouts[0].build()
    expected = Counter({OutcomeKind.HIT_LOCAL: 1, OutcomeKind.MISS_LOCAL: LIBRARIES - 1})
    assert await checkouts[1].build() == expected
    assert checkouts[1].take_outputs() == await checkouts[1].plain()


async def test_portable_crates_are_shared_between_checkouts(workspace: Workspace) -> None:
    """But for those that have a path of the checkout by a variable."""
    other = replace(workspace, root=workspace.root.parent / "other")
    other.write_all()
    await workspace.build(REAPI_CC_PORTABLE="1")
    calls = await other.build(REAPI_CC_PORTABLE="1")
    assert calls[OutcomeKind.HIT_LOCAL] >= 1
    assert f"--> {other.root}" not in other.said
    here, there = workspace.take_outputs(), other.take_outputs()
    base = [name for name in here if name.startswith("libbase")]
    assert [there[name] for name in base] == [here[name] for name in base]
    assert str(workspace.root).encode() not in b"".join(there.values())
