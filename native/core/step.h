// One step: a pass over tokens of several sessions.
#pragma once

#include <span>
#include <vector>

#include "session.h"

namespace touchstone {

// A row of the pass whose logits somebody wants.
struct WantedRow {
  int32_t row = 0;          // index into the batch
  int32_t item = 0;         // index into the items
  bool sample = false;      // choose a token from it, on the device
  bool adjusted = false;    // choose a token from it, on the host
  float* logits = nullptr;  // host memory to copy them to, or null
};

// An item on its way through a step.
struct PlannedItem {
  ts_step_item* item = nullptr;
  Session* session = nullptr;
  ts_sampling sampling{};       // the item's, if it has one, in this version's form
  size_t length = 0;            // of the session before the step
  std::vector<int32_t> blocks;  // the session's block table if the item succeeds
  size_t kept = 0;              // so many of them are the session's own
  Status status;
};

// The forward pass in forward.cc.
struct Pass {
  Model* model;
  std::vector<PlannedItem*> items;  // those that reach the pass
  std::vector<BatchRow> rows;
  std::vector<BatchSequence> sequences;
  std::vector<WantedRow> wanted;
};

// Evaluates the pass; failures of single items go into their status.
Status Evaluate(Pass* pass);

// Evaluates the items. The status is about the call; each item has its own.
Status RunStep(Model* model, std::span<ts_step_item> items);

// Copies the sampling of this or an earlier minor version; what the caller's does not have is off.
Status ReadSampling(const ts_sampling* from, ts_sampling* to);
// Checks the ranges of touchstone.h, biases aside.
Status CheckSampling(const ts_sampling& sampling);

}  // namespace touchstone
