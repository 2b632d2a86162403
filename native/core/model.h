// A model on a device: what it is, its weights, its buffers and its KV cache.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "context.h"
#include "kv_cache.h"
#include "sampling.h"

namespace touchstone {

// The weights of one transformer layer. Biases and the gate may be absent.
struct Layer {
  Weight attention_norm, attention_norm_bias;
  Weight q, q_bias, k, k_bias, v, v_bias;
  Weight output, output_bias;
  Weight ffn_norm, ffn_norm_bias;
  Weight gate, gate_bias, up, up_bias, down, down_bias;
};

struct Model {
  Context* context = nullptr;
  ts_model_desc desc{};  // hyper-parameters; its pointers are not used after model_begin
  bool ready = false;
  uint32_t sessions = 0;

  Weight token_embedding, position_embedding;
  Weight output_norm, output_norm_bias, output_head;  // no output_head: tied to token_embedding
  std::vector<Layer> layers;
  uint64_t weights_bytes = 0;

  Buffer rope_cos, rope_sin;
  KvLayout kv;
  BlockPool blocks;

  // Activations of a pass, see forward.cc; the last two have logit_rows rows, all others max_rows.
  Buffer residual, normed, q, k, v, attended, gate, up, gathered, logits;
  int64_t logit_rows = 0;
  Sampler sampler{&WeighPlainly};  // of the host

  // Loading: the tensors in order, and how far it got.
  struct Source {
    Weight* weight;
    WeightUse use;
    const uint8_t* data;  // host memory of the caller, valid until model_finish
    uint64_t row_bytes;   // stored
    int64_t granularity;  // rows that a load takes at once
  };
  std::vector<Source> sources;
  size_t next_source = 0;
  int64_t next_row = 0;
  uint64_t loaded_bytes = 0, total_bytes = 0;

  int64_t QWidth() const { return int64_t{desc.head_count} * desc.head_dim; }
  int64_t KvWidth() const { return int64_t{desc.head_count_kv} * desc.head_dim; }
  Backend& backend() const { return *context->backend; }
};

// Bytes of a row of `columns` elements as stored in a GGUF file; 0 if the format is unknown or needs whole blocks that
// `columns` does not fill.
uint64_t StoredRowBytes(int32_t dtype, int64_t columns);

// Checks a description and reserves all memory. model->context is set. After a failure call ReleaseModel.
Status BeginModel(const ts_model_desc& desc, Model* model);
// Moves at least one interleave of rows and, beyond that, at most `budget` bytes.
Status LoadStep(Model* model, uint64_t budget);
Status FinishModel(Model* model);
// Frees everything the model holds on the device.
void ReleaseModel(Model* model);

}  // namespace touchstone

struct ts_model final : touchstone::Model {};
