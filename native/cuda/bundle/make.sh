#!/usr/bin/env bash
# Makes build/gpu-bundle and build/gpu-bundle.tar.gz: what a machine with a GPU, a driver, nvcc, g++ and cc, but without Go
# and without a network, needs to build the CUDA plugin and to prove it. There: ./run.sh
set -euo pipefail
cd "$(dirname "$0")/../../.."

bundle=build/gpu-bundle
most_bytes=$((60 << 20))
rm -rf "$bundle" "$bundle.tar.gz"
mkdir -p "$bundle/bin"

# Sources and what the specs read, at the paths of the repository.
git ls-files --cached --others --exclude-standard -- native fixtures/models fixtures/goldens fixtures/prompts \
  fixtures/saboteurs/native suites/ffi gates/README.md LICENSE |
  grep -v '\.go$' | tar --create --files-from=- | tar --extract --directory="$bundle"
cp go.mod "$bundle/" # marks the root
mkdir -p "$bundle/gates/teeth"
cp native/cuda/bundle/run.sh "$bundle/run.sh"

# Programs in Go, for this processor.
go=${GO:-go}
link=(-trimpath -ldflags "-s -w")
for package in worker gates/cmd/gate fixtures/saboteurs/cmd/sabotage \
  fixtures/synthetic/cmd/synthesize; do
  "$go" build "${link[@]}" -o "$bundle/bin/" "./$package"
done
"$go" build "${link[@]}" -o "$bundle/bin/" github.com/onsi/ginkgo/v2/ginkgo
"$go" test -c "${link[@]}" -o "$bundle/gates/teeth/" ./gates/teeth # where it runs

tar --create --gzip --file="$bundle.tar.gz" --directory=build gpu-bundle
bytes=$(stat --format=%s "$bundle.tar.gz")
echo "$bundle.tar.gz: $((bytes >> 20)) MiB ($(du -sm "$bundle" | cut -f1) MiB unpacked)"
if [ "$bytes" -gt "$most_bytes" ]; then
  echo "the bundle is larger than $((most_bytes >> 20)) MiB" >&2
  exit 1
fi
