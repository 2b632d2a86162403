// What the checks share: random data, comparison, and the checks that need a whole backend.
#pragma once

#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "../../core/formats.h"
#include "../../core/numerics.h"
#include "../kernels.h"

namespace touchstone::cputest {

using cpu::Kernels;

// Random data from a seed; the same on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint32_t Below(uint32_t limit) { return static_cast<uint32_t>(engine_() % limit); }
  float Normal() {  // a sum of four uniforms: near enough
    float sum = 0.0f;
    for (int i = 0; i < 4; i++) sum += static_cast<float>(engine_() >> 40) * 0x1p-24f - 0.5f;
    return sum;
  }
  std::vector<float> Normals(size_t count, float scale = 1.0f) {
    std::vector<float> out(count);
    for (float& value : out) value = Normal() * scale;
    return out;
  }
  uint8_t Byte() { return static_cast<uint8_t>(engine_() >> 56); }

 private:
  std::mt19937_64 engine_;
};

// Random rows of a format as a file would hold them; scales are small finite numbers.
inline std::vector<uint8_t> RandomRows(Random& random, int dtype, int64_t rows, int64_t columns) {
  const BlockShape shape = BlockShapeOf(dtype);
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * columns / shape.elements * shape.bytes));
  for (uint8_t& byte : bytes) byte = random.Byte();
  const auto put = [&](size_t at, uint16_t half) { memcpy(&bytes[at], &half, sizeof half); };
  for (size_t block = 0; block < bytes.size(); block += static_cast<size_t>(shape.bytes)) {
    const float value = random.Normal();
    if (dtype == TS_F32) {
      memcpy(&bytes[block], &value, sizeof value);
    } else if (dtype == TS_BF16) {
      put(block, static_cast<uint16_t>(FloatBits(value) >> 16));
    } else if (dtype == TS_Q6_K) {
      put(block + 208, HalfFromFloat(value * 0.01f));
    } else {
      put(block, HalfFromFloat(dtype == TS_F16 ? value : value * 0.01f));
      if (dtype == TS_Q4_1 || dtype == TS_Q5_1 || dtype == TS_Q4_K || dtype == TS_Q5_K) {
        put(block + 2, HalfFromFloat(random.Normal() * 0.1f));
      }
    }
  }
  return bytes;
}

inline std::string Compare(const std::string& what, const float* got, const float* want, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (FloatBits(got[i]) == FloatBits(want[i]) || (std::isnan(got[i]) && std::isnan(want[i]))) continue;
    char text[256];
    std::snprintf(text, sizeof text, "%s: element %zu of %zu is %a, expected %a", what.c_str(), i, count,
                  static_cast<double>(got[i]), static_cast<double>(want[i]));
    return text;
  }
  return "";
}

// Backend checks: of the passes for any threads and chunks, the thread pool, the memory ledger, the choice of tokens.
std::string CheckPass(const Kernels& kernels, int dtype, Random& random);
std::string CheckPool(const Kernels& kernels, int dtype, Random& random);
std::string CheckMemory(const Kernels& kernels, int dtype, Random& random);
std::string CheckSample(const Kernels& kernels, int dtype, Random& random);

}  // namespace touchstone::cputest
