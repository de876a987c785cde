#!/usr/bin/env bash
# Installs into .cache/tools the pinned tools named as arguments, unless they are there already:
#   bazel-2.1.0   the oldest Bazel that the end-to-end tests run
#   buf-1.75.0    lints the .proto files; `buf curl` calls the server in the end-to-end tests
# Both come as npm packages that hold one binary each. They need Linux on x86-64.
#   buildstream-2.8.1   a client whose input roots are root file systems; from PyPI
#   fastjet-3.5.2.0, pyerfa-2.0.1.5   Python packages whose source archives have whole libraries in
#                 them, FastJet (C++) and ERFA (C), that the end-to-end tests build
#   grpcurl-1.9.3   a client of the interop tests of the transport, built from its source with Go
#   helm-3.21.4   renders the chart in deploy/helm, built from its source with Go, which takes minutes
#   minio         the S3 server of the tests, built from its source with Go, which takes minutes;
#                 without Go the tests use another and say so
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

# The interpreter of the virtual environment, if that is there already.
our_python() {
  if [[ -x .venv/bin/python ]]; then
    echo .venv/bin/python
  else
    echo "${PYTHON:-python3}"
  fi
}

# A folder of packages, which can be moved to its place when it is whole.
install_packages() (
  tool=.cache/tools/$1 requirements=$2
  if [[ -d $tool ]]; then
    exit
  fi
  mkdir -p .cache/tools
  scratch=$(mktemp -d .cache/tools/.installing-XXXXXX)
  trap 'rm -rf "$scratch"' EXIT
  echo "Installing $1"
  if ! "$(our_python)" -m pip install --quiet --disable-pip-version-check --no-deps \
    --target "$scratch/packages" --requirement "$requirements" >"$scratch/log" 2>&1; then
    echo "pip could not install $requirements. Is the network there?" >&2
    exit 1
  fi
  mv "$scratch/packages" "$tool"
)

# unpack_source PACKAGE VERSION SHA256: the source archive, whole and as it was published.
unpack_source() (
  package=$1 version=$2 digest=$3
  source=.cache/tools/$package-$version
  if [[ -d $source ]]; then
    exit
  fi
  mkdir -p .cache/tools
  scratch=$(mktemp -d .cache/tools/.installing-XXXXXX)
  trap 'rm -rf "$scratch"' EXIT
  echo "Fetching the source of $package $version"
  echo "$package==$version --hash=sha256:$digest" >"$scratch/requirements.txt"
  if ! "$(our_python)" -m pip download --quiet --disable-pip-version-check --no-deps \
    --no-binary "$package" --requirement "$scratch/requirements.txt" --dest "$scratch" \
    >"$scratch/log" 2>&1; then
    echo "pip could not fetch $package $version. Is the network there?" >&2
    exit 1
  fi
  tar -xzf "$scratch/$package-$version.tar.gz" -C "$scratch"
  mv "$scratch/$package-$version" "$source"
)

# build_with_go TOOL MODULE PROGRAM WITHOUT: WITHOUT says what becomes of the tests where there is no Go.
# One at a time: several test processes may want it.
build_with_go() (
  tool=.cache/tools/$1 module=$2 program=$3 without=$4
  mkdir -p .cache/tools
  exec 9>".cache/tools/.$program.lock"
  flock 9
  if [[ -x $tool ]]; then
    exit
  fi
  if ! command -v go >/dev/null; then
    echo "Go is missing: $without"
    exit
  fi
  scratch=$(mktemp -d "$PWD/.cache/tools/.installing-XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
  echo "Building $1 with Go: up to some minutes, once"
  if ! GOBIN=$scratch CGO_ENABLED=0 go install "$module" >"$scratch/log" 2>&1; then
    tail -n 20 "$scratch/log" >&2
    echo "Go could not build $1. Is the network there?" >&2
    exit 1
  fi
  mv "$scratch/$program" "$tool"
)

for tool in "$@"; do
  case $tool in
    bazel-2.1.0) install "$tool" @bazel/bazel-linux_x64@2.1.0 bazel-2.1.0-linux-x86_64 ;;
    buf-1.75.0) install "$tool" @bufbuild/buf-linux-x64@1.75.0 bin/buf ;;
    buildstream-2.8.1) install_packages "$tool" tests/e2e/buildstream/requirements.txt ;;
    fastjet-3.5.2.0) unpack_source fastjet 3.5.2.0 \
      4f01dcf8c42031efe680d74d4a3d0c2301d99c46dbea21d81d9b8006865b81b7 ;;
    grpcurl-1.9.3) build_with_go "$tool" github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3 grpcurl \
      "the interop tests run without grpcurl and without a client of Go" ;;
    helm-3.21.4) build_with_go "$tool" helm.sh/helm/v3/cmd/helm@v3.21.4 helm \
      "the tests of the Helm chart are skipped" ;;
    minio) build_with_go "$tool" github.com/minio/minio@latest minio \
      "the S3 tests run against moto's server instead of MinIO" ;;
    pyerfa-2.0.1.5) unpack_source pyerfa 2.0.1.5 \
      17d6b24fe4846c65d5e7d8c362dcb08199dc63b30a236aedd73875cc83e1f6c0 ;;
    *)
      echo "Unknown tool: $tool" >&2
      exit 2
      ;;
  esac
done
