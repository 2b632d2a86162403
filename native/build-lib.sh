#!/bin/sh
# Builds the built-in library (CPU and simulator) as a shared object with the ABI of include/touchstone.h, without Go:
#   native/build-lib.sh OUTPUT [FLAGS ...]      default flags: -O3
# One function is exported, ts_get_api. CXX names the compiler.
set -eu
folder=$(cd "$(dirname "$0")" && pwd)
output=$1
shift
[ $# -gt 0 ] || set -- -O3
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
for source in "$folder"/devices.cc "$folder"/core/*.cc "$folder"/cpu/*.cc "$folder"/sim/*.cc; do
  object=$objects/$(echo "${source#"$folder"/}" | tr / _).o
  "${CXX:-c++}" -std=c++20 -fPIC -fvisibility=hidden "$@" -c "$source" -o "$object"
done
echo '{ global: ts_get_api; local: *; };' >"$objects/exports"
"${CXX:-c++}" -shared -Wl,-Bsymbolic -Wl,--version-script="$objects/exports" -o "$output" "$objects"/*.o -lpthread -lm
