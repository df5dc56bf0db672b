#!/usr/bin/env bash
# Installs the Debian packages of the named groups that are missing, and nothing else: build, test, checks.
# Usage: cmake/install_packages.sh build [test] [checks]
set -euo pipefail

packages_of() {
  case "$1" in
    build) echo g++ cmake ninja-build ccache pkg-config libdnnl-dev libcli11-dev nlohmann-json3-dev libyaml-cpp-dev \
      libfmt-dev libpng-dev libjpeg62-turbo-dev libwebp-dev libutf8proc-dev libpcre2-dev \
      libavcodec-dev libavformat-dev libavutil-dev libswscale-dev ;;
    test) echo binutils libgtest-dev libgmock-dev libbenchmark-dev ;;
    checks) echo clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev ;;
    *) echo "no package group named '$1'; known: build test checks" >&2; exit 2 ;;
  esac
}

wanted=()
for group in "$@"; do
  names=$(packages_of "$group")
  read -ra names <<<"$names"
  wanted+=("${names[@]}")
done

if ! command -v dpkg-query >/dev/null; then
  echo "this is not a Debian system; these packages (or their like) are needed: ${wanted[*]}" >&2
  exit 0
fi

missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "to be installed as root: apt-get install ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "installing: ${missing[*]}"
"${as_root[@]}" apt-get -qq update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
