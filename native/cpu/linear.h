// Linear: out[row][i] = sum_k weight[i][k] * x[row][k] (+ bias[i]) (+ residual[row][i]).
//
// Shape       weight [outputs][inputs] in panels of 16 outputs (layout.h), x [rows][inputs], out [rows][outputs].
// Order       Floating-point weights: one chain of fma over k ascending. Quantised weights: x is quantised to int8 per
// 32
//             inputs (quantize.h), the products of a block are summed as integers, exactly, and the chain takes one fma
//             a block:
//               chain = fma(d * scale, float(sum), chain), d * scale rounded once, d the block's weight scale;
//             with a minimum m, then chain = fma(m, scaled_sum, chain). Q6_K: sum = scale[0] * sum of the first 16 +
//             scale[1] * sum of the last 16, in integers (below 2^24).
//             Chains are cut into segments of 128 inputs that start at +0; a total starts at +0 and takes the segments
//             in ascending order; then the bias is added, then the residual.
// Bytes       the weights once for each group of columns of a tile; x and out once a panel (from cache).
// Operations  2 * rows * outputs * inputs.
#pragma once

#include <algorithm>

#include "kernels.h"
#include "layout.h"

namespace touchstone::cpu {

template <class Isa>
struct Linear {
  using Floats = typename Isa::Floats;
  using Ints = typename Isa::Ints;
  using Bytes = typename Isa::Bytes;

  // Adds bias and residual to a tile's totals and stores what lies within the matrix.
  template <int kPanels, int kColumns>
  static void Finish(const LinearJob& job, int64_t panel, int64_t row, Floats (&total)[kPanels][kColumns]) {
    for (int p = 0; p < kPanels; p++) {
      const int64_t output = (panel + p) * kPanelRows;
      const int64_t count = std::min<int64_t>(kPanelRows, job.outputs - output);
      for (int j = 0; j < kColumns; j++) {
        Floats value = total[p][j];
        if (job.bias != nullptr) value = Isa::Add(value, Isa::Load(job.bias + output));
        const int64_t at = (row + j) * job.outputs + output;
        if (count == kPanelRows) {
          if (job.residual != nullptr) value = Isa::Add(value, Isa::Load(job.residual + at));
          Isa::Store(job.out + at, value);
        } else {
          float lanes[kPanelRows];
          Isa::Store(lanes, value);
          for (int64_t i = 0; i < count; i++) {
            job.out[at + i] = job.residual != nullptr ? lanes[i] + job.residual[at + i] : lanes[i];
          }
        }
      }
    }
  }

  template <int kPanels, int kColumns>
  static void Clear(Floats (&sums)[kPanels][kColumns]) {
    for (auto& panel : sums) {
      for (Floats& sum : panel) sum = Isa::Broadcast(0.0f);
    }
  }

  template <int kPanels, int kColumns>
  static void AddTo(Floats (&total)[kPanels][kColumns], const Floats (&segment)[kPanels][kColumns]) {
    for (int p = 0; p < kPanels; p++) {
      for (int j = 0; j < kColumns; j++) total[p][j] = Isa::Add(total[p][j], segment[p][j]);
    }
  }

  template <int kDtype, int kPanels, int kColumns>
  static void FloatTile(const LinearJob& job, int64_t panel, int64_t row) {
    constexpr int kBytes = kDtype == TS_F32 ? 4 : 2;
    const int64_t panel_bytes = job.inputs * kPanelRows * kBytes;
    const uint8_t* weights = job.panels + panel * panel_bytes;
    const float* x = job.x + row * job.inputs;
    Floats total[kPanels][kColumns];
    Clear(total);
    for (int64_t begin = 0; begin < job.inputs; begin += Isa::kSegment) {
      Floats segment[kPanels][kColumns];
      Clear(segment);
      const int64_t end = std::min(job.inputs, begin + Isa::kSegment);
      for (int64_t k = begin; k < end; k++) {
        Floats w[kPanels];
        for (int p = 0; p < kPanels; p++) {
          const uint8_t* from = weights + p * panel_bytes + k * kPanelRows * kBytes;
          if constexpr (kDtype == TS_F32) {
            w[p] = Isa::Load(reinterpret_cast<const float*>(from));
          } else if constexpr (kDtype == TS_F16) {
            w[p] = Isa::LoadHalf(from);
          } else {
            w[p] = Isa::LoadBfloat16(from);
          }
        }
        for (int j = 0; j < kColumns; j++) {
          const Floats value = Isa::Broadcast(x[j * job.inputs + k]);
          for (int p = 0; p < kPanels; p++) segment[p][j] = Isa::MulAdd(w[p], value, segment[p][j]);
        }
      }
      AddTo(total, segment);
    }
    Finish(job, panel, row, total);
  }

  // Inputs 4t ... 4t + 3 of 16 rows, unsigned; `values` is the sub-block's first byte after its header.
  template <int kDtype, int kT>
  static Bytes Values(const uint8_t* values) {
    if constexpr (kDtype == TS_Q8_0) {
      return Isa::LoadBytes(values + kT * 64);
    } else {
      const Bytes pair = Isa::LoadBytes(values + kT / 2 * 64);
      const Bytes low = kT % 2 == 0 ? Isa::LowNibbles(pair) : Isa::HighNibbles(pair);
      constexpr PanelShape kShape = PanelShapeOf(kDtype);
      if constexpr (kShape.high == 64) {
        return Isa::template WithFifthBit<kT>(low, Isa::LoadBytes(values + 256));
      } else if constexpr (kShape.high == 128) {
        return Isa::template WithUpperBits<kT % 4 * 2>(low, Isa::LoadBytes(values + 256 + kT / 4 * 64));
      } else {
        return low;
      }
    }
  }

  static constexpr int BitsOf(int dtype) {
    if (dtype == TS_Q8_0) return 8;
    return PanelShapeOf(dtype).high == 0 ? 4 : PanelShapeOf(dtype).high == 64 ? 5 : 6;
  }

  template <int kDtype, int kT, int kPanels, int kColumns>
  static void Step(const uint8_t* const (&values)[kPanels], const QuantizedActivations* const (&x)[kColumns],
                   Ints (&sum)[kPanels][kColumns]) {
    Bytes w[kPanels];
    for (int p = 0; p < kPanels; p++) w[p] = Values<kDtype, kT>(values[p]);
    for (int j = 0; j < kColumns; j++) {
      for (int p = 0; p < kPanels; p++)
        sum[p][j] = Isa::template Dot<BitsOf(kDtype)>(sum[p][j], w[p], x[j]->q + 4 * kT);
    }
  }

  // Adds inputs 4 kFrom ... 4 kTo - 1 to the sums. Where the instruction set can add some steps in 16 bits without
  // overflow (kNarrow of them), it does so before it widens.
  template <int kDtype, int kFrom, int kTo, int kPanels, int kColumns>
  static void Steps(const uint8_t* const (&values)[kPanels], const QuantizedActivations* const (&x)[kColumns],
                    Ints (&sum)[kPanels][kColumns]) {
    constexpr int kNarrow = Isa::NarrowSteps(BitsOf(kDtype));
    if constexpr (kFrom < kTo && kNarrow == 0) {
      Step<kDtype, kFrom>(values, x, sum);
      Steps<kDtype, kFrom + 1, kTo>(values, x, sum);
    } else if constexpr (kFrom < kTo) {
      constexpr int kEnd = std::min(kTo, kFrom + kNarrow);
      typename Isa::Narrow narrow[kPanels][kColumns];
      NarrowSteps<kDtype, kFrom, kEnd, true>(values, x, narrow);
      for (int p = 0; p < kPanels; p++) {
        for (int j = 0; j < kColumns; j++) sum[p][j] = Isa::AddWidened(sum[p][j], narrow[p][j]);
      }
      Steps<kDtype, kEnd, kTo>(values, x, sum);
    }
  }

  template <int kDtype, int kFrom, int kTo, bool kFirst, class Narrow, int kPanels, int kColumns>
  static void NarrowSteps(const uint8_t* const (&values)[kPanels], const QuantizedActivations* const (&x)[kColumns],
                          Narrow (&narrow)[kPanels][kColumns]) {
    if constexpr (kFrom < kTo) {
      for (int p = 0; p < kPanels; p++) {
        const Bytes w = Values<kDtype, kFrom>(values[p]);
        for (int j = 0; j < kColumns; j++) {
          const auto product = Isa::NarrowDot(w, x[j]->q + 4 * kFrom);
          narrow[p][j] = kFirst ? product : Isa::AddNarrow(narrow[p][j], product);
        }
      }
      NarrowSteps<kDtype, kFrom + 1, kTo, false>(values, x, narrow);
    }
  }

  template <int kDtype, int kPanels, int kColumns>
  static void QuantTile(const LinearJob& job, int64_t panel, int64_t row) {
    constexpr PanelShape kShape = PanelShapeOf(kDtype);
    constexpr bool kSubScales = kShape.sub_header != 0;
    constexpr bool kMinimum = kShape.header == 64;
    constexpr bool kHalves = kDtype == TS_Q6_K;
    constexpr int kOffset = kDtype == TS_Q8_0 && Isa::kSigned8 ? 0 : QuantOffset(kDtype);
    constexpr int kAhead = 4096;  // bytes: a single row is bound by memory
    const int64_t blocks = job.inputs / kQuantBlock;
    const int64_t panel_bytes = job.inputs / kShape.group * kShape.GroupBytes();
    const uint8_t* weights = job.panels + panel * panel_bytes;
    Floats total[kPanels][kColumns];
    Clear(total);
    for (int64_t begin = 0; begin < blocks; begin += Isa::kSegment / kQuantBlock) {
      Floats segment[kPanels][kColumns];
      Clear(segment);
      const int64_t end = std::min(blocks, begin + Isa::kSegment / kQuantBlock);
      for (int64_t block = begin; block < end; block++) {
        const uint8_t* group[kPanels];
        const uint8_t* sub[kPanels];
        const uint8_t* values[kPanels];
        const QuantizedActivations* x[kColumns];
        for (int p = 0; p < kPanels; p++) {
          constexpr int kPer = kShape.group / kQuantBlock;
          group[p] = weights + p * panel_bytes + block / kPer * kShape.GroupBytes();
          sub[p] = group[p] + kShape.header + block % kPer * kShape.SubBytes();
          values[p] = sub[p] + kShape.sub_header;
          if constexpr (kColumns == 1) {
            for (int byte = 0; byte < kShape.SubBytes(); byte += 64) __builtin_prefetch(sub[p] + kAhead + byte);
          }
        }
        for (int j = 0; j < kColumns; j++) x[j] = job.quantized + (row + j) * blocks + block;

        Ints sum[kPanels][kColumns];
        for (int p = 0; p < kPanels; p++) {
          for (int j = 0; j < kColumns; j++) {
            const int32_t ones = kHalves ? x[j]->half_sum[0] : x[j]->half_sum[0] + x[j]->half_sum[1];
            sum[p][j] = Isa::BroadcastInt(-kOffset * ones);
          }
        }
        Steps<kDtype, 0, kHalves ? 4 : 8>(values, x, sum);
        if constexpr (kHalves) {
          Ints second[kPanels][kColumns];
          for (int p = 0; p < kPanels; p++) {
            const Ints scale = Isa::LoadSigned8(sub[p]);
            for (int j = 0; j < kColumns; j++) {
              sum[p][j] = Isa::MulInt(sum[p][j], scale);
              second[p][j] = Isa::BroadcastInt(-kOffset * x[j]->half_sum[1]);
            }
          }
          Steps<kDtype, 4, 8>(values, x, second);
          for (int p = 0; p < kPanels; p++) {
            const Ints scale = Isa::LoadSigned8(sub[p] + 16);
            for (int j = 0; j < kColumns; j++) sum[p][j] = Isa::AddInt(sum[p][j], Isa::MulInt(second[p][j], scale));
          }
        }
        for (int p = 0; p < kPanels; p++) {
          Floats d = Isa::LoadHalf(group[p]);
          if constexpr (kSubScales && !kHalves) d = Isa::Mul(d, Isa::ToFloat(Isa::LoadUnsigned8(sub[p])));  // exact
          for (int j = 0; j < kColumns; j++) {
            const Floats scale = Isa::Mul(d, Isa::Broadcast(x[j]->scale));
            segment[p][j] = Isa::MulAdd(scale, Isa::ToFloat(sum[p][j]), segment[p][j]);
          }
          if constexpr (kMinimum) {
            Floats m = Isa::LoadHalf(group[p] + 32);
            if constexpr (kSubScales) m = Isa::Negate(Isa::Mul(m, Isa::ToFloat(Isa::LoadUnsigned8(sub[p] + 16))));
            for (int j = 0; j < kColumns; j++) {
              segment[p][j] = Isa::MulAdd(m, Isa::Broadcast(x[j]->scaled_sum), segment[p][j]);
            }
          }
        }
      }
      AddTo(total, segment);
    }
    Finish(job, panel, row, total);
  }

  template <int kDtype, int kPanels, int kColumns>
  static void Tile(const LinearJob& job, int64_t panel, int64_t row) {
    if constexpr (kDtype == TS_F32 || kDtype == TS_F16 || kDtype == TS_BF16) {
      FloatTile<kDtype, kPanels, kColumns>(job, panel, row);
    } else {
      QuantTile<kDtype, kPanels, kColumns>(job, panel, row);
    }
  }

  // All rows of kPanels panels: tiles of kColumns columns, the last ones half as wide, and so on.
  template <int kDtype, int kPanels, int kColumns>
  static void Columns(const LinearJob& job, int64_t panel, int64_t row) {
    for (; row + kColumns <= job.rows; row += kColumns) Tile<kDtype, kPanels, kColumns>(job, panel, row);
    if constexpr (kColumns > 1) {
      if (row < job.rows) Columns<kDtype, kPanels, (kColumns + 1) / 2>(job, panel, row);
    }
  }

  template <int kDtype>
  static void Panels(const LinearJob& job, int64_t first, int64_t count) {
    constexpr bool kFloat = kDtype == TS_F32 || kDtype == TS_F16 || kDtype == TS_BF16;
    constexpr int kPanels = kFloat ? Isa::kFloatPanels : Isa::kQuantPanels;
    constexpr int kColumns = kFloat ? Isa::kFloatColumns : Isa::kQuantColumns;
    int64_t panel = first;
    // A single row of quantised weights is bound by memory: one panel after the other is one stream.
    if (kFloat || job.rows > 1) {
      for (; panel + kPanels <= first + count; panel += kPanels) Columns<kDtype, kPanels, kColumns>(job, panel, 0);
    }
    for (; panel < first + count; panel++) Columns<kDtype, 1, kColumns>(job, panel, 0);
  }

  static void Run(const LinearJob& job, int64_t first, int64_t count) {
    switch (job.dtype) {
      case TS_F32:
        return Panels<TS_F32>(job, first, count);
      case TS_F16:
        return Panels<TS_F16>(job, first, count);
      case TS_BF16:
        return Panels<TS_BF16>(job, first, count);
      case TS_Q4_0:
        return Panels<TS_Q4_0>(job, first, count);
      case TS_Q4_1:
        return Panels<TS_Q4_1>(job, first, count);
      case TS_Q5_0:
        return Panels<TS_Q5_0>(job, first, count);
      case TS_Q5_1:
        return Panels<TS_Q5_1>(job, first, count);
      case TS_Q8_0:
        return Panels<TS_Q8_0>(job, first, count);
      case TS_Q4_K:
        return Panels<TS_Q4_K>(job, first, count);
      case TS_Q5_K:
        return Panels<TS_Q5_K>(job, first, count);
      case TS_Q6_K:
        return Panels<TS_Q6_K>(job, first, count);
      default:
        return;
    }
  }
};

}  // namespace touchstone::cpu
