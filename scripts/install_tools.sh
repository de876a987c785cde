#!/usr/bin/env bash
# Installs into .cache/tools the pinned tools named as arguments, unless they are there already:
#   bazel-2.1.0   the oldest Bazel that the end-to-end tests run
#   buf-1.75.0    lints the .proto files; `buf curl` calls the server in the end-to-end tests
# Both come as npm packages that hold one binary each. They need Linux on x86-64.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# install TOOL PACKAGE BINARY: nothing is visible at its place before it is whole.
install() (
  tool=.cache/tools/$1 package=$2 binary=$3
  if [[ -x $tool ]]; then
    exit
  fi
  if ! command -v npm >/dev/null; then
    echo "npm is missing: it fetches $1. Install the Debian package npm and try again." >&2
    exit 1
  fi
  mkdir -p .cache/tools
  scratch=$(mktemp -d .cache/tools/.installing-XXXXXX)
  trap 'rm -rf "$scratch"' EXIT
  echo "Installing $1"
  if ! (cd "$scratch" && npm pack --silent "$package" >/dev/null 2>&1); then
    echo "npm could not fetch $package. Is the network there?" >&2
    exit 1
  fi
  tar -xzf "$scratch"/*.tgz -C "$scratch"
  chmod +x "$scratch/package/$binary"
  mv "$scratch/package/$binary" "$tool"
)

for tool in "$@"; do
  case $tool in
    bazel-2.1.0) install "$tool" @bazel/bazel-linux_x64@2.1.0 bazel-2.1.0-linux-x86_64 ;;
    buf-1.75.0) install "$tool" @bufbuild/buf-linux-x64@1.75.0 bin/buf ;;
    *)
      echo "Unknown tool: $tool" >&2
      exit 2
      ;;
  esac
done
