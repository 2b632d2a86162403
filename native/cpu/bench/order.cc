// The price of the canonical order: the same kernel with chains over all inputs instead of segments of 128.
#include <time.h>

#include <algorithm>
#include <vector>

#include "../../core/numerics.h"
#include "../kernels.h"
#include "../layout.h"
#include "bench.h"

#if defined(__x86_64__)

#include <immintrin.h>

#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns of its own header
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")

#include "../isa_avx512.h"
#include "../linear.h"

namespace touchstone::cpu {
namespace {

struct FreeOrder : Avx512 {
  static constexpr int64_t kSegment = int64_t{1} << 40;
};

// Time of this thread alone, so that others on the machine disturb less.
double Seconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

double Measure(int dtype, int inputs, int outputs, int rows, bool free_order) {
  const BlockShape shape = BlockShapeOf(dtype);
  const std::vector<uint8_t> stored(static_cast<size_t>(outputs) * inputs / shape.elements * shape.bytes, 17);
  std::vector<uint8_t> panels(static_cast<size_t>(PanelCount(outputs) * PanelBytes(dtype, inputs)));
  PackRows(dtype, inputs, stored.data(), 0, outputs, panels.data());
  const std::vector<float> x(static_cast<size_t>(rows) * inputs, 0.5f);
  std::vector<QuantizedActivations> quantized(x.size() / kQuantBlock);
  const Kernels& kernels = *KernelsFor(TS_ISA_AVX512);
  kernels.quantize(x.data(), static_cast<int64_t>(quantized.size()), quantized.data());
  std::vector<float> out(static_cast<size_t>(rows) * outputs);
  LinearJob job{};
  job.dtype = dtype;
  job.panels = panels.data();
  job.outputs = outputs;
  job.inputs = inputs;
  job.rows = rows;
  job.x = x.data();
  job.quantized = quantized.data();
  job.out = out.data();
  double best = 1e9;
  for (int repeat = 0; repeat < 9; repeat++) {
    const double begin = Seconds();
    for (int64_t panel = 0; panel < PanelCount(outputs); panel += 4) {
      const int64_t count = std::min<int64_t>(4, PanelCount(outputs) - panel);
      if (dtype == TS_F16 && free_order) {
        Linear<FreeOrder>::Panels<TS_F16>(job, panel, count);
      } else if (free_order) {
        Linear<FreeOrder>::Panels<TS_Q8_0>(job, panel, count);
      } else {
        kernels.linear(job, panel, count);
      }
    }
    best = std::min(best, Seconds() - begin);
  }
  return best;
}

}  // namespace
}  // namespace touchstone::cpu

double bench_linear(int dtype, int inputs, int outputs, int rows, int free_order) {
  if (touchstone::cpu::KernelsFor(TS_ISA_AVX512) == nullptr) return -1.0;
  return touchstone::cpu::Measure(dtype, inputs, outputs, rows, free_order != 0);
}

#else

double bench_linear(int, int, int, int, int) { return -1.0; }

#endif
