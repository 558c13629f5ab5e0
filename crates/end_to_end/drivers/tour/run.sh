#!/usr/bin/env bash
# Twenty queries and reports on real data against three members, each answer compared with the same computed in plain
# JavaScript. Prints the page docs/queries.md. Installs driver and data under target/drivers/tour.
# Usage: bash run.sh > docs/queries.md (after cargo build --release). With CSTORE_URI it asks that cluster instead of one of its own.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../.." && pwd)
work=${CARGO_TARGET_DIR:-$root/target}/drivers/tour
cstore=${CSTORE:-${CARGO_TARGET_DIR:-$root/target}/release/cstore}
port=${CSTORE_BASE_PORT:-28117}
mkdir -p "$work"

cp "$here"/*.mjs "$here/package.json" "$work"
(cd "$work" && npm install --silent --no-audit --no-fund >/dev/null)

uri=${CSTORE_URI:-}
if [ -z "$uri" ]; then
  rm -rf "$work/data"
  "$cstore" dev --nodes 3 --base-port "$port" --data-dir "$work/data" >"$work/dev.log" 2>&1 &
  dev=$!
  trap 'kill "$dev" 2>/dev/null; wait "$dev" 2>/dev/null || true' EXIT
  for _ in $(seq 300); do
    grep -q 'mongodb://' "$work/dev.log" && break
    kill -0 "$dev" 2>/dev/null || { cat "$work/dev.log" >&2; exit 1; }
    sleep 0.1
  done
  uri=$(grep -o 'mongodb://[^ ]*' "$work/dev.log" | head -n 1)
fi
node "$work/tour.mjs" "$uri"
