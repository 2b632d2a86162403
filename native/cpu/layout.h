// How weights lie in memory. A matrix is cut into panels of 16 rows, so that SIMD lanes are rows and a sum over inputs
// never crosses lanes; the last panel is filled up with zero rows. Within a panel:
//
//   F32, F16, BF16   [columns][16 rows]
//   quantised        groups of 32 inputs (K formats: 256), each
//                      binary16 d[16]; binary16 m[16] where the format has a minimum;
//                      then per 32 inputs
//                        K formats: u8 scale[16], then u8 min[16] (Q6_K: i8 scale[2][16])
//                        values: Q8_0 i8[8][16][4]; otherwise, unsigned, nibbles u8[4][16][4], byte [g][row][i] holding
//                        input 8g + i in its low half and 8g + 4 + i in its high half; fifth bits: u8[16][4], bit t of
//                        byte [row][i] belonging to input 4t + i; Q6_K, upper two bits: u8[2][16][4], bits 2t of byte
//                        [h][row][i] belonging to input 16h + 4t + i. The four bytes i of a row lie in the order
//                        0, 2, 1, 3: the even bytes of a word are inputs 0 and 1, its odd bytes 2 and 3
//
// Memory is that of the file (Q4_K, Q5_K: 4 bytes more per 256), plus the zero rows.
// A vector (norm weight, bias) is float32, filled up with zeros to a multiple of 16.
#pragma once

#include "../core/backend.h"
#include "../core/formats.h"
#include "../core/numerics.h"

namespace touchstone::cpu {

constexpr int kPanelRows = 16;

// Bytes of the parts of a panel's group.
struct PanelShape {
  int group;       // inputs of a group
  int header;      // d and m
  int sub_header;  // integer scales and minima of 32 inputs
  int values;      // bytes or nibbles of 32 inputs
  int high;        // fifth and sixth bits of 32 inputs
  constexpr int SubBytes() const { return sub_header + values + high; }
  constexpr int GroupBytes() const { return header + group / kQuantBlock * SubBytes(); }
};

constexpr PanelShape PanelShapeOf(int dtype) {
  switch (dtype) {
    case TS_Q4_0:
      return {32, 32, 0, 256, 0};
    case TS_Q4_1:
      return {32, 64, 0, 256, 0};
    case TS_Q5_0:
      return {32, 32, 0, 256, 64};
    case TS_Q5_1:
      return {32, 64, 0, 256, 64};
    case TS_Q8_0:
      return {32, 32, 0, 512, 0};
    case TS_Q4_K:
      return {256, 64, 32, 256, 0};
    case TS_Q5_K:
      return {256, 64, 32, 256, 64};
    case TS_Q6_K:
      return {256, 32, 32, 256, 128};
    case TS_F32:
      return {1, 0, 0, 0, 0};
    default:
      return {1, 0, 0, 0, 0};
  }
}

// Bytes of a panel of a matrix with that many columns.
inline int64_t PanelBytes(int dtype, int64_t columns) {
  if (!IsQuantized(dtype)) return columns * kPanelRows * BlockShapeOf(dtype).bytes;
  const PanelShape shape = PanelShapeOf(dtype);
  return columns / shape.group * shape.GroupBytes();
}

inline int64_t PanelCount(int64_t rows) { return (rows + kPanelRows - 1) / kPanelRows; }

// Writes rows [first, first + count) of the stored matrix at `from` into panels at `panels` (the start of the weight).
// first is a multiple of 16. Only whole panels are written: a part panel is filled up with zeros.
void PackRows(int dtype, int64_t columns, const void* from, int64_t first, int64_t count, uint8_t* panels);

// Dequantises one stored row into out[columns].
void DequantizeRow(int dtype, int64_t columns, const uint8_t* row, float* out);

// Reads row `row` of a packed matrix, dequantised, into out[columns].
void UnpackRow(int dtype, int64_t columns, const uint8_t* panels, int64_t row, float* out);

}  // namespace touchstone::cpu
