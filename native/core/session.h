// A sequence of tokens with its blocks of the KV cache.
#pragma once

#include <atomic>
#include <vector>

#include "model.h"

namespace touchstone {

struct Session {
  Model* model = nullptr;
  uint32_t max_length = 0;
  std::vector<int32_t> tokens;  // evaluated so far
  std::vector<int32_t> blocks;  // block table: blocks[p / 32] holds position p
  std::atomic<bool> cancelled{false};
};

Status CreateSession(Model* model, uint32_t max_length, Session* session);
// Makes `session` the first `length` positions of `parent`. On failure it holds nothing.
Status ForkSession(const Session& parent, uint32_t length, Session* session);
Status TruncateSession(Session* session, uint32_t length);
ts_session_state StateOf(const Session& session);
// Gives the session's blocks back.
void ReleaseSession(Session* session);

}  // namespace touchstone

struct ts_session final : touchstone::Session {};
