#!/usr/bin/env bash
# Three members of Collection Store beside three of etcd on this machine. Flags go to `compare` (see --help).
# Usage: bash crates/benchmarks/compare.sh [--rounds N] [--seconds S] [--json FILE] …
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v etcd > /dev/null; then
  echo "installing etcd-server" >&2
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -q >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q etcd-server >&2
fi

cargo build --release -p server -p benchmarks >&2
target=${CARGO_TARGET_DIR:-target}
exec "$target/release/compare" --work-dir "$target/compare" "$@"
