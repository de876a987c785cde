#!/usr/bin/env bash
# Makes sure that the programs named as arguments exist: installs their Debian packages when it may
# (root, apt-get), else says which ones to install. `venv` stands for Python's own venv module,
# `postgresql` for the server, which Debian keeps out of the PATH, `clang-runtime` for the libraries of
# clang's sanitizers and of its coverage.
set -euo pipefail

declare -A package_of=(
  [bazel]=bazel-bootstrap
  [busybox]=busybox-static
  [bwrap]=bubblewrap
  [cargo]=cargo
  [ccache]=ccache
  [clang]=clang
  [clang-runtime]=libclang-rt-dev
  [cmake]=cmake
  [distcc]=distcc
  [fusermount3]=fuse3
  [g++]=g++
  [git]=git
  [icecc]=icecc
  [ld.lld]=lld
  [make]=make
  [meson]=meson
  [ninja]=ninja-build
  [npm]=npm
  [postgresql]=postgresql
  [redis-server]=redis-server
  [rustc]=rustc
  [strace]=strace
  [venv]=python3-venv
)

is_there() {
  if [[ $1 == venv ]]; then
    "${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null
  elif [[ $1 == postgresql ]]; then
    command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null
  elif [[ $1 == clang-runtime ]]; then
    [[ -e $(clang --rtlib=compiler-rt -print-libgcc-file-name 2>/dev/null) ]]
  else
    command -v "$1" >/dev/null
  fi
}

missing=()
for program in "$@"; do
  is_there "$program" || missing+=("${package_of[$program]}")
done
if ((${#missing[@]} == 0)); then
  exit 0
fi

install=(apt-get install -y --no-install-recommends "${missing[@]}")
if ! command -v apt-get >/dev/null; then
  echo "These Debian packages, or what your system calls them, are missing: ${missing[*]}" >&2
  exit 1
fi
if ((EUID != 0)); then
  echo "Some Debian packages are missing. Install them and try again:" >&2
  echo "  sudo ${install[*]}" >&2
  exit 1
fi
echo "Installing Debian packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# What apt-get says names its hosts, which has no place in a log that others read.
if ! { apt-get update && "${install[@]}"; } &>/dev/null; then
  echo "That failed. Try it by hand to see why:" >&2
  echo "  apt-get update && ${install[*]}" >&2
  exit 1
fi
