#!/usr/bin/env bash
# Installs NVIDIA's CUDA compiler from its Python wheels into build/nvcc and prints the path of nvcc.
# For machines without a CUDA toolkit, where the kernels are compiled but not run (CI). Needs python3 with venv and pip.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=13.0
prefix=build/nvcc
toolkit=$prefix/toolkit
if [ ! -x "$toolkit/bin/nvcc" ]; then
  rm -rf "$prefix"
  python3 -m venv "$prefix/venv" >&2
  "$prefix/venv/bin/pip" install --quiet --disable-pip-version-check \
    "nvidia-cuda-nvcc==$version.*" "nvidia-cuda-crt==$version.*" "nvidia-nvvm==$version.*" \
    "nvidia-cuda-runtime==$version.*" "nvidia-cuda-cccl==$version.*" "nvidia-cublas==13.*" >&2
  ln -s "$(cd "$prefix"/venv/lib/python3*/site-packages/nvidia/cu13 && pwd)" "$toolkit"
  # The wheels carry versioned libraries only; the linker looks for the plain name.
  for library in "$toolkit"/lib/*.so.*; do
    ln -sf "$(basename "$library")" "${library%%.so.*}.so"
  done
  ln -sfn lib "$toolkit/lib64"
fi
echo "$PWD/$toolkit/bin/nvcc"
