#!/usr/bin/env bash
# Builds transport/, the native transport of gRPC, into the virtual environment, and says what became
# of it. Without Rust, or with one that is too old, that is nothing: grpc.aio serves then. With
# --check, it looks at the Rust sources (format, clippy, tests) instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PATH=$PATH:$HOME/.cargo/bin
mode=${1:-build}
log=$PWD/.cache/transport.log
export CARGO_TARGET_DIR=$PWD/.cache/cargo

go_on_without() {
  if [[ $mode == build ]]; then
    # One from before would not be what the sources say.
    .venv/bin/python -m pip uninstall --quiet --disable-pip-version-check --yes reapi-transport \
      &>/dev/null || true
    rm -f .venv/transport
  fi
  echo "transport/ is left out, and grpc.aio serves: $1"
  exit 0
}

silently() {
  "$@" &>"$log" || { cat "$log" >&2; exit 1; }
}

# The newest Rust of all that are there: that of the system may hide the user's own.
version_of() {
  "$1" --version 2>/dev/null | sed -nE 's/^rustc ([0-9]+\.[0-9]+).*/\1/p'
}
newest="" found=""
for compiler in $(type -ap rustc | sort -u); do
  [[ -x ${compiler%rustc}cargo ]] || continue
  version=$(version_of "$compiler")
  if [[ -n $version && $(printf '%s\n' "$found" "$version" | sort -V | tail -1) == "$version" ]]; then
    newest=${compiler%/rustc} found=$version
  fi
done
needed=$(sed -nE 's/^rust-version = "([0-9]+\.[0-9]+).*"/\1/p' transport/Cargo.toml)
[[ -n $found ]] || go_on_without "there is no Rust here; it needs $needed"
if [[ $(printf '%s\n' "$needed" "$found" | sort -V | head -1) != "$needed" ]]; then
  go_on_without "Rust $found is here, and it needs $needed; rustup has it"
fi
PATH=$newest:$PATH

mkdir -p .cache
# What cargo says names its hosts, which has no place in a log that others read.
if ! cargo fetch --manifest-path transport/Cargo.toml &>"$log"; then
  go_on_without "its crates cannot be fetched; $log says why"
fi
cd transport
if [[ $mode == --check ]]; then
  cargo fmt --check
  for features in "" --no-default-features; do
    # shellcheck disable=SC2086 # none, or one
    silently cargo clippy --offline --quiet --all-targets $features -- --deny warnings
  done
  silently cargo test --offline --quiet --no-default-features
  echo "transport/: cargo fmt and clippy have nothing to say, and its tests pass"
  exit
fi
echo "Building transport/ with Rust $found"
if ! CARGO_NET_OFFLINE=true ../.venv/bin/python -m pip install --quiet --disable-pip-version-check \
  --no-deps --force-reinstall --build-constraint ../constraints.txt . &>"$log"; then
  echo "transport/ cannot be built; $log says why" >&2
  exit 1
fi
touch ../.venv/transport
