// What surrounds the forward pass: items are checked, get their blocks, and are committed or rolled back one by one.
#include "step.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "guard.h"

namespace touchstone {
namespace {

// What makes the whole call invalid.
Status CheckCall(const Model& model, std::span<const ts_step_item> items) {
  if (!model.ready) return Invalid("the model is not ready; call model_finish first");
  if (items.empty()) return Invalid("a step needs at least one item");
  uint64_t rows = 0;
  std::vector<const ts_session*> sessions;
  for (size_t i = 0; i < items.size(); i++) {
    const std::string name = "items[" + std::to_string(i) + "]";
    if (items[i].struct_size != sizeof(ts_step_item)) return Invalid(name + ".struct_size is not sizeof(ts_step_item)");
    if (items[i].session == nullptr) return Invalid(name + ".session is NULL");
    if (items[i].session->model != &model) return Invalid(name + ".session belongs to another model");
    if (items[i].error != nullptr && items[i].error->struct_size != sizeof(ts_error)) {
      return Invalid(name + ".error->struct_size is not sizeof(ts_error)");
    }
    rows += items[i].token_count;
    sessions.push_back(items[i].session);
  }
  if (rows > model.desc.max_rows) {
    return Invalid("the items have " + std::to_string(rows) + " tokens together; max_rows is " +
                   std::to_string(model.desc.max_rows));
  }
  std::sort(sessions.begin(), sessions.end());
  if (std::adjacent_find(sessions.begin(), sessions.end()) != sessions.end()) {
    return Invalid("a session stands in two items");
  }
  return Status();
}

Status CheckLogits(const ts_step_item& item, uint64_t vocab) {
  if ((item.flags & ~(TS_STEP_LOGITS_LAST | TS_STEP_LOGITS_ALL)) != 0) return Invalid("flags has an unknown bit");
  if (item.flags == (TS_STEP_LOGITS_LAST | TS_STEP_LOGITS_ALL)) {
    return Invalid("flags asks for the last and for all logits; choose one");
  }
  if (item.flags == 0) return Status();
  if (item.logits == nullptr) return Invalid("flags asks for logits, but logits is NULL");
  const uint64_t needed = (item.flags == TS_STEP_LOGITS_ALL ? item.token_count : 1) * vocab;
  if (item.logits_capacity < needed) {
    return Invalid("logits_capacity is " + std::to_string(item.logits_capacity) + ", the logits need " +
                   std::to_string(needed));
  }
  return Status();
}

Status CheckBiases(const ts_sampling& sampling, uint32_t vocab) {
  if (sampling.bias_count == 0) return Status();
  if (sampling.bias_tokens == nullptr || sampling.bias_values == nullptr) {
    return Invalid("bias_count is not 0, but bias_tokens or bias_values is NULL");
  }
  for (uint32_t i = 0; i < sampling.bias_count; i++) {
    const int32_t token = sampling.bias_tokens[i];
    if (token < 0 || static_cast<uint32_t>(token) >= vocab) {
      return Invalid("bias_tokens[" + std::to_string(i) + "] is " + std::to_string(token) + "; the vocabulary has " +
                     std::to_string(vocab) + " tokens");
    }
    if (!std::isfinite(sampling.bias_values[i])) {
      return Invalid("bias_values[" + std::to_string(i) + "] must be finite");
    }
  }
  return Status();
}

Status CheckItem(const Model& model, PlannedItem* planned) {
  const ts_step_item& item = *planned->item;
  if (item.session->cancelled.load()) return Status(TS_CANCELLED, "the session was cancelled");
  if (item.token_count == 0) return Invalid("token_count is 0; an item has at least one token");
  if (item.tokens == nullptr) return Invalid("tokens is NULL");
  for (uint32_t i = 0; i < item.token_count; i++) {
    if (item.tokens[i] < 0 || static_cast<uint32_t>(item.tokens[i]) >= model.desc.vocab_size) {
      return Invalid("tokens[" + std::to_string(i) + "] is " + std::to_string(item.tokens[i]) +
                     "; the vocabulary has " + std::to_string(model.desc.vocab_size) + " tokens");
    }
  }
  TS_RETURN_IF_ERROR(CheckLogits(item, model.desc.vocab_size));
  if (item.sampling != nullptr) {
    TS_RETURN_IF_ERROR(ReadSampling(item.sampling, &planned->sampling));
    TS_RETURN_IF_ERROR(CheckSampling(planned->sampling));
    TS_RETURN_IF_ERROR(CheckBiases(planned->sampling, model.desc.vocab_size));
  }
  const uint64_t length = item.session->tokens.size() + uint64_t{item.token_count};
  if (length > item.session->max_length) {
    return Status(TS_CONTEXT_LENGTH_EXCEEDED, "the session would have " + std::to_string(length) +
                                                  " positions; its limit is " +
                                                  std::to_string(item.session->max_length));
  }
  return Status();
}

// Gives back the blocks that the plan took for itself.
void DropBlocks(Model* model, PlannedItem* planned) {
  for (size_t i = planned->kept; i < planned->blocks.size(); i++) model->blocks.Release(planned->blocks[i]);
  planned->blocks.resize(planned->kept);
}

// Takes the blocks that the item's tokens need. A part block that another session holds too (after session_truncate
// into a shared block) is copied before it is written to.
Status TakeBlocks(Model* model, PlannedItem* planned) {
  const Session& session = *planned->session;
  const bool copy = planned->length % TS_KV_BLOCK_POSITIONS != 0 && model->blocks.Shared(session.blocks.back());
  const auto total = static_cast<size_t>(BlocksFor(static_cast<int64_t>(planned->length) + planned->item->token_count));
  const size_t kept = session.blocks.size() - (copy ? 1 : 0);
  const auto block_bytes = static_cast<uint64_t>(model->kv.BlockBytes());
  const auto free = static_cast<uint64_t>(model->blocks.free());
  planned->blocks.reserve(total);
  planned->blocks.assign(session.blocks.begin(), session.blocks.begin() + static_cast<int64_t>(kept));
  planned->kept = kept;
  if (total - kept > free) {
    return Status::OutOfMemory("the KV cache has " + std::to_string(free) + " free blocks, the item needs " +
                                   std::to_string(total - kept) +
                                   "; close sessions or load with a larger kv_cache_bytes",
                               (total - kept) * block_bytes, free * block_bytes);
  }
  while (planned->blocks.size() < total) {
    const int32_t block = model->blocks.Take();
    planned->blocks.push_back(block);
    const uint64_t offset = static_cast<uint64_t>(block) * block_bytes;
    if (copy && planned->blocks.size() == kept + 1) {
      TS_RETURN_IF_ERROR(model->backend().Copy(model->kv.pool, offset, model->kv.pool,
                                               static_cast<uint64_t>(session.blocks.back()) * block_bytes,
                                               block_bytes));
    } else if (model->context->options.poison_memory != 0) {
      TS_RETURN_IF_ERROR(model->backend().Poison(model->kv.pool, offset, block_bytes));
    }
  }
  return Status();
}

// Adds an item's rows to the pass. Its tokens go to the session's history here; Finish takes them back on failure.
void AddRows(PlannedItem* planned, Pass* pass) {
  const ts_step_item& item = *planned->item;
  const auto index = static_cast<int32_t>(pass->items.size());
  const uint64_t vocab = pass->model->desc.vocab_size;
  pass->items.push_back(planned);
  pass->sequences.push_back({planned->blocks.data(), static_cast<int32_t>(planned->blocks.size())});
  planned->session->tokens.insert(planned->session->tokens.end(), item.tokens, item.tokens + item.token_count);
  for (uint32_t i = 0; i < item.token_count; i++) {
    const bool last = i + 1 == item.token_count;
    const bool choose = last && item.sampling != nullptr, adjusted = choose && Sampler::Adjusts(planned->sampling);
    WantedRow wanted{static_cast<int32_t>(pass->rows.size()), index, choose && !adjusted, adjusted, nullptr};
    if (item.flags == TS_STEP_LOGITS_ALL) wanted.logits = item.logits + i * vocab;
    if (item.flags == TS_STEP_LOGITS_LAST && last) wanted.logits = item.logits;
    if (choose || wanted.logits != nullptr) pass->wanted.push_back(wanted);
    pass->rows.push_back({item.tokens[i], static_cast<int32_t>(planned->length + i), index});
  }
}

// Makes the item's outcome visible: the session grows, or is as it was.
void Finish(Model* model, PlannedItem* planned) {
  ts_step_item* item = planned->item;
  Session* session = planned->session;
  if (planned->status.ok()) {
    for (size_t i = planned->kept; i < session->blocks.size(); i++) model->blocks.Release(session->blocks[i]);
    session->blocks.swap(planned->blocks);
  } else {
    DropBlocks(model, planned);
    session->tokens.resize(planned->length);
    item->token = -1;
    item->logprob = 0;
  }
  item->status = planned->status.code();
  FillError(planned->status, item->error);
}

Status PlanAndEvaluate(Model* model, std::vector<PlannedItem>* planned) {
  Pass pass{};
  pass.model = model;
  for (PlannedItem& item : *planned) {
    item.status = CheckItem(*model, &item);
    if (item.status.ok()) item.status = TakeBlocks(model, &item);
    if (item.status.ok()) AddRows(&item, &pass);
  }
  return pass.items.empty() ? Status() : Evaluate(&pass);
}

}  // namespace

Status ReadSampling(const ts_sampling* from, ts_sampling* to) {
  constexpr uint32_t kWithoutPenalties = offsetof(ts_sampling, frequency_penalty);
  if (from->struct_size != kWithoutPenalties && from->struct_size != sizeof(ts_sampling)) {
    return Invalid("sampling.struct_size is not sizeof(ts_sampling)");
  }
  *to = ts_sampling{};
  std::memcpy(to, from, from->struct_size);
  to->struct_size = sizeof(ts_sampling);
  return Status();
}

Status CheckSampling(const ts_sampling& sampling) {
  const auto outside = [](float value, float least, float most) { return !(value >= least && value <= most); };
  if (outside(sampling.temperature, 0, 2)) return Invalid("temperature must be 0 to 2");
  if (outside(sampling.top_p, 0, 1)) return Invalid("top_p must be 0 to 1");
  if (outside(sampling.min_p, 0, 1)) return Invalid("min_p must be 0 to 1");
  if (outside(sampling.repetition_penalty, 0, 2) || sampling.repetition_penalty == 0) {
    return Invalid("repetition_penalty must be above 0 and at most 2");
  }
  if (outside(sampling.frequency_penalty, -2, 2)) return Invalid("frequency_penalty must be -2 to 2");
  if (outside(sampling.presence_penalty, -2, 2)) return Invalid("presence_penalty must be -2 to 2");
  if (sampling.top_logprobs > 20) return Invalid("top_logprobs must be 0 to 20");
  if (sampling.reserved != 0) return Invalid("sampling.reserved must be 0");
  return Status();
}

Status RunStep(Model* model, std::span<ts_step_item> items) {
  TS_RETURN_IF_ERROR(CheckCall(*model, items));
  std::vector<PlannedItem> planned(items.size());
  for (size_t i = 0; i < items.size(); i++) {
    items[i].token = -1;
    items[i].logprob = 0;
    planned[i].item = &items[i];
    planned[i].session = items[i].session;
    planned[i].length = items[i].session->tokens.size();
  }
  Status status;
  try {
    status = PlanAndEvaluate(model, &planned);
  } catch (const std::exception&) {  // of the host's memory; the sessions are rolled back below
    status = Status(TS_OUT_OF_MEMORY, "the host has no memory for the step");
  }
  for (PlannedItem& item : planned) {
    if (!status.ok()) item.status = status;
    Finish(model, &item);
  }
  return status;
}

}  // namespace touchstone
