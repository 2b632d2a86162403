// Loading a model: the description is checked, memory reserved, then tensors move in bounded steps.
#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "model.h"
#include "numerics.h"

namespace touchstone {
namespace {

constexpr uint64_t kDefaultBudget = uint64_t{1} << 20;
constexpr uint32_t kDefaultMaxRows = 512;
constexpr int64_t kLogitRows = 32;  // rows of logits computed at once
// Bounds that keep every product of sizes below 2^63.
constexpr uint32_t kMostLayers = 1024, kMostWidth = 1u << 20, kMostVocab = kMostTokens, kMostContext = 1u << 24;
constexpr uint32_t kMostRows = 1u << 16;

Status LoadFailed(const std::string& text) { return Status(TS_MODEL_LOAD_FAILED, text); }

Status CheckRange(const char* name, uint32_t value, uint32_t most) {
  if (value >= 1 && value <= most) return Status();
  return LoadFailed(std::string(name) + " is " + std::to_string(value) + "; it must be 1 to " + std::to_string(most));
}

Status CheckHyperParameters(const ts_model_desc& desc) {
  TS_RETURN_IF_ERROR(CheckRange("vocab_size", desc.vocab_size, kMostVocab));
  TS_RETURN_IF_ERROR(CheckRange("context_length", desc.context_length, kMostContext));
  TS_RETURN_IF_ERROR(CheckRange("block_count", desc.block_count, kMostLayers));
  TS_RETURN_IF_ERROR(CheckRange("embedding_length", desc.embedding_length, kMostWidth));
  TS_RETURN_IF_ERROR(CheckRange("feed_forward_length", desc.feed_forward_length, kMostWidth));
  TS_RETURN_IF_ERROR(CheckRange("head_count", desc.head_count, kMostWidth));
  TS_RETURN_IF_ERROR(CheckRange("head_count_kv", desc.head_count_kv, desc.head_count));
  TS_RETURN_IF_ERROR(CheckRange("head_dim", desc.head_dim, 1024));
  if (desc.head_count % desc.head_count_kv != 0) {
    return LoadFailed("head_count_kv is " + std::to_string(desc.head_count_kv) + ", which does not divide head_count " +
                      std::to_string(desc.head_count));
  }
  if (uint64_t{desc.head_count} * desc.head_dim > kMostWidth) return LoadFailed("head_count * head_dim is too large");
  if (desc.max_rows > kMostRows) return LoadFailed("max_rows is above " + std::to_string(kMostRows));
  if (desc.norm != TS_NORM_RMS && desc.norm != TS_NORM_LAYER) return LoadFailed("norm is not a ts_norm_kind");
  if (desc.activation != TS_ACTIVATION_SWIGLU && desc.activation != TS_ACTIVATION_GELU) {
    return LoadFailed("activation is not a ts_activation_kind");
  }
  if (!(desc.norm_epsilon >= 0.0f) || !std::isfinite(desc.norm_epsilon)) {
    return LoadFailed("norm_epsilon must be finite and not negative");
  }
  if (!std::isfinite(desc.attention_scale)) return LoadFailed("attention_scale must be finite");
  switch (desc.position) {
    case TS_POSITION_LEARNED:
      if (desc.rope_dims != 0) return LoadFailed("rope_dims must be 0 with learned positions");
      return Status();
    case TS_POSITION_ROPE_NEOX:
    case TS_POSITION_ROPE_INTERLEAVED:
      if (desc.rope_dims == 0 || desc.rope_dims % 2 != 0 || desc.rope_dims > desc.head_dim) {
        return LoadFailed("rope_dims is " + std::to_string(desc.rope_dims) + "; it must be even and 2 to head_dim " +
                          std::to_string(desc.head_dim));
      }
      if (desc.rope_cos == nullptr || desc.rope_sin == nullptr) return LoadFailed("rope_cos or rope_sin is NULL");
      return Status();
    default:
      return LoadFailed("position is not a ts_position_kind");
  }
}

// Matches the tensors of a description with the weights of a model.
class Matcher {
 public:
  explicit Matcher(Model* model) : model_(model) {}

  Status Index(const ts_model_desc& desc) {
    for (uint32_t i = 0; i < desc.tensor_count; i++) {
      const ts_tensor& tensor = desc.tensors[i];
      if (tensor.name == nullptr) return LoadFailed("tensor number " + std::to_string(i) + " has no name");
      if (!tensors_.emplace(tensor.name, &tensor).second) {
        return LoadFailed("tensor " + std::string(tensor.name) + " appears twice");
      }
    }
    return Status();
  }

  bool Has(const std::string& name) const { return tensors_.count(name) != 0; }

  Status Matrix(const std::string& name, WeightUse use, int64_t columns, int64_t rows, Weight* weight) {
    return Match(name, use, columns, rows, weight);
  }
  Status Vector(const std::string& name, int64_t width, Weight* weight) {
    return Match(name, WeightUse::kVector, width, 1, weight);
  }
  Status OptionalVector(const std::string& name, int64_t width, Weight* weight) {
    return Has(name) ? Vector(name, width, weight) : Status();
  }

  // Every tensor must have found its place: one that the model does not know would silently change its results.
  Status CheckNothingLeft() const {
    for (const auto& [name, tensor] : tensors_) {
      if (tensor != nullptr) return LoadFailed("tensor " + name + " has no place in this kind of model");
    }
    return Status();
  }

 private:
  Status Match(const std::string& name, WeightUse use, int64_t columns, int64_t rows, Weight* weight) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end() || found->second == nullptr) return LoadFailed("tensor " + name + " is missing");
    const ts_tensor& tensor = *found->second;
    found->second = nullptr;
    uint64_t expected[TS_MAX_DIMS] = {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows), 1, 1};
    bool fits = tensor.dims >= 1 && tensor.dims <= TS_MAX_DIMS;
    for (uint32_t i = 0; fits && i < TS_MAX_DIMS; i++) fits = (i < tensor.dims ? tensor.shape[i] : 1) == expected[i];
    if (!fits) {
      return LoadFailed("tensor " + name + " does not have the shape [" + std::to_string(columns) + ", " +
                        std::to_string(rows) + "]");
    }
    const uint64_t row_bytes = StoredRowBytes(tensor.dtype, columns);
    if (row_bytes == 0) {
      return LoadFailed("tensor " + name + " has rows of " + std::to_string(columns) +
                        " elements in the format number " + std::to_string(tensor.dtype) +
                        ", which is unknown or needs whole blocks");
    }
    if (tensor.data == nullptr || tensor.bytes != row_bytes * static_cast<uint64_t>(rows)) {
      return LoadFailed("tensor " + name + " has " + std::to_string(tensor.bytes) + " bytes of data; its shape needs " +
                        std::to_string(row_bytes * static_cast<uint64_t>(rows)));
    }
    weight->name = name;
    weight->dtype = static_cast<ts_dtype>(tensor.dtype);
    weight->rows = rows;
    weight->columns = columns;
    const int64_t granularity = std::max<int64_t>(1, model_->backend().LoadGranularity(weight->dtype, use));
    model_->sources.push_back({weight, use, static_cast<const uint8_t*>(tensor.data), row_bytes, granularity});
    model_->total_bytes += tensor.bytes;
    return Status();
  }

  Model* model_;
  std::unordered_map<std::string, const ts_tensor*> tensors_;  // null once it has found its place
};

Status MatchLayer(const ts_model_desc& desc, const Model& model, uint32_t index, Matcher* matcher, Layer* layer) {
  const std::string prefix = "blk." + std::to_string(index) + ".";
  const int64_t width = desc.embedding_length, hidden = desc.feed_forward_length;
  const bool layer_norm = desc.norm == TS_NORM_LAYER;
  const auto linear = [&](const char* name, int64_t columns, int64_t rows, Weight* weight, Weight* bias) {
    TS_RETURN_IF_ERROR(matcher->Matrix(prefix + name + ".weight", WeightUse::kLinear, columns, rows, weight));
    return matcher->OptionalVector(prefix + name + ".bias", rows, bias);
  };
  const auto norm = [&](const char* name, Weight* weight, Weight* bias) {
    TS_RETURN_IF_ERROR(matcher->Vector(prefix + name + ".weight", width, weight));
    return layer_norm ? matcher->Vector(prefix + name + ".bias", width, bias) : Status();
  };
  TS_RETURN_IF_ERROR(norm("attn_norm", &layer->attention_norm, &layer->attention_norm_bias));
  TS_RETURN_IF_ERROR(linear("attn_q", width, model.QWidth(), &layer->q, &layer->q_bias));
  TS_RETURN_IF_ERROR(linear("attn_k", width, model.KvWidth(), &layer->k, &layer->k_bias));
  TS_RETURN_IF_ERROR(linear("attn_v", width, model.KvWidth(), &layer->v, &layer->v_bias));
  TS_RETURN_IF_ERROR(linear("attn_output", model.QWidth(), width, &layer->output, &layer->output_bias));
  TS_RETURN_IF_ERROR(norm("ffn_norm", &layer->ffn_norm, &layer->ffn_norm_bias));
  if (desc.activation == TS_ACTIVATION_SWIGLU) {
    TS_RETURN_IF_ERROR(linear("ffn_gate", width, hidden, &layer->gate, &layer->gate_bias));
  }
  TS_RETURN_IF_ERROR(linear("ffn_up", width, hidden, &layer->up, &layer->up_bias));
  return linear("ffn_down", hidden, width, &layer->down, &layer->down_bias);
}

Status MatchTensors(const ts_model_desc& desc, Model* model) {
  Matcher matcher(model);
  TS_RETURN_IF_ERROR(matcher.Index(desc));
  const int64_t width = desc.embedding_length, vocab = desc.vocab_size;
  const bool tied = !matcher.Has("output.weight");
  TS_RETURN_IF_ERROR(matcher.Matrix("token_embd.weight", tied ? WeightUse::kTied : WeightUse::kEmbedding, width, vocab,
                                    &model->token_embedding));
  if (desc.position == TS_POSITION_LEARNED) {
    TS_RETURN_IF_ERROR(matcher.Matrix("position_embd.weight", WeightUse::kEmbedding, width, desc.context_length,
                                      &model->position_embedding));
  }
  model->layers.resize(desc.block_count);
  for (uint32_t i = 0; i < desc.block_count; i++) {
    TS_RETURN_IF_ERROR(MatchLayer(desc, *model, i, &matcher, &model->layers[i]));
  }
  TS_RETURN_IF_ERROR(matcher.Vector("output_norm.weight", width, &model->output_norm));
  if (desc.norm == TS_NORM_LAYER) {
    TS_RETURN_IF_ERROR(matcher.Vector("output_norm.bias", width, &model->output_norm_bias));
  }
  if (!tied) {
    TS_RETURN_IF_ERROR(matcher.Matrix("output.weight", WeightUse::kLinear, width, vocab, &model->output_head));
  }
  return matcher.CheckNothingLeft();
}

// A block to allocate.
struct Reservation {
  ts_memory_kind kind;
  uint64_t bytes;
  std::string label;
  Buffer* buffer;
};

Status PlanKv(Model* model, std::vector<Reservation>* plan) {
  model->kv.layers = static_cast<int32_t>(model->desc.block_count);
  model->kv.kv_heads = static_cast<int32_t>(model->desc.head_count_kv);
  model->kv.head_dim = static_cast<int32_t>(model->desc.head_dim);
  const auto block_bytes = static_cast<uint64_t>(model->kv.BlockBytes());
  const uint64_t blocks = model->desc.kv_cache_bytes == 0 ? static_cast<uint64_t>(BlocksFor(model->desc.context_length))
                                                          : model->desc.kv_cache_bytes / block_bytes;
  if (blocks < 1 || blocks > (uint64_t{1} << 30)) {
    return LoadFailed("kv_cache_bytes is " + std::to_string(model->desc.kv_cache_bytes) +
                      "; one block of the cache takes " + std::to_string(block_bytes) + " bytes");
  }
  model->blocks.Reset(static_cast<int32_t>(blocks));
  plan->push_back({TS_MEMORY_KV, blocks * block_bytes, "kv_cache", &model->kv.pool});
  return Status();
}

Status PlanMemory(Model* model, std::vector<Reservation>* plan) {
  const ts_model_desc& desc = model->desc;
  for (const Model::Source& source : model->sources) {
    uint64_t bytes = 0;
    const Weight& weight = *source.weight;
    TS_RETURN_IF_ERROR(model->backend().WeightBytes(weight.dtype, weight.rows, weight.columns, source.use, &bytes));
    plan->push_back({TS_MEMORY_WEIGHTS, bytes, weight.name, &source.weight->buffer});
    model->weights_bytes += bytes;
  }
  TS_RETURN_IF_ERROR(PlanKv(model, plan));
  if (desc.rope_dims > 0) {
    const uint64_t bytes = uint64_t{desc.context_length} * (desc.rope_dims / 2) * sizeof(float);
    plan->push_back({TS_MEMORY_OTHER, bytes, "rope_cos", &model->rope_cos});
    plan->push_back({TS_MEMORY_OTHER, bytes, "rope_sin", &model->rope_sin});
  }
  const auto activations = [&](const char* label, int64_t rows, int64_t width, Buffer* buffer) {
    plan->push_back({TS_MEMORY_ACTIVATIONS, static_cast<uint64_t>(rows * width) * sizeof(float), label, buffer});
  };
  const int64_t rows = desc.max_rows;
  model->logit_rows = std::min(rows, kLogitRows);
  activations("residual", rows, desc.embedding_length, &model->residual);
  activations("normed", rows, desc.embedding_length, &model->normed);
  activations("q", rows, model->QWidth(), &model->q);
  activations("k", rows, model->KvWidth(), &model->k);
  activations("v", rows, model->KvWidth(), &model->v);
  activations("attended", rows, model->QWidth(), &model->attended);
  if (desc.activation == TS_ACTIVATION_SWIGLU) activations("gate", rows, desc.feed_forward_length, &model->gate);
  activations("up", rows, desc.feed_forward_length, &model->up);
  activations("gathered", model->logit_rows, desc.embedding_length, &model->gathered);
  activations("logits", model->logit_rows, desc.vocab_size, &model->logits);
  return Status();
}

// Allocates all of the plan, or fails with what the whole of it needs.
Status Reserve(Model* model, const std::vector<Reservation>& plan) {
  uint64_t required = 0;
  for (const Reservation& reservation : plan) required += reservation.bytes;
  const ts_memory_stats memory = model->backend().Memory();
  const uint64_t used = memory.weights_bytes + memory.kv_bytes + memory.activations_bytes + memory.other_bytes;
  const uint64_t available = memory.limit_bytes > used ? memory.limit_bytes - used : 0;
  const auto short_of = [&](const std::string& what) {
    return Status::OutOfMemory(what + "; take a smaller model, KV cache or max_rows", required, available);
  };
  if (required > available) {
    return short_of("the model needs " + std::to_string(required) + " bytes, " + std::to_string(available) +
                    " are available");
  }
  for (const Reservation& reservation : plan) {
    const Status status =
        model->backend().Allocate(reservation.kind, reservation.bytes, reservation.label, reservation.buffer);
    if (status.code() == TS_OUT_OF_MEMORY) return short_of(status.message());
    TS_RETURN_IF_ERROR(status);
  }
  return Status();
}

}  // namespace

uint64_t StoredRowBytes(int32_t dtype, int64_t columns) {
  uint64_t elements = 1, bytes = 0;  // of a block
  switch (dtype) {
    case TS_F32:
    case TS_I32:
      bytes = 4;
      break;
    case TS_F16:
    case TS_BF16:
      bytes = 2;
      break;
    case TS_Q4_0:
      elements = 32, bytes = 18;
      break;
    case TS_Q4_1:
      elements = 32, bytes = 20;
      break;
    case TS_Q5_0:
      elements = 32, bytes = 22;
      break;
    case TS_Q5_1:
      elements = 32, bytes = 24;
      break;
    case TS_Q8_0:
      elements = 32, bytes = 34;
      break;
    case TS_Q4_K:
      elements = 256, bytes = 144;
      break;
    case TS_Q5_K:
      elements = 256, bytes = 176;
      break;
    case TS_Q6_K:
      elements = 256, bytes = 210;
      break;
    default:
      return 0;
  }
  const auto count = static_cast<uint64_t>(columns);
  return count % elements == 0 ? count / elements * bytes : 0;
}

Status BeginModel(const ts_model_desc& desc, Model* model) {
  model->desc = desc;
  model->desc.tensors = nullptr;
  model->desc.rope_cos = model->desc.rope_sin = nullptr;
  if (desc.max_rows == 0) model->desc.max_rows = kDefaultMaxRows;
  TS_RETURN_IF_ERROR(CheckHyperParameters(desc));
  TS_RETURN_IF_ERROR(MatchTensors(desc, model));
  std::vector<Reservation> plan;
  TS_RETURN_IF_ERROR(PlanMemory(model, &plan));
  TS_RETURN_IF_ERROR(Reserve(model, plan));
  if (desc.rope_dims > 0) {
    TS_RETURN_IF_ERROR(model->backend().Upload(model->rope_cos, 0, desc.rope_cos, model->rope_cos.bytes));
    TS_RETURN_IF_ERROR(model->backend().Upload(model->rope_sin, 0, desc.rope_sin, model->rope_sin.bytes));
  }
  return Status();
}

Status LoadStep(Model* model, uint64_t budget) {
  if (model->ready) return Status(TS_INVALID_ARGUMENT, "the model is loaded already");
  if (budget == 0) budget = kDefaultBudget;
  uint64_t moved = 0;
  while (model->next_source < model->sources.size()) {
    const Model::Source& source = model->sources[model->next_source];
    const int64_t left = source.weight->rows - model->next_row;
    // What the budget has left, capped before it becomes signed; at least one interleave if nothing moved yet.
    const auto affordable =
        static_cast<int64_t>(std::min<uint64_t>((budget - moved) / source.row_bytes, uint64_t{1} << 62));
    int64_t rows = affordable / source.granularity * source.granularity;
    if (rows == 0 && moved == 0) rows = source.granularity;
    if (affordable >= left || rows > left) rows = left;
    if (rows == 0) break;
    const uint64_t offset = static_cast<uint64_t>(model->next_row) * source.row_bytes;
    TS_RETURN_IF_ERROR(
        model->backend().LoadRows(*source.weight, source.use, source.data + offset, model->next_row, rows));
    const uint64_t bytes = static_cast<uint64_t>(rows) * source.row_bytes;
    moved += bytes;
    model->loaded_bytes += bytes;
    model->next_row += rows;
    if (model->next_row == source.weight->rows) {
      model->next_row = 0;
      model->next_source++;
    }
    if (moved >= budget) break;
  }
  return Status();
}

Status FinishModel(Model* model) {
  if (model->ready) return Status(TS_INVALID_ARGUMENT, "the model is finished already");
  if (model->loaded_bytes != model->total_bytes) {
    return Status(TS_INVALID_ARGUMENT, "only " + std::to_string(model->loaded_bytes) + " of " +
                                           std::to_string(model->total_bytes) +
                                           " bytes are loaded; call model_load_step");
  }
  model->sources.clear();
  model->ready = true;
  return Status();
}

void ReleaseModel(Model* model) {
  Backend& backend = model->backend();
  const auto free = [&backend](Buffer* buffer) {
    if (buffer->id != 0) backend.Free(buffer);
  };
  for (Layer& layer : model->layers) {
    for (Weight* weight :
         {&layer.attention_norm, &layer.attention_norm_bias, &layer.q, &layer.q_bias, &layer.k, &layer.k_bias, &layer.v,
          &layer.v_bias, &layer.output, &layer.output_bias, &layer.ffn_norm, &layer.ffn_norm_bias, &layer.gate,
          &layer.gate_bias, &layer.up, &layer.up_bias, &layer.down, &layer.down_bias}) {
      free(&weight->buffer);
    }
  }
  for (Weight* weight : {&model->token_embedding, &model->position_embedding, &model->output_norm,
                         &model->output_norm_bias, &model->output_head}) {
    free(&weight->buffer);
  }
  for (Buffer* buffer :
       {&model->rope_cos, &model->rope_sin, &model->kv.pool, &model->residual, &model->normed, &model->q, &model->k,
        &model->v, &model->attended, &model->gate, &model->up, &model->gathered, &model->logits}) {
    free(buffer);
  }
}

}  // namespace touchstone
