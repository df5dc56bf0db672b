#!/usr/bin/env bash
# clang-tidy over src, or over the named files. Usage: cmake/lint.sh <build folder> <jobs> [files...]
set -euo pipefail
build=$1 jobs=$2
shift 2
files=("$@")
if [ ${#files[@]} -eq 0 ]; then
  mapfile -t files < <(find src -name '*.cc' | sort)
fi
# g++'s own flags are no business of clang.
printf '%s\n' "${files[@]}" |
  xargs -P "$jobs" -n 1 clang-tidy-14 -p "$build" --quiet \
    --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-unknown-pragmas --extra-arg=-Wno-pass-failed 2>&1 |
  { grep -vE '^[0-9]+ warnings? (generated|treated)|^$' || true; }
exit "${PIPESTATUS[1]}"
