// The rate of linear layers, and the price of the canonical order: the same kernel with chains over all inputs instead
// of segments of 128.
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

#endif

namespace touchstone::cpu {
namespace {

using Panels = void (*)(const LinearJob& job, int64_t first, int64_t count);

#if defined(__x86_64__)

struct FreeOrder : Avx512 {
  static constexpr int64_t kSegment = int64_t{1} << 40;
};

Panels FreeOrderPanels(ts_isa isa, int dtype) {
  if (isa != TS_ISA_AVX512) return nullptr;
  if (dtype == TS_F16) return Linear<FreeOrder>::Panels<TS_F16>;
  return dtype == TS_Q8_0 ? Linear<FreeOrder>::Panels<TS_Q8_0> : nullptr;
}

#else

Panels FreeOrderPanels(ts_isa, int) { return nullptr; }

#endif

// Time of this thread alone, so that others on the machine disturb less.
double Seconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

double Measure(const Kernels& kernels, int dtype, int inputs, int outputs, int rows, Panels panels_of) {
  const BlockShape shape = BlockShapeOf(dtype);
  // Bytes of 0x11 are normal numbers in every format: subnormal ones are slow on some processors.
  const std::vector<uint8_t> stored(static_cast<size_t>(outputs) * inputs / shape.elements * shape.bytes, 0x11);
  std::vector<uint8_t> panels(static_cast<size_t>(PanelCount(outputs) * PanelBytes(dtype, inputs)));
  PackRows(dtype, inputs, stored.data(), 0, outputs, panels.data());
  const std::vector<float> x(static_cast<size_t>(rows) * inputs, 0.5f);
  std::vector<QuantizedActivations> quantized(x.size() / kQuantBlock);
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
      panels_of(job, panel, std::min<int64_t>(4, PanelCount(outputs) - panel));
    }
    best = std::min(best, Seconds() - begin);
  }
  return best;
}

}  // namespace
}  // namespace touchstone::cpu

double bench_linear(int isa, int dtype, int inputs, int outputs, int rows, int free_order) {
  using namespace touchstone::cpu;
  const Kernels* kernels = KernelsFor(static_cast<ts_isa>(isa));
  if (kernels == nullptr) return -1.0;
  const Panels panels = free_order != 0 ? FreeOrderPanels(kernels->isa, dtype) : kernels->linear;
  return panels != nullptr ? Measure(*kernels, dtype, inputs, outputs, rows, panels) : -1.0;
}

const char* bench_isa(int isa) {
  const touchstone::cpu::Kernels* kernels = touchstone::cpu::KernelsFor(static_cast<ts_isa>(isa));
  return kernels != nullptr ? kernels->name : nullptr;
}
