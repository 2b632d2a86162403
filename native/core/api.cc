// The functions of the ABI: arguments are checked here, the work is done in the other files.
#include <array>
#include <cstddef>
#include <cstring>

#include "devices.h"
#include "guard.h"
#include "ops.h"
#include "step.h"

namespace touchstone {
namespace {

constexpr std::array<std::array<const char*, 2>, TS_INTERNAL + 1> kStatuses = {{
    {"OK", "Done."},
    {"INVALID_ARGUMENT", "An argument is out of range."},
    {"DEVICE_NOT_FOUND", "No device of the wanted kind is present."},
    {"INVALID_DEVICE", "There is no device with this index."},
    {"OUT_OF_MEMORY", "Memory is short."},
    {"MODEL_LOAD_FAILED", "The model's description or tensors do not fit together."},
    {"UNSUPPORTED", "This library or device does not offer what was asked for."},
    {"INFERENCE_FAILED", "A forward pass failed, or its logits hold NaN or an infinity."},
    {"RESIDENCY_FAILED", "A block of memory is not where it must be."},
    {"KERNEL_LAUNCH_FAILED", "The device refused or aborted a kernel."},
    {"CONTEXT_LENGTH_EXCEEDED", "A session would grow beyond its limit."},
    {"CANCELLED", "The session was cancelled."},
    {"BUSY", "Another call is running, or children are still alive."},
    {"ABI_MISMATCH", "The library was built for another major version of the ABI."},
    {"INTERNAL", "A defect of the library; please report it."},
}};

const char* Version() { return "touchstone 1.0.0"; }

const char* StatusName(int32_t status) {
  return status >= 0 && status <= TS_INTERNAL ? kStatuses[static_cast<size_t>(status)][0] : "UNKNOWN";
}

const char* StatusText(int32_t status) {
  return status >= 0 && status <= TS_INTERNAL ? kStatuses[static_cast<size_t>(status)][1] : "An unknown status.";
}

Status FindDevice(int64_t index, const Device** device) {
  const std::vector<const Device*> devices = AllDevices();
  if (devices.empty()) return Status(TS_DEVICE_NOT_FOUND, "this library finds no device");
  if (index < 0 || static_cast<uint64_t>(index) >= devices.size()) {
    return Status(TS_INVALID_DEVICE, "there is no device " + std::to_string(index) + "; the library has " +
                                         std::to_string(devices.size()));
  }
  *device = devices[static_cast<size_t>(index)];
  return Status();
}

ts_status DeviceCount(uint32_t* count, ts_error* error) {
  return Guard(error, [&]() -> Status {
    TS_RETURN_IF_ERROR(CheckNotNull("count", count));
    *count = static_cast<uint32_t>(AllDevices().size());
    return Status();
  });
}

ts_status DeviceProperties(uint32_t index, ts_device_properties* out, ts_error* error) {
  return Guard(error, [&]() -> Status {
    TS_RETURN_IF_ERROR(CheckStruct("out", out));
    const Device* device = nullptr;
    TS_RETURN_IF_ERROR(FindDevice(index, &device));
    *out = device->Properties();
    out->struct_size = sizeof *out;
    return Status();
  });
}

// Copies options of this or an earlier minor version; what the caller's does not have stays 0.
Status ReadOptions(const ts_context_options* options, ts_context_options* out) {
  constexpr uint32_t kWithoutNumerics = offsetof(ts_context_options, numerics);
  if (options->struct_size != kWithoutNumerics) TS_RETURN_IF_ERROR(CheckStruct("options", options));
  std::memcpy(out, options, options->struct_size);
  out->struct_size = sizeof *out;
  return Status();
}

Status CheckOptions(const ts_context_options& options) {
  if (options.isa < TS_ISA_AUTO || options.isa > TS_ISA_NEON) return Invalid("isa is not a ts_isa");
  if (options.poison_memory > 1) return Invalid("poison_memory must be 0 or 1");
  if (options.numerics < TS_NUMERICS_CANONICAL || options.numerics > TS_NUMERICS_FAST) {
    return Invalid("numerics is not a ts_numerics");
  }
  if (options.reserved != 0) return Invalid("options.reserved must be 0");
  return Status();
}

ts_status ContextCreate(int64_t index, const ts_context_options* options, ts_context** out, ts_error* error) {
  return Guard(error, [&]() -> Status {
    TS_RETURN_IF_ERROR(CheckNotNull("out", out));
    *out = nullptr;
    auto context = std::make_unique<ts_context>();
    context->options.struct_size = sizeof(ts_context_options);
    if (options != nullptr) TS_RETURN_IF_ERROR(ReadOptions(options, &context->options));
    TS_RETURN_IF_ERROR(CheckOptions(context->options));
    TS_RETURN_IF_ERROR(FindDevice(index, &context->device));
    TS_RETURN_IF_ERROR(context->device->Open(context->options, &context->backend));
    *out = context.release();
    return Status();
  });
}

ts_status ContextDestroy(ts_context* context, ts_error* error) {
  if (context == nullptr) return Guard(error, [] { return Status(); });
  const ts_status status = GuardLocked(context, error, [&]() -> Status {
    return context->has_model ? Status(TS_BUSY, "the context has a model; destroy it first") : Status();
  });
  if (status == TS_OK) delete context;
  return status;
}

ts_status ContextMemory(ts_context* context, ts_memory_stats* out, ts_error* error) {
  return GuardHandle("context", context, error, [&] {
    return GuardLocked(context, error, [&]() -> Status {
      TS_RETURN_IF_ERROR(CheckStruct("out", out));
      *out = context->backend->Memory();
      out->struct_size = sizeof *out;
      return Status();
    });
  });
}

ts_status ContextBlocks(ts_context* context, ts_memory_block* blocks, uint32_t capacity, uint32_t* count,
                        ts_error* error) {
  return GuardHandle("context", context, error, [&] {
    return GuardLocked(context, error, [&]() -> Status {
      TS_RETURN_IF_ERROR(CheckNotNull("count", count));
      if (capacity > 0) TS_RETURN_IF_ERROR(CheckNotNull("blocks", blocks));
      const std::vector<ts_memory_block> all = context->backend->Blocks();
      *count = static_cast<uint32_t>(all.size());
      for (uint32_t i = 0; i < capacity && i < all.size(); i++) blocks[i] = all[i];
      return Status();
    });
  });
}

ts_status ContextCheckResidency(ts_context* context, ts_residency_report* out, ts_error* error) {
  return GuardHandle("context", context, error, [&] {
    return GuardLocked(context, error, [&]() -> Status {
      TS_RETURN_IF_ERROR(CheckStruct("out", out));
      const Status status = context->backend->CheckResidency(out);
      out->struct_size = sizeof *out;
      return status;
    });
  });
}

Status CheckDescription(const ts_model_desc* desc) {
  TS_RETURN_IF_ERROR(CheckStruct("desc", desc));
  if (desc->tensor_count > 0) TS_RETURN_IF_ERROR(CheckNotNull("desc.tensors", desc->tensors));
  return desc->reserved == 0 ? Status() : Invalid("desc.reserved must be 0");
}

ts_status ModelBegin(ts_context* context, const ts_model_desc* desc, ts_model** out, ts_error* error) {
  return GuardHandle("context", context, error, [&] {
    return GuardLocked(context, error, [&]() -> Status {
      TS_RETURN_IF_ERROR(CheckNotNull("out", out));
      *out = nullptr;
      TS_RETURN_IF_ERROR(CheckDescription(desc));
      if (context->has_model) return Status(TS_BUSY, "the context has a model; destroy it first");
      // Releases what a failed begin, by status or exception, had reserved.
      const auto release = [](ts_model* model) {
        ReleaseModel(model);
        delete model;
      };
      auto fresh = std::make_unique<ts_model>();
      fresh->context = context;
      std::unique_ptr<ts_model, decltype(release)> model(fresh.release(), release);
      TS_RETURN_IF_ERROR(BeginModel(*desc, model.get()));
      context->has_model = true;
      *out = model.release();
      return Status();
    });
  });
}

ts_status ModelLoadStep(ts_model* model, uint64_t budget, uint64_t* done, uint64_t* total, ts_error* error) {
  return GuardHandle("model", model, error, [&] {
    return GuardLocked(model->context, error, [&]() -> Status {
      TS_RETURN_IF_ERROR(CheckNotNull("done", done));
      TS_RETURN_IF_ERROR(CheckNotNull("total", total));
      const Status status = LoadStep(model, budget);
      *done = model->loaded_bytes;
      *total = model->total_bytes;
      return status;
    });
  });
}

ts_status ModelFinish(ts_model* model, ts_error* error) {
  return GuardHandle("model", model, error,
                     [&] { return GuardLocked(model->context, error, [&] { return FinishModel(model); }); });
}

ts_status ModelInfo(ts_model* model, ts_model_info* out, ts_error* error) {
  return GuardHandle("model", model, error, [&] {
    return GuardLocked(model->context, error, [&]() -> Status {
      TS_RETURN_IF_ERROR(CheckStruct("out", out));
      out->max_rows = model->desc.max_rows;
      out->weights_bytes = model->weights_bytes;
      out->kv_block_bytes = static_cast<uint64_t>(model->kv.BlockBytes());
      out->kv_blocks_total = static_cast<uint32_t>(model->blocks.total());
      out->kv_blocks_free = static_cast<uint32_t>(model->blocks.free());
      return Status();
    });
  });
}

ts_status ModelDestroy(ts_model* model, ts_error* error) {
  if (model == nullptr) return Guard(error, [] { return Status(); });
  const ts_status status = GuardLocked(model->context, error, [&]() -> Status {
    if (model->sessions > 0) {
      return Status(TS_BUSY, "the model has " + std::to_string(model->sessions) + " sessions; destroy them first");
    }
    ReleaseModel(model);
    model->context->has_model = false;
    return Status();
  });
  if (status == TS_OK) delete model;
  return status;
}

ts_status SessionCreate(ts_model* model, const ts_session_options* options, ts_session** out, ts_error* error) {
  return GuardHandle("model", model, error, [&] {
    return GuardLocked(model->context, error, [&]() -> Status {
      TS_RETURN_IF_ERROR(CheckNotNull("out", out));
      *out = nullptr;
      if (options != nullptr) TS_RETURN_IF_ERROR(CheckStruct("options", options));
      auto session = std::make_unique<ts_session>();
      TS_RETURN_IF_ERROR(CreateSession(model, options != nullptr ? options->max_length : 0, session.get()));
      *out = session.release();
      return Status();
    });
  });
}

ts_status SessionFork(ts_session* parent, uint32_t length, ts_session** out, ts_error* error) {
  return GuardHandle("session", parent, error, [&] {
    return GuardLocked(parent->model->context, error, [&]() -> Status {
      TS_RETURN_IF_ERROR(CheckNotNull("out", out));
      *out = nullptr;
      auto session = std::make_unique<ts_session>();
      TS_RETURN_IF_ERROR(ForkSession(*parent, length, session.get()));
      *out = session.release();
      return Status();
    });
  });
}

ts_status SessionTruncate(ts_session* session, uint32_t length, ts_error* error) {
  return GuardHandle("session", session, error, [&] {
    return GuardLocked(session->model->context, error, [&] { return TruncateSession(session, length); });
  });
}

ts_status SessionState(ts_session* session, ts_session_state* out, ts_error* error) {
  return GuardHandle("session", session, error, [&] {
    return GuardLocked(session->model->context, error, [&]() -> Status {
      TS_RETURN_IF_ERROR(CheckStruct("out", out));
      *out = StateOf(*session);
      return Status();
    });
  });
}

ts_status SessionCancel(ts_session* session, ts_error* error) {
  return GuardHandle("session", session, error, [&] {
    return Guard(error, [&] {
      session->cancelled.store(true);
      return Status();
    });
  });
}

ts_status SessionDestroy(ts_session* session, ts_error* error) {
  if (session == nullptr) return Guard(error, [] { return Status(); });
  const ts_status status = GuardLocked(session->model->context, error, [&]() -> Status {
    ReleaseSession(session);
    return Status();
  });
  if (status == TS_OK) delete session;
  return status;
}

ts_status Step(ts_model* model, ts_step_item* items, uint32_t count, ts_error* error) {
  return GuardHandle("model", model, error, [&] {
    return GuardLocked(model->context, error, [&]() -> Status {
      TS_RETURN_IF_ERROR(CheckNotNull("items", items));
      return RunStep(model, {items, count});
    });
  });
}

ts_status OpRun(ts_context* context, const char* name, const ts_tensor* inputs, uint32_t input_count,
                const ts_tensor* outputs, uint32_t output_count, const ts_parameter* parameters,
                uint32_t parameter_count, ts_error* error) {
  return GuardHandle("context", context, error, [&] {
    return GuardLocked(context, error, [&]() -> Status {
      TS_RETURN_IF_ERROR(CheckNotNull("name", name));
      if (input_count > 0) TS_RETURN_IF_ERROR(CheckNotNull("inputs", inputs));
      if (output_count > 0) TS_RETURN_IF_ERROR(CheckNotNull("outputs", outputs));
      if (parameter_count > 0) TS_RETURN_IF_ERROR(CheckNotNull("parameters", parameters));
      return RunOp(context, name, {inputs, input_count}, {outputs, output_count}, {parameters, parameter_count});
    });
  });
}

constexpr ts_api kApi = {
    sizeof(ts_api),
    TS_ABI_MAJOR,
    TS_ABI_MINOR,
    0,
    Version,
    StatusName,
    StatusText,
    DeviceCount,
    DeviceProperties,
    ContextCreate,
    ContextDestroy,
    ContextMemory,
    ContextBlocks,
    ContextCheckResidency,
    ModelBegin,
    ModelLoadStep,
    ModelFinish,
    ModelInfo,
    ModelDestroy,
    SessionCreate,
    SessionFork,
    SessionTruncate,
    SessionState,
    SessionCancel,
    SessionDestroy,
    Step,
    OpRun,
};

}  // namespace
}  // namespace touchstone

extern "C" __attribute__((visibility("default"))) const ts_api* ts_get_api(uint32_t major) {
  return major == TS_ABI_MAJOR ? &touchstone::kApi : nullptr;
}
