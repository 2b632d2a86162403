#!/usr/bin/env bash
# Builds the CUDA plugin, the CPU's library beside it, and the programs of bench/, into build/cuda:
#   libtouchstone_cuda.so  libtouchstone_cpu.so  check  bench  kernels
# Needs nvcc (11.8 or newer) and a g++ with C++20 (11 or newer); no Go, no network. nvcc is taken from CUDA_HOME, PATH,
# /usr/local/cuda or build/nvcc (install-nvcc.sh).
#   ARCHITECTURES="75 80 86 89 90"   what to compile for; "native" asks the machine's own device
#   CXX=g++  JOBS=$(nproc)
set -euo pipefail
cd "$(dirname "$0")/../.."

nvcc=""
for candidate in "${CUDA_HOME:-/nonexistent}/bin/nvcc" "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc \
  build/nvcc/toolkit/bin/nvcc; do
  if [ -x "$candidate" ]; then
    nvcc=$candidate
    break
  fi
done
if [ -z "$nvcc" ]; then
  echo "no nvcc: set CUDA_HOME, put nvcc into PATH, or run native/cuda/install-nvcc.sh" >&2
  exit 1
fi
toolkit=$(cd "$(dirname "$(readlink -f "$nvcc")")/.." && pwd)
cxx=${CXX:-g++}
out=build/cuda
mkdir -p "$out/objects"

flags=()
architectures=${ARCHITECTURES:-75 80 86 89 90}
if [ "$architectures" = native ]; then
  flags+=(-arch=native)
else
  for arch in $architectures; do flags+=(-gencode "arch=compute_$arch,code=sm_$arch"); done
  last=${architectures##* }
  flags+=(-gencode "arch=compute_$last,code=compute_$last") # newer devices compile this when they load it
fi

# One command a line; run JOBS at a time.
commands=$out/commands
: >"$commands"
kernels=() host=() core=() cpu=()
for source in native/cuda/*.cu; do
  object=$out/objects/$(basename "$source" .cu).cu.o
  kernels+=("$object")
  echo "$nvcc -std=c++17 -O3 --fmad=false --prec-div=true --prec-sqrt=true --ftz=false -Werror all-warnings" \
    "-Xcompiler -fPIC,-fvisibility=hidden -ccbin $cxx ${flags[*]} -c $source -o $object" >>"$commands"
done
compile() { # source object flags...
  echo "$cxx -std=c++20 -O3 -fPIC -fvisibility=hidden -Wall -Wextra ${*:3} -c $1 -o $2" >>"$commands"
}
for source in native/cuda/host/*.cc; do
  host+=("$out/objects/cuda_$(basename "$source" .cc).o")
  compile "$source" "${host[-1]}" -DTOUCHSTONE_CUDA "-I$toolkit/include"
done
for source in native/core/*.cc; do
  core+=("$out/objects/core_$(basename "$source" .cc).o")
  compile "$source" "${core[-1]}"
done
for source in native/cpu/*.cc native/cuda/bench/cpu_devices.cc; do
  cpu+=("$out/objects/cpu_$(basename "$source" .cc).o")
  compile "$source" "${cpu[-1]}"
done
for program in check bench; do
  echo "$cxx -std=c++20 -O2 -Wall -Wextra native/cuda/bench/$program.cc -o $out/$program -ldl" >>"$commands"
done
compile native/cuda/bench/kernels.cc "$out/objects/kernels_main.o" -DTOUCHSTONE_CUDA
xargs -P "${JOBS:-$(nproc)}" -I{} sh -c '{} || exit 255' <"$commands"

# Each library keeps its symbols to itself and offers ts_get_api alone.
echo '{ global: ts_get_api; local: *; };' >"$out/exports"
link() { "$cxx" -shared -Wl,-Bsymbolic -Wl,--version-script="$out/exports" "$@"; }
cudart=$(dirname "$(find -L "$toolkit" -name libcudart_static.a -print -quit)")
# The toolkit's folder is where the plugin looks for cuBLAS first, when a context asks for it.
link -o "$out/libtouchstone_cuda.so" "${kernels[@]}" "${host[@]}" "${core[@]}" -L"$cudart" "-Wl,-rpath,$cudart" \
  -lcudart_static -ldl -lrt -lpthread
"$cxx" -o "$out/kernels" "$out/objects/kernels_main.o" "${kernels[@]}" "$out/objects/cuda_runtime.o" -L"$cudart" \
  -lcudart_static -ldl -lrt -lpthread
link -o "$out/libtouchstone_cpu.so" "${cpu[@]}" "${core[@]}" -lpthread
echo "$out/libtouchstone_cuda.so"
