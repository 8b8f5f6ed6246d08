#!/bin/sh
# Serves data encryption keys from a checkout, for a developer. Makes a master key where there is none.
set -eu

usage='usage: scripts/dek/dev.sh [--no-build] [--kms-bin PATH] [--socket PATH] [--data-dir DIR] [--mkfile FILE]

  --no-build   do not set the checkout up first
  --kms-bin    the command to run in place of this checkout'"'"'s
  --socket     default: ./data/dek/dek.sock
  --data-dir   default: ./data/dek/data
  --mkfile     file with the master key, 64 hexadecimal digits; made where it is missing; default: ./data/dek/master.key'

root=$(cd "$(dirname "$0")/../.." && pwd)
build=yes bin='' socket=$root/data/dek/dek.sock data=$root/data/dek/data mkfile=$root/data/dek/master.key
while [ $# -gt 0 ]; do
  case $1 in
    --no-build) build=no; shift; continue ;;
    --help) echo "$usage"; exit 0 ;;
    --kms-bin | --socket | --data-dir | --mkfile) [ $# -gt 1 ] || { echo "$1 needs a value" >&2; exit 2; } ;;
    *) echo "$usage" >&2; exit 2 ;;
  esac
  case $1 in
    --kms-bin) bin=$2 ;;
    --socket) socket=$2 ;;
    --data-dir) data=$2 ;;
    --mkfile) mkfile=$2 ;;
  esac
  shift 2
done

umask 077
mkdir -p "$(dirname "$mkfile")" "$data"
if [ ! -e "$mkfile" ]; then
  # 32 bytes of the system, in hexadecimal.
  od -An -tx1 -N32 /dev/urandom | tr -d ' \n' > "$mkfile"
  echo "made a master key for development: $mkfile" >&2
fi
config=$(dirname "$mkfile")/dek-dev.json
printf '{"master_key_file":"%s"}\n' "$(cd "$(dirname "$mkfile")" && pwd)/$(basename "$mkfile")" > "$config"

set -- serve-dek --socket "$socket" --data-dir "$data" --config "$config"
[ -z "$bin" ] || exec "$bin" "$@"
[ "$build" = no ] || (cd "$root" && node scripts/setup.js --dev)
exec "$root/node_modules/.bin/node" --disable-sigusr1 "$root/src/cli/main.ts" "$@"
