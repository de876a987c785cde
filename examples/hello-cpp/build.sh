#!/usr/bin/env bash
# Builds and tests this example remotely: each step is one action, run by `reapi-cli run`.
#
#   REAPI_SERVER=HOST:PORT ./build.sh [REPORTS]
#
# The results appear in out/. With REPORTS, what reapi-cli says about each step (JSON) goes there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

reports=${1:-$(mktemp -d)}
mkdir -p "$reports"
flags=(-std=c++17 -O2 -Wall -Wextra -Iinclude)

# remote STEP [--input PATH]... [--output PATH]... -- COMMAND...
remote() {
  local step=$1
  shift
  echo "  $step"
  if ! reapi-cli run --json "$@" >"$reports/${step// /-}.json"; then
    echo "'$step' failed; what the server said:" >&2
    cat "$reports/${step// /-}.json" >&2
    return 1
  fi
}

# compile SOURCE: the source and the headers go in, one object file comes back.
compile() {
  local name
  name=$(basename "$1" .cpp)
  remote "compile $name" --input include --input "$1" --output "out/$name.o" \
    -- g++ "${flags[@]}" -c "$1" -o "out/$name.o"
}

# link PROGRAM: from its own object file and the library.
link() {
  remote "link $1" --input "out/$1.o" --input out/libcalc.a --output "out/$1" \
    -- g++ "out/$1.o" out/libcalc.a -o "out/$1"
}

# parallel FUNCTION ARGUMENT...: calls the function with each argument, all at once; fails if one did.
parallel() {
  local function=$1 argument job jobs=() failed=0
  shift
  for argument in "$@"; do
    "$function" "$argument" &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do
    wait "$job" || failed=1
  done
  return "$failed"
}

parallel compile src/*.cpp tests/*.cpp

objects=(out/{evaluator,format,parser,token}.o)
remote "archive libcalc" "${objects[@]/#/--input=}" --output out/libcalc.a \
  -- ar rcs out/libcalc.a "${objects[@]}"

parallel link calc calc_test

remote "run calc_test" --input out/calc_test --input tests/cases.txt --output out/report.txt \
  -- out/calc_test tests/cases.txt out/report.txt
