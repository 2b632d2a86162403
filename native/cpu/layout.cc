#include "layout.h"

#include <algorithm>

namespace touchstone::cpu {

namespace {

// Place of input `i` (0 ... 31) of `row` within the 64-byte vectors of a sub-block.
int ByteOf(int row, int i) {
  constexpr int kPlaces[4] = {0, 2, 1, 3};
  return row * 4 + kPlaces[i % 4];
}

// Start of the sub-block that holds inputs 32 block ... in a panel, and of its group.
struct SubBlock {
  int64_t group;
  int64_t sub;
};

SubBlock SubBlockAt(const PanelShape& shape, int64_t block) {
  const int64_t per = shape.group / kQuantBlock;
  const int64_t group = block / per * shape.GroupBytes();
  return {group, group + shape.header + block % per * shape.SubBytes()};
}

void PutHalf(uint8_t* to, uint16_t value) { std::memcpy(to, &value, sizeof value); }

uint16_t GetHalf(const uint8_t* from) {
  uint16_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Writes one block of one row into a panel whose bytes are zero.
void PutBlock(int dtype, const PanelShape& shape, const QuantizedBlock& block, int row, int64_t index, uint8_t* panel) {
  const SubBlock at = SubBlockAt(shape, index);
  PutHalf(panel + at.group + 2 * row, block.d);
  if (shape.header == 64) PutHalf(panel + at.group + 32 + 2 * row, block.m);
  uint8_t* sub = panel + at.sub;
  if (shape.sub_header != 0) {
    sub[row] = block.scale[0];
    sub[16 + row] = dtype == TS_Q6_K ? block.scale[1] : block.min;
    sub += shape.sub_header;
  }
  uint8_t* high = sub + shape.values;
  for (int i = 0; i < kQuantBlock; i++) {
    const int byte = ByteOf(row, i);
    if (shape.values == 512) {
      sub[i / 4 * 64 + byte] = block.q[i] ^ 0x80;
      continue;
    }
    const int nibble = (block.q[i] & 15) << (i / 4 % 2 * 4);
    sub[i / 8 * 64 + byte] = static_cast<uint8_t>(sub[i / 8 * 64 + byte] | nibble);
    if (shape.high == 64) high[byte] = static_cast<uint8_t>(high[byte] | ((block.q[i] >> 4) << (i / 4)));
    if (shape.high == 128) {
      uint8_t* bits = high + i / 16 * 64 + byte;
      *bits = static_cast<uint8_t>(*bits | ((block.q[i] >> 4) << (i / 4 % 4 * 2)));
    }
  }
}

void GetBlock(const PanelShape& shape, const uint8_t* panel, int row, int64_t index, QuantizedBlock* block) {
  const SubBlock at = SubBlockAt(shape, index);
  block->d = GetHalf(panel + at.group + 2 * row);
  block->m = shape.header == 64 ? GetHalf(panel + at.group + 32 + 2 * row) : uint16_t{0};
  const uint8_t* sub = panel + at.sub;
  block->scale[0] = block->scale[1] = 1;
  block->min = 0;
  if (shape.sub_header != 0) {
    block->scale[0] = sub[row];
    block->scale[1] = sub[16 + row];
    block->min = sub[16 + row];
    sub += shape.sub_header;
  }
  const uint8_t* high = sub + shape.values;
  for (int i = 0; i < kQuantBlock; i++) {
    const int byte = ByteOf(row, i);
    if (shape.values == 512) {
      block->q[i] = sub[i / 4 * 64 + byte] ^ 0x80;
      continue;
    }
    int q = (sub[i / 8 * 64 + byte] >> (i / 4 % 2 * 4)) & 15;
    if (shape.high == 64) q |= ((high[byte] >> (i / 4)) & 1) << 4;
    if (shape.high == 128) q |= ((high[i / 16 * 64 + byte] >> (i / 4 % 4 * 2)) & 3) << 4;
    block->q[i] = static_cast<uint8_t>(q);
  }
}

template <class Element>
void PackFloats(int64_t columns, const uint8_t* from, int64_t rows, uint8_t* panel) {
  Element* to = reinterpret_cast<Element*>(panel);
  for (int64_t row = 0; row < kPanelRows; row++) {
    const Element* source = reinterpret_cast<const Element*>(from) + row * columns;
    for (int64_t k = 0; k < columns; k++) to[k * kPanelRows + row] = row < rows ? source[k] : Element{0};
  }
}

}  // namespace

void PackRows(int dtype, int64_t columns, const void* from, int64_t first, int64_t count, uint8_t* panels) {
  const BlockShape stored = BlockShapeOf(dtype);
  const PanelShape shape = PanelShapeOf(dtype);
  const int64_t row_bytes = columns / stored.elements * stored.bytes;
  const int64_t panel_bytes = PanelBytes(dtype, columns);
  for (int64_t done = 0; done < count; done += kPanelRows) {
    const uint8_t* source = static_cast<const uint8_t*>(from) + done * row_bytes;
    uint8_t* panel = panels + (first + done) / kPanelRows * panel_bytes;
    const int64_t rows = std::min<int64_t>(kPanelRows, count - done);
    if (dtype == TS_F32) {
      PackFloats<uint32_t>(columns, source, rows, panel);
    } else if (!IsQuantized(dtype)) {
      PackFloats<uint16_t>(columns, source, rows, panel);
    } else {
      std::memset(panel, 0, static_cast<size_t>(panel_bytes));
      for (int64_t row = 0; row < rows; row++) {
        for (int64_t block = 0; block < columns / kQuantBlock; block++) {
          QuantizedBlock values;
          ReadBlock(dtype, source + row * row_bytes, block, &values);
          PutBlock(dtype, shape, values, static_cast<int>(row), block, panel);
        }
      }
    }
  }
}

void DequantizeRow(int dtype, int64_t columns, const uint8_t* row, float* out) {
  if (dtype == TS_F32) {
    std::memcpy(out, row, static_cast<size_t>(columns) * sizeof(float));
  } else if (!IsQuantized(dtype)) {
    for (int64_t k = 0; k < columns; k++) {
      const uint16_t value = LoadHalf(row + 2 * k);
      out[k] = dtype == TS_F16 ? FloatFromHalf(value) : FloatFromBfloat16(value);
    }
  } else {
    for (int64_t index = 0; index < columns / kQuantBlock; index++) {
      QuantizedBlock block;
      ReadBlock(dtype, row, index, &block);
      for (int i = 0; i < kQuantBlock; i++) out[index * kQuantBlock + i] = BlockValue(dtype, block, i);
    }
  }
}

void UnpackRow(int dtype, int64_t columns, const uint8_t* panels, int64_t row, float* out) {
  const uint8_t* panel = panels + row / kPanelRows * PanelBytes(dtype, columns);
  const int lane = static_cast<int>(row % kPanelRows);
  if (dtype == TS_F32) {
    const float* values = reinterpret_cast<const float*>(panel);
    for (int64_t k = 0; k < columns; k++) out[k] = values[k * kPanelRows + lane];
  } else if (!IsQuantized(dtype)) {
    const uint16_t* values = reinterpret_cast<const uint16_t*>(panel);
    for (int64_t k = 0; k < columns; k++) {
      const uint16_t value = values[k * kPanelRows + lane];
      out[k] = dtype == TS_F16 ? FloatFromHalf(value) : FloatFromBfloat16(value);
    }
  } else {
    const PanelShape shape = PanelShapeOf(dtype);
    for (int64_t index = 0; index < columns / kQuantBlock; index++) {
      QuantizedBlock block;
      GetBlock(shape, panel, lane, index, &block);
      for (int i = 0; i < kQuantBlock; i++) out[index * kQuantBlock + i] = BlockValue(dtype, block, i);
    }
  }
}

}  // namespace touchstone::cpu
