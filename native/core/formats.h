// The storage formats of GGUF weights, read one block of 32 values at a time. A value is
//   unsigned integer q, less an offset of the format, times a scale, less or plus a minimum
// and every product of scale and integer below is exact in binary32; only the addition of a minimum rounds.
//
//   format  block of        bytes  value
//   Q4_0    32               18    d (q - 8)
//   Q4_1    32               20    d q + m
//   Q5_0    32               22    d (q - 16)
//   Q5_1    32               24    d q + m
//   Q8_0    32               34    d (q - 128), q = stored byte + 128
//   Q4_K    256 = 8 x 32    144    (d scale) q - (m min), scale and min of 6 bits
//   Q5_K    256 = 8 x 32    176    (d scale) q - (m min)
//   Q6_K    256 = 16 x 16   210    (d scale) (q - 32), scale of 8 bits, signed
//
// d and m are binary16. Source: the GGUF specification and its reference package for Python.
#pragma once

#include "../include/touchstone.h"
#include "numerics.h"

namespace touchstone {

// What one block of 32 values of a quantised row holds.
struct QuantizedBlock {
  uint8_t q[32];     // unsigned values
  uint16_t d;        // binary16 scale
  uint16_t m;        // binary16 minimum; 0 where the format has none
  uint8_t scale[2];  // K formats: integer scale; Q6_K: of either half, int8. Otherwise 1.
  uint8_t min;       // Q4_K, Q5_K: integer minimum
};

// True of formats that store blocks of integers.
TS_NUMERIC bool IsQuantized(int32_t dtype) {
  return dtype != TS_F32 && dtype != TS_F16 && dtype != TS_BF16 && dtype != TS_I32;
}

// Elements and bytes of a format's block; {0, 0} for a format that is not offered.
struct BlockShape {
  int32_t elements;
  int32_t bytes;
};

TS_NUMERIC BlockShape BlockShapeOf(int32_t dtype) {
  switch (dtype) {
    case TS_F32:
      return {1, 4};
    case TS_F16:
    case TS_BF16:
      return {1, 2};
    case TS_Q4_0:
      return {32, 18};
    case TS_Q4_1:
      return {32, 20};
    case TS_Q5_0:
      return {32, 22};
    case TS_Q5_1:
      return {32, 24};
    case TS_Q8_0:
      return {32, 34};
    case TS_Q4_K:
      return {256, 144};
    case TS_Q5_K:
      return {256, 176};
    case TS_Q6_K:
      return {256, 210};
    default:
      return {0, 0};
  }
}

// What is subtracted from an unsigned value.
TS_NUMERIC constexpr int32_t QuantOffset(int32_t dtype) {
  switch (dtype) {
    case TS_Q4_0:
      return 8;
    case TS_Q5_0:
      return 16;
    case TS_Q8_0:
      return 128;
    case TS_Q6_K:
      return 32;
    default:
      return 0;
  }
}

TS_NUMERIC uint16_t LoadHalf(const uint8_t* from) {
  return static_cast<uint16_t>(from[0] | (static_cast<uint32_t>(from[1]) << 8));
}

// The 6-bit scale and minimum number `j` of a Q4_K or Q5_K block, packed in 12 bytes.
TS_NUMERIC void ReadScaleMin(const uint8_t* packed, int j, uint8_t* scale, uint8_t* min) {
  if (j < 4) {
    *scale = packed[j] & 63;
    *min = packed[j + 4] & 63;
  } else {
    *scale = static_cast<uint8_t>((packed[j + 4] & 15) | ((packed[j - 4] >> 6) << 4));
    *min = static_cast<uint8_t>((packed[j + 4] >> 4) | ((packed[j] >> 6) << 4));
  }
}

// The two nibbles of 16 bytes and, if `high` is not null, their fifth bits.
TS_NUMERIC void ReadNibbles(const uint8_t* nibbles, const uint8_t* high, uint8_t* q) {
  for (int i = 0; i < 16; i++) {
    q[i] = nibbles[i] & 15;
    q[i + 16] = nibbles[i] >> 4;
  }
  if (high != nullptr) {
    for (int i = 0; i < 32; i++) q[i] = static_cast<uint8_t>(q[i] | (((high[i / 8] >> (i % 8)) & 1) << 4));
  }
}

// Reads values 32 block ... 32 block + 31 of a quantised row that begins at `row`.
TS_NUMERIC void ReadBlock(int32_t dtype, const uint8_t* row, int64_t block, QuantizedBlock* out) {
  const BlockShape shape = BlockShapeOf(dtype);
  const int64_t per = shape.elements / 32;
  const uint8_t* from = row + block / per * shape.bytes;
  const int sub = static_cast<int>(block % per);
  out->d = out->m = 0;
  out->min = 0;
  out->scale[0] = out->scale[1] = 1;
  switch (dtype) {
    case TS_Q4_0:
      out->d = LoadHalf(from);
      ReadNibbles(from + 2, nullptr, out->q);
      break;
    case TS_Q4_1:
      out->d = LoadHalf(from);
      out->m = LoadHalf(from + 2);
      ReadNibbles(from + 4, nullptr, out->q);
      break;
    case TS_Q5_0:
      out->d = LoadHalf(from);
      ReadNibbles(from + 6, from + 2, out->q);
      break;
    case TS_Q5_1:
      out->d = LoadHalf(from);
      out->m = LoadHalf(from + 2);
      ReadNibbles(from + 8, from + 4, out->q);
      break;
    case TS_Q8_0:
      out->d = LoadHalf(from);
      for (int i = 0; i < 32; i++) out->q[i] = from[2 + i] ^ 0x80;
      break;
    case TS_Q4_K:
    case TS_Q5_K: {
      out->d = LoadHalf(from);
      out->m = LoadHalf(from + 2);
      ReadScaleMin(from + 4, sub, &out->scale[0], &out->min);
      const uint8_t* low = from + (dtype == TS_Q4_K ? 16 : 48) + 32 * (sub / 2);
      for (int i = 0; i < 32; i++) out->q[i] = (low[i] >> (4 * (sub % 2))) & 15;
      if (dtype == TS_Q5_K) {
        for (int i = 0; i < 32; i++) {
          out->q[i] = static_cast<uint8_t>(out->q[i] | (((from[16 + i] >> sub) & 1) << 4));
        }
      }
      break;
    }
    case TS_Q6_K: {
      const int half = sub / 4;
      const int quarter = sub % 4;
      const uint8_t* low = from + 64 * half + 32 * (quarter % 2);
      const uint8_t* high = from + 128 + 32 * half;
      for (int i = 0; i < 32; i++) {
        const int nibble = (low[i] >> (4 * (quarter / 2))) & 15;
        out->q[i] = static_cast<uint8_t>(nibble | (((high[i] >> (2 * quarter)) & 3) << 4));
      }
      out->scale[0] = from[192 + 2 * sub];
      out->scale[1] = from[192 + 2 * sub + 1];
      out->d = LoadHalf(from + 208);
      break;
    }
    default:
      break;
  }
}

// Scale of value `i` of a block: exact.
TS_NUMERIC float BlockScale(int32_t dtype, const QuantizedBlock& block, int i) {
  const int32_t integer = dtype == TS_Q6_K ? static_cast<int8_t>(block.scale[i / 16]) : block.scale[0];
  return FloatFromHalf(block.d) * static_cast<float>(integer);
}

// What is added to every value of a block: exact.
TS_NUMERIC float BlockMinimum(int32_t dtype, const QuantizedBlock& block) {
  const float m = FloatFromHalf(block.m);
  return dtype == TS_Q4_K || dtype == TS_Q5_K ? -(m * static_cast<float>(block.min)) : m;
}

// Value `i` of a block, dequantised.
TS_NUMERIC float BlockValue(int32_t dtype, const QuantizedBlock& block, int i) {
  const float integer = static_cast<float>(static_cast<int32_t>(block.q[i]) - QuantOffset(dtype));
  return BlockScale(dtype, block, i) * integer + BlockMinimum(dtype, block);
}

}  // namespace touchstone
