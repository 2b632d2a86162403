#include "cputest.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "../../core/numerics.h"
#include "../layout.h"
#include "checks.h"
#include "naive.h"

namespace touchstone::cputest {
namespace {

// Makes the integers of quantised rows as large in magnitude as they can be, all of one sign, and so their sums.
void Saturate(int dtype, std::vector<uint8_t>* rows) {
  const auto block_bytes = static_cast<size_t>(BlockShapeOf(dtype).bytes);
  for (size_t at = 0; at < rows->size(); at++) {
    const size_t in_block = at % block_bytes;
    uint8_t& byte = (*rows)[at];
    switch (dtype) {
      case TS_Q8_0:
        if (in_block >= 2) byte = 0x80;
        break;
      case TS_Q6_K:
        if (in_block < 208) byte = in_block < 192 ? 0 : 0x80;
        break;
      case TS_Q4_0:
      case TS_Q5_0:
        if (in_block >= 2) byte = 0;
        break;
      default:
        if (in_block >= 4) byte = 0xff;
    }
  }
}

std::string CheckLinear(const Kernels& kernels, int dtype, Random& random) {
  const int64_t unit = BlockShapeOf(dtype).elements;
  for (int64_t inputs : {int64_t{1}, int64_t{7}, int64_t{32}, int64_t{96}, int64_t{160}, int64_t{256}, int64_t{1280}}) {
    if (inputs % unit != 0) continue;
    for (int64_t outputs : {1, 15, 16, 33, 80}) {
      for (int64_t rows : {1, 2, 3, 4, 5, 6, 7, 13}) {
        std::vector<uint8_t> stored = RandomRows(random, dtype, outputs, inputs);
        std::vector<float> x = random.Normals(static_cast<size_t>(rows * inputs), 3.0f);
        if (IsQuantized(dtype) && rows == 4) {
          Saturate(dtype, &stored);
          std::fill(x.begin(), x.end(), outputs % 2 == 0 ? 3.0f : -3.0f);
        }
        if (inputs >= 96 && rows == 3) x[70] = rows == 3 && outputs == 15 ? INFINITY : 0x1p-120f;
        const std::vector<float> bias = random.Normals(static_cast<size_t>((outputs + 15) / 16 * 16));
        const std::vector<float> residual = random.Normals(static_cast<size_t>(rows * outputs));
        std::vector<uint8_t> panels(static_cast<size_t>(cpu::PanelCount(outputs) * cpu::PanelBytes(dtype, inputs)));
        cpu::PackRows(dtype, inputs, stored.data(), 0, outputs, panels.data());
        std::vector<cpu::QuantizedActivations> quantized(static_cast<size_t>(rows * inputs / 32));
        kernels.quantize(x.data(), static_cast<int64_t>(quantized.size()), quantized.data());

        constexpr size_t kGuard = 16;
        const float guard = 12345.0f;
        std::vector<float> out(static_cast<size_t>(rows * outputs) + kGuard, guard);
        std::vector<float> want(out);
        const int variant = static_cast<int>(random.Below(3));
        const size_t row_bytes = stored.size() / static_cast<size_t>(outputs);
        for (int64_t row = 0; row < rows; row++) {
          for (int64_t i = 0; i < outputs; i++) {
            float value =
                NaiveLinear(dtype, stored.data() + static_cast<size_t>(i) * row_bytes, x.data() + row * inputs, inputs);
            if (variant > 0) value = value + bias[i];
            if (variant > 1) value = value + residual[row * outputs + i];
            want[row * outputs + i] = value;
          }
        }
        cpu::LinearJob job{};
        job.dtype = dtype;
        job.panels = panels.data();
        job.outputs = outputs;
        job.inputs = inputs;
        job.rows = rows;
        job.x = x.data();
        job.quantized = quantized.data();
        job.bias = variant > 0 ? bias.data() : nullptr;
        job.residual = variant > 1 ? residual.data() : nullptr;
        job.out = out.data();
        kernels.linear(job, 0, cpu::PanelCount(outputs));
        char what[96];
        std::snprintf(what, sizeof what, "linear [%d, %d] x %d rows, variant %d", static_cast<int>(inputs),
                      static_cast<int>(outputs), static_cast<int>(rows), variant);
        std::string report = Compare(what, out.data(), want.data(), out.size());
        if (!report.empty()) return report;

        std::vector<float> unpacked(static_cast<size_t>(inputs)), stored_row(unpacked);
        for (int64_t row = 0; row < outputs; row++) {
          cpu::UnpackRow(dtype, inputs, panels.data(), row, unpacked.data());
          cpu::DequantizeRow(dtype, inputs, stored.data() + static_cast<size_t>(row) * row_bytes, stored_row.data());
          report = Compare("unpacked row", unpacked.data(), stored_row.data(), unpacked.size());
          if (!report.empty()) return report;
        }
      }
    }
  }
  return "";
}

// Activation `i` of a block as the instruction set stores it: NEON as bytes 256 high + low, others as they are.
int32_t IntegerOf(const Kernels& kernels, const cpu::QuantizedActivations& block, int i) {
  if (kernels.isa != TS_ISA_NEON) return block.q[i];
  const auto* bytes = reinterpret_cast<const int8_t*>(block.q) + i / 4 * 8;
  constexpr int kPlaces[4] = {0, 2, 1, 3};
  return 256 * bytes[kPlaces[i % 4]] + bytes[4 + kPlaces[i % 4]];
}

std::string CheckQuantize(const Kernels& kernels, int, Random& random) {
  for (int round = 0; round < 2000; round++) {
    std::vector<float> x = random.Normals(32, std::ldexp(1.0f, static_cast<int>(random.Below(230)) - 115));
    if (round % 7 == 0) x[random.Below(32)] = 0.0f;
    if (round % 50 == 0) x[random.Below(32)] = round % 100 == 0 ? INFINITY : NAN;
    if (round % 60 == 0) std::fill(x.begin(), x.end(), round % 120 == 0 ? 0.0f : -0.0f);
    cpu::QuantizedActivations got;
    kernels.quantize(x.data(), 1, &got);
    const NaiveBlock want = NaiveQuantize(x.data());
    std::string report = Compare("step", &got.step, &want.step, 1);
    if (report.empty()) report = Compare("scaled sum", &got.scaled_sum, &want.scaled_sum, 1);
    if (!report.empty()) return report;
    int32_t sums[2] = {0, 0};
    for (int i = 0; i < 32; i++) {
      sums[i / 16] += want.q[i];
      if (IntegerOf(kernels, got, i) != want.q[i]) return "quantised value " + std::to_string(i) + " differs";
    }
    if (sums[0] != got.half_sum[0] || sums[1] != got.half_sum[1]) return "the sums of a half differ";
  }
  return "";
}

std::string CheckNorm(const Kernels& kernels, int, Random& random) {
  for (size_t width : {1, 2, 31, 32, 33, 64, 100, 896, 1000}) {
    for (ts_norm_kind kind : {TS_NORM_RMS, TS_NORM_LAYER}) {
      const std::vector<float> x = random.Normals(width, 5.0f), weight = random.Normals(width),
                               bias = random.Normals(width);
      const std::vector<float> want = NaiveNorm(kind, 1e-6f, weight, bias, x);
      std::vector<float> out(width);
      kernels.norm(kind, 1e-6f, weight.data(), kind == TS_NORM_LAYER ? bias.data() : nullptr, x.data(),
                   static_cast<int64_t>(width), out.data());
      const std::string report = Compare("norm of " + std::to_string(width), out.data(), want.data(), width);
      if (!report.empty()) return report;
    }
  }
  return "";
}

std::string CheckSoftmax(const Kernels& kernels, int, Random& random) {
  for (size_t width : {1, 2, 31, 32, 33, 100, 1000, 5003}) {
    const std::vector<float> x = random.Normals(width, 20.0f);
    for (float edge : {0.0f, -INFINITY, INFINITY, NAN}) {
      std::vector<float> row(x);
      row[random.Below(static_cast<uint32_t>(width))] = edge;
      std::vector<float> want = NaiveExponentials(row);
      const float sum = NaiveSum(want);
      for (float& value : want) value = value / sum;
      std::vector<float> out(width);
      kernels.softmax(row.data(), static_cast<int64_t>(width), out.data());
      const std::string what = "softmax of " + std::to_string(width) + " with " + std::to_string(edge);
      const std::string report = Compare(what, out.data(), want.data(), width);
      if (!report.empty()) return report;
    }

    const float largest = *std::max_element(x.begin(), x.end());
    std::vector<uint64_t> weights(width);
    const uint64_t total = kernels.weigh(x.data(), static_cast<int64_t>(width), largest, weights.data());
    uint64_t want_total = 0;
    for (size_t i = 0; i < width; i++) {
      const uint64_t weight = ProbabilityWeight(x[i] - largest);
      if (weights[i] != weight) return "the weight of token " + std::to_string(i) + " differs";
      want_total += weight;
    }
    if (total != want_total) return "the sum of the weights differs";
  }
  return "";
}

std::string CheckActivate(const Kernels& kernels, int, Random& random) {
  std::vector<float> gate = random.Normals(5003, 30.0f);
  const std::vector<float> edges = {0.0f,  -0.0f,   INFINITY, -INFINITY, NAN,  88.7f,
                                    89.0f, -103.9f, 1e-40f,   -3e38f,    3e38f};
  std::copy(edges.begin(), edges.end(), gate.begin());
  std::vector<float> up = random.Normals(gate.size()), out(gate.size()), want(gate.size());
  for (size_t i = 0; i < gate.size(); i++) want[i] = Silu(gate[i]) * up[i];
  kernels.activate(TS_ACTIVATION_SWIGLU, gate.data(), up.data(), static_cast<int64_t>(gate.size()), out.data());
  std::string report = Compare("swiglu", out.data(), want.data(), out.size());
  if (!report.empty()) return report;
  for (size_t i = 0; i < gate.size(); i++) want[i] = Gelu(gate[i]);
  kernels.activate(TS_ACTIVATION_GELU, nullptr, gate.data(), static_cast<int64_t>(gate.size()), out.data());
  report = Compare("gelu", out.data(), want.data(), out.size());
  if (!report.empty()) return report;
  kernels.add(gate.data(), up.data(), static_cast<int64_t>(gate.size()), out.data());
  for (size_t i = 0; i < gate.size(); i++) want[i] = gate[i] + up[i];
  report = Compare("add", out.data(), want.data(), out.size());
  if (!report.empty()) return report;
  kernels.divide(gate.data(), 0.7f, static_cast<int64_t>(gate.size()), out.data());
  for (size_t i = 0; i < gate.size(); i++) want[i] = gate[i] / 0.7f;
  return Compare("divide", out.data(), want.data(), out.size());
}

std::string CheckRope(const Kernels& kernels, int, Random& random) {
  for (int dims : {2, 6, 32, 64}) {
    for (ts_position_kind kind : {TS_POSITION_ROPE_NEOX, TS_POSITION_ROPE_INTERLEAVED}) {
      constexpr int kHeads = 3, kHeadDim = 64;
      const std::vector<float> cos = random.Normals(32), sin = random.Normals(32);
      std::vector<float> x = random.Normals(kHeads * kHeadDim), want(x);
      for (int head = 0; head < kHeads; head++) {
        for (int i = 0; i < dims / 2; i++) {
          const int first = head * kHeadDim + (kind == TS_POSITION_ROPE_NEOX ? i : 2 * i);
          const int second = kind == TS_POSITION_ROPE_NEOX ? first + dims / 2 : first + 1;
          const float a = x[first], b = x[second];
          want[first] = std::fma(-b, sin[i], a * cos[i]);
          want[second] = std::fma(b, cos[i], a * sin[i]);
        }
      }
      kernels.rope(kind, dims, cos.data(), sin.data(), kHeads, kHeadDim, x.data());
      const std::string report = Compare("rope", x.data(), want.data(), x.size());
      if (!report.empty()) return report;
    }
  }
  return "";
}

std::string CheckHalf(const Kernels& kernels, int, Random&) {
  // Every binary16 survives the way to binary32 and back; every tie between two neighbours goes to the even one.
  for (uint32_t bits = 0; bits < 0x10000; bits++) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = FloatFromHalf(half);
    if (std::isnan(value)) continue;
    uint16_t back;
    kernels.to_half(&value, 1, &back);
    if (back != half) return "binary16 " + std::to_string(bits) + " does not survive";
    if ((bits & 0x7fff) >= 0x7bff) continue;
    const float next = FloatFromHalf(static_cast<uint16_t>(half + 1));
    const float tie = value + (next - value) * 0.5f;
    const uint16_t even = (half & 1) == 0 ? half : static_cast<uint16_t>(half + 1);
    const float around[3] = {std::nextafter(tie, value), tie, std::nextafter(tie, next)};
    const uint16_t want[3] = {half, even, static_cast<uint16_t>(half + 1)};
    uint16_t got[3];
    kernels.to_half(around, 3, got);
    for (int i = 0; i < 3; i++) {
      if (got[i] != want[i]) return "rounding above binary16 " + std::to_string(bits) + " is wrong";
    }
  }
  const float edges[] = {65519.99f, 65520.0f, 1e10f, -1e10f, INFINITY};
  const uint16_t want[] = {0x7bff, 0x7c00, 0x7c00, 0xfc00, 0x7c00};
  uint16_t got[5];
  kernels.to_half(edges, 5, got);
  for (int i = 0; i < 5; i++) {
    if (got[i] != want[i]) return "binary16 at the edge of the range is wrong: case " + std::to_string(i);
  }
  return "";
}

std::string CheckAttention(const Kernels& kernels, int, Random& random) {
  for (int head_dim : {8, 16, 40, 64, 128}) {
    for (int positions : {1, 2, 31, 32, 33, 64, 100, 259}) {
      constexpr int kKvHeads = 2, kGroup = 4, kHeads = kKvHeads * kGroup;
      const int blocks = (positions + 31) / 32;
      const int half_block = kKvHeads * head_dim * 32;
      std::vector<uint16_t> pool(static_cast<size_t>((blocks + 2) * 2 * half_block), 0xffff);
      std::vector<int32_t> table(static_cast<size_t>(blocks));
      for (int i = 0; i < blocks; i++) table[i] = blocks + 1 - i;
      std::vector<float> keys[kKvHeads], values[kKvHeads];
      for (int head = 0; head < kKvHeads; head++) {
        keys[head] = random.Normals(static_cast<size_t>(positions * head_dim));
        values[head] = random.Normals(static_cast<size_t>(positions * head_dim));
        if (positions == 64) keys[head][40 * head_dim] = -1e6f;  // an infinity in the cache
        for (int p = 0; p < positions; p++) {
          uint16_t* block = pool.data() + table[p / 32] * 2 * half_block + head * head_dim * 32;
          for (int d = 0; d < head_dim; d++) {
            float& key = keys[head][p * head_dim + d];
            float& value = values[head][p * head_dim + d];
            block[d * 32 + p % 32] = HalfFromFloat(key);
            block[half_block + p % 32 * head_dim + d] = HalfFromFloat(value);
            key = FloatFromHalf(HalfFromFloat(key));
            value = FloatFromHalf(HalfFromFloat(value));
          }
        }
      }
      const int rows = std::min(positions, 5);
      const std::vector<float> q = random.Normals(static_cast<size_t>(rows * kHeads * head_dim), 2.0f);
      std::vector<float> out(q.size(), NAN);
      cpu::AttentionJob job{};
      job.pool = pool.data();
      job.block_stride = 2 * half_block;
      job.half_block = half_block;
      job.kv_heads = kKvHeads;
      job.heads = kHeads;
      job.head_dim = head_dim;
      job.scale = 0.3f;
      job.q = q.data();
      job.out = out.data();
      std::vector<float> scores(static_cast<size_t>(cpu::kAttentionQueries * cpu::AttentionScoreStride(positions)));
      std::vector<cpu::AttentionQuery> queries;
      for (int head = 0; head < kKvHeads; head++) {
        queries.clear();
        for (int row = 0; row < rows; row++) {
          for (int i = 0; i < kGroup; i++) {
            queries.push_back({row, head * kGroup + i, {table.data(), positions - rows + row}});
          }
        }
        for (size_t begin = 0; begin < queries.size();) {
          const size_t count = std::min<size_t>(queries.size() - begin, 1 + random.Below(cpu::kAttentionQueries));
          kernels.attention(job, queries.data() + begin, static_cast<int>(count), scores.data());
          begin += count;
        }
      }
      for (int row = 0; row < rows; row++) {
        for (int head = 0; head < kHeads; head++) {
          const size_t at = static_cast<size_t>((row * kHeads + head) * head_dim);
          const std::vector<float> want = NaiveAttention(q.data() + at, head_dim, keys[head / kGroup],
                                                         values[head / kGroup], positions - rows + row + 1, 0.3f);
          const std::string report = Compare(
              "attention, head of " + std::to_string(head_dim) + ", " + std::to_string(positions) + " positions",
              out.data() + at, want.data(), want.size());
          if (!report.empty()) return report;
        }
      }
    }
  }
  return "";
}

using Check = std::string (*)(const Kernels& kernels, int dtype, Random& random);

struct NamedCheck {
  Check run;
  int dtype;
};

const std::map<std::string, NamedCheck>& Checks() {
  static const std::map<std::string, NamedCheck> checks = {
      {"linear/f32", {CheckLinear, TS_F32}},
      {"linear/f16", {CheckLinear, TS_F16}},
      {"linear/bf16", {CheckLinear, TS_BF16}},
      {"linear/q8_0", {CheckLinear, TS_Q8_0}},
      {"linear/q4_0", {CheckLinear, TS_Q4_0}},
      {"linear/q4_1", {CheckLinear, TS_Q4_1}},
      {"linear/q5_0", {CheckLinear, TS_Q5_0}},
      {"linear/q5_1", {CheckLinear, TS_Q5_1}},
      {"linear/q4_k", {CheckLinear, TS_Q4_K}},
      {"linear/q5_k", {CheckLinear, TS_Q5_K}},
      {"linear/q6_k", {CheckLinear, TS_Q6_K}},
      {"quantize", {CheckQuantize, 0}},
      {"norm", {CheckNorm, 0}},
      {"softmax", {CheckSoftmax, 0}},
      {"activate", {CheckActivate, 0}},
      {"rope", {CheckRope, 0}},
      {"half", {CheckHalf, 0}},
      {"attention", {CheckAttention, 0}},
      {"pass", {CheckPass, 0}},
      {"memory", {CheckMemory, 0}},
      {"sample", {CheckSample, 0}},
      {"pool", {CheckPool, 0}},
  };
  return checks;
}

}  // namespace
}  // namespace touchstone::cputest

const char* cputest_run(const char* name, int isa, uint64_t seed) {
  using namespace touchstone;
  static std::string report;
  const auto found = cputest::Checks().find(name);
  const cpu::Kernels* kernels = cpu::KernelsFor(static_cast<ts_isa>(isa));
  if (found == cputest::Checks().end()) {
    report = "there is no such check";
  } else if (kernels == nullptr) {
    report = "absent";
  } else {
    cputest::Random random(seed);
    report = found->second.run(*kernels, found->second.dtype, random);
  }
  return report.c_str();
}
