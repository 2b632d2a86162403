#!/usr/bin/env bash
# Builds the CUDA plugin on this machine and proves it. Needs a driver, nvcc, cuBLAS, g++ and cc; no Go, no network.
#   ./run.sh [--device cuda:N|sim] [--steps "build check gate bench sanitize"] [--teeth sample|all] [--out FOLDER]
# Each step writes FOLDER/STEP.log, the gate its report to FOLDER/gate1, the teeth theirs to FOLDER/teeth; FOLDER/summary.md
# has a line a step. Exits 1 if a step failed. With --device sim nothing is built by nvcc and the steps bench and sanitize
# are left out: a rehearsal on a machine without a GPU.
set -euo pipefail
cd "$(dirname "$0")"
root=$PWD

device=cuda:0 steps="build check gate bench sanitize" teeth="" out=$root/out
while [ $# -gt 0 ]; do
  case $1 in
    --device) device=$2 ;;
    --steps) steps=$2 ;;
    --teeth) teeth=$2 ;;
    --out) out=$2 ;;
    *)
      sed -n '2,7s/^# //p' "$0" >&2
      exit 2
      ;;
  esac
  shift 2
done
mkdir -p "$out"
out=$(cd "$out" && pwd)

built=$root/build/cuda
cpu=$built/libtouchstone_cpu.so
export GATE_TOOLS=$root/bin GATE_DEVICE=$device
if [ "$device" = sim ]; then
  device_library=$cpu:1 # the built-in library offers the processor and the simulator
  # The gate's CUDA rows take the simulator by themselves; whole models on it would outlast the specs' time.
  export GATE_NATIVE_LIB=$cpu GATE_DEVICE=cpu
  steps=$(echo "$steps" | tr ' ' '\n' | grep -vx -e bench -e sanitize | tr '\n' ' ')
else
  device_library=$built/libtouchstone_cuda.so:${device#cuda:}
  export GATE_NATIVE_LIB=$built/libtouchstone_cuda.so TOUCHSTONE_CUDA_LIB=$built/libtouchstone_cuda.so
fi

step_build() {
  if [ "$device" != sim ]; then
    nvidia-smi
    ARCHITECTURES=native native/cuda/build-plugin.sh
    return
  fi
  mkdir -p "$built"
  native/build-lib.sh "$cpu" -O2
  g++ -std=c++20 -O2 native/cuda/bench/check.cc -o "$built/check" -ldl
}

step_check() { "$built/check" "$cpu" "$device_library" "$([ "$device" = sim ] && echo 2 || echo 40)"; }

step_gate() {
  local status=0
  bin/gate run gate1 --report-dir "$out/gate1" || status=$?
  bin/gate verify "$out/gate1"
  return "$status"
}

step_bench() {
  local format
  "$built/bench" "$cpu" --model small --prompt 0 --long-prompt 0 --decode 0 | tee "$out/small-cpu.txt"
  "$built/bench" "$device_library" --model small --prompt 0 --long-prompt 0 --decode 0 | tee "$out/small-device.txt"
  diff <(grep ^logits "$out/small-cpu.txt") <(grep ^logits "$out/small-device.txt")
  for format in F16 Q8_0 Q4_0 Q4_K; do
    "$built/kernels" "$format"
    # Blocks of the K formats hold 256 columns.
    "$built/bench" "$device_library" --format "$format" \
      --model "$([ "$format" = Q4_K ] && echo 1024,4864,24,16,2,64,151936 || echo 0.5b)"
  done
  "$built/bench" "$device_library" --sampled
  # cuBLAS for long prompts: not canonical, but the same bits run after run.
  for format in F16 Q8_0; do
    "$built/bench" "$device_library" --format "$format" --numerics fast --decode 0 | tee "$out/fast-$format.txt"
    if grep -q DIFFER "$out/fast-$format.txt"; then return 1; fi
  done
  # A model file of the same shape through the worker: load, first token and rate as a client sees them.
  [ -f build/synthetic.gguf ] || bin/synthesize --out build/synthetic.gguf
  bin/gate run gate1 --model build/synthetic.gguf --report-dir "$out/performance" --label-filter PERF-01
  grep -A12 PERF-01 "$out/performance/checklist.md" || true
}

step_sanitize() {
  local tool
  for tool in memcheck racecheck initcheck synccheck; do
    echo "== $tool"
    timeout 240 compute-sanitizer --tool "$tool" --error-exitcode 9 "$built/check" "$cpu" "$device_library" 1
    timeout 240 compute-sanitizer --tool "$tool" --error-exitcode 9 "$built/bench" "$device_library" --model small \
      --prompt 5 --long-prompt 70 --decode 5 --sampled
  done
}

step_teeth() {
  TEETH=${teeth/sample/} GATE_REPORT_DIR=$out/teeth bin/ginkgo run -p --no-color gates/teeth/teeth.test
}

# What a step's log says in a line.
gist() {
  case $1 in
    check) grep 'cases differ' "$2" ;;
    gate) grep -E '^(PASS|FAIL|INCOMPLETE)' "$2" | tail -1 ;;
    bench) grep -E '^decode' "$2" | sed 's/.*: //' | paste -sd ' ' ;;
    sanitize) grep -E '^== |ERROR SUMMARY|RACECHECK SUMMARY' "$2" | sed 's/=========//' | paste -sd ' ' ;;
    teeth) grep -iE 'killed|survived' "$2" | tail -1 ;;
  esac
}

summary=$out/summary.md
printf '# %s on %s\n\n| step | outcome | seconds | |\n| --- | --- | --- | --- |\n' "$device" "$(uname -n)" >"$summary"
failed=0
for step in $steps ${teeth:+teeth}; do
  log=$out/$step.log
  start=$SECONDS
  # In a shell of its own, as the condition of an if would switch -e off within the step.
  set +e
  (set -e && "step_$step") >"$log" 2>&1
  status=$?
  set -e
  outcome=passed
  if [ "$status" != 0 ]; then
    outcome="FAILED ($status)"
    failed=1
  fi
  echo "| $step | $outcome | $((SECONDS - start)) | $(gist "$step" "$log" || true) |" >>"$summary"
  echo "$step: $outcome, $((SECONDS - start)) s"
  [ "$status" = 0 ] || tail -15 "$log"
done
cat "$summary"
exit "$failed"
