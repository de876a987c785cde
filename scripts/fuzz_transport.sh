#!/usr/bin/env bash
# Fuzzes the codec of transport/ for SECONDS in all: `scripts/fuzz_transport.sh [SECONDS]`. What
# libFuzzer learns is kept in .cache/fuzz, and what it breaks something with as well. It needs a C++
# compiler; without Rust, or with one that is too old, it says so and does nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

targets=(bytes frames messages headers)
seconds=$((${1:-60} / ${#targets[@]}))

PATH=$HOME/.cargo/bin:$PATH
mkdir -p .cache/fuzz
log=$PWD/.cache/fuzz/log
# What cargo says names its hosts, which has no place in a log that others read.
if ! cargo fetch --manifest-path transport/fuzz/Cargo.toml &>"$log"; then
  echo "transport/ is not fuzzed: there is no Rust, or no crate for it; $log says why"
  exit
fi

# What cargo-fuzz would pass, but for the sanitizer: that needs a nightly tool-chain, and the codec
# has no `unsafe` for it to watch.
flags=(-Cpasses=sancov-module --cfg=fuzzing -Ccodegen-units=1)
for option in level=4 inline-8bit-counters pc-table trace-compares; do
  flags+=("-Cllvm-args=-sanitizer-coverage-$option")
done
host=$(rustc -vV | sed -n 's/^host: //p')
built=${CARGO_TARGET_DIR:-$PWD/.cache/fuzz/target}
echo "Building what fuzzes transport/"
# With --target the flags are for the program only, not for what is run to build it.
if ! (cd transport/fuzz && CARGO_TARGET_DIR=$built RUSTFLAGS="${flags[*]}" \
  cargo build --offline --release --target "$host" &>"$log"); then
  tail -n 30 "$log" >&2
  exit 1
fi

for target in "${targets[@]}"; do
  folder=.cache/fuzz/$target
  mkdir -p "$folder"
  echo "Fuzzing transport/: $target for $seconds seconds"
  if ! "$built/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix=".cache/fuzz/broken-$target-" "$folder" &>"$log"; then
    tail -n 60 "$log" >&2
    exit 1
  fi
  sed -n 's/^Done /  /p' "$log"
done
