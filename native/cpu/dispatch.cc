#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "kernels.h"

namespace touchstone::cpu {

#if defined(__x86_64__)

namespace {

// What the processor has; asked once, since a virtual machine traps the question.
struct Features {
  bool avx2 = false;
  bool avx512 = false;

  Features() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    const bool f16c = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
    __builtin_cpu_init();
    avx2 = f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512vnni");
  }
};

}  // namespace

const Kernels* KernelsFor(ts_isa isa) {
  static const Features features;
  switch (isa) {
    case TS_ISA_AUTO:
      if (features.avx512) return &Avx512Kernels();
      return features.avx2 ? &Avx2Kernels() : &ScalarKernels();
    case TS_ISA_SCALAR:
      return &ScalarKernels();
    case TS_ISA_AVX2:
      return features.avx2 ? &Avx2Kernels() : nullptr;
    case TS_ISA_AVX512:
      return features.avx512 ? &Avx512Kernels() : nullptr;
    default:
      return nullptr;
  }
}

#elif defined(__aarch64__)

const Kernels* KernelsFor(ts_isa isa) {
  const bool neon = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
  switch (isa) {
    case TS_ISA_AUTO:
      return neon ? &NeonKernels() : &ScalarKernels();
    case TS_ISA_SCALAR:
      return &ScalarKernels();
    case TS_ISA_NEON:
      return neon ? &NeonKernels() : nullptr;
    default:
      return nullptr;
  }
}

#else

const Kernels* KernelsFor(ts_isa isa) {
  return isa == TS_ISA_AUTO || isa == TS_ISA_SCALAR ? &ScalarKernels() : nullptr;
}

#endif

}  // namespace touchstone::cpu
