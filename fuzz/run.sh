#!/usr/bin/env bash
# Runs every fuzz target of a folder for some seconds each, on its corpus. Usage: fuzz/run.sh <folder> <seconds>
set -euo pipefail
folder=$1 seconds=$2
ran=0
for target in "$folder"/fuzz_*; do
  [ -f "$target" ] && [ -x "$target" ] || continue
  name=$(basename "$target")
  corpus=$folder/corpus/$name
  seeds=fuzz/corpus/${name#fuzz_}
  mkdir -p "$corpus"
  echo "== $name"
  inputs=("$corpus")
  [ -d "$seeds" ] && inputs+=("$seeds")
  status=0
  "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 "${inputs[@]}" \
    >"$folder/$name.log" 2>&1 || status=$?
  grep -E 'number_of_executed_units|new_units_added' "$folder/$name.log" || true
  if [ "$status" -ne 0 ]; then
    grep -E 'ERROR|SUMMARY|Test unit' "$folder/$name.log" || tail -5 "$folder/$name.log"
    echo "$name failed; the log is $folder/$name.log" >&2
    exit 1
  fi
  ran=$((ran + 1))
done
[ "$ran" -gt 0 ] || { echo "no fuzz targets in $folder" >&2; exit 1; }
