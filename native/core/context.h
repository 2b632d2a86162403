// An opened device: the parent of a model.
#pragma once

#include <memory>
#include <mutex>

#include "backend.h"

namespace touchstone {

struct Context {
  const Device* device = nullptr;
  ts_context_options options{};
  std::unique_ptr<Backend> backend;
  std::mutex mutex;  // held by the one call that runs
  bool has_model = false;
};

}  // namespace touchstone

struct ts_context final : touchstone::Context {};
