#include "session.h"

#include <algorithm>
#include <string>

namespace touchstone {

Status CreateSession(Model* model, uint32_t max_length, Session* session) {
  if (!model->ready) return Status(TS_INVALID_ARGUMENT, "the model is not ready; call model_finish first");
  const uint32_t limit = model->desc.context_length;
  if (max_length > limit) {
    return Status(TS_INVALID_ARGUMENT, "max_length is " + std::to_string(max_length) + ", the model's context length " +
                                           std::to_string(limit));
  }
  session->model = model;
  session->max_length = max_length == 0 ? limit : max_length;
  model->sessions++;
  return Status();
}

Status ForkSession(const Session& parent, uint32_t length, Session* session) {
  if (length > parent.tokens.size()) {
    return Status(TS_INVALID_ARGUMENT, "length is " + std::to_string(length) + ", the session has " +
                                           std::to_string(parent.tokens.size()) + " positions");
  }
  Model* model = parent.model;
  const size_t whole = length / TS_KV_BLOCK_POSITIONS;
  const bool part = length % TS_KV_BLOCK_POSITIONS != 0;
  session->tokens.assign(parent.tokens.begin(), parent.tokens.begin() + length);
  session->blocks.reserve(whole + 1);
  if (part) {
    const int32_t copy = model->blocks.Take();
    const uint64_t bytes = static_cast<uint64_t>(model->kv.BlockBytes());
    if (copy < 0) return Status::OutOfMemory("the KV cache has no free block for the fork; close sessions", bytes, 0);
    const Status copied = model->backend().Copy(model->kv.pool, static_cast<uint64_t>(copy) * bytes, model->kv.pool,
                                                static_cast<uint64_t>(parent.blocks[whole]) * bytes, bytes);
    if (!copied.ok()) {
      model->blocks.Release(copy);
      return copied;
    }
    session->blocks.push_back(copy);
  }
  session->blocks.insert(session->blocks.begin(), parent.blocks.begin(), parent.blocks.begin() + whole);
  for (size_t i = 0; i < whole; i++) model->blocks.Share(session->blocks[i]);
  session->model = model;
  session->max_length = parent.max_length;
  model->sessions++;
  return Status();
}

Status TruncateSession(Session* session, uint32_t length) {
  if (length > session->tokens.size()) {
    return Status(TS_INVALID_ARGUMENT, "length is " + std::to_string(length) + ", the session has " +
                                           std::to_string(session->tokens.size()) + " positions");
  }
  const size_t keep = static_cast<size_t>(BlocksFor(length));
  while (session->blocks.size() > keep) {
    session->model->blocks.Release(session->blocks.back());
    session->blocks.pop_back();
  }
  session->tokens.resize(length);
  return Status();
}

ts_session_state StateOf(const Session& session) {
  ts_session_state state{};
  state.struct_size = sizeof state;
  state.length = static_cast<uint32_t>(session.tokens.size());
  state.max_length = session.max_length;
  state.blocks = static_cast<uint32_t>(session.blocks.size());
  state.shared_blocks =
      static_cast<uint32_t>(std::count_if(session.blocks.begin(), session.blocks.end(),
                                          [&](int32_t block) { return session.model->blocks.Shared(block); }));
  state.cancelled = session.cancelled.load() ? 1 : 0;
  return state;
}

void ReleaseSession(Session* session) {
  for (int32_t block : session->blocks) session->model->blocks.Release(block);
  session->blocks.clear();
  session->model->sessions--;
}

}  // namespace touchstone
