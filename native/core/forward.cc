// The forward pass, written once over Backend. The rows of all items go through together; the head is computed only for
// rows whose logits somebody wants.
#include <algorithm>
#include <cmath>

#include "step.h"

namespace touchstone {
namespace {

float* Floats(const Buffer& buffer) { return static_cast<float*>(buffer.data); }
const Weight* IfPresent(const Weight& weight) { return weight.present() ? &weight : nullptr; }

// Marks items that were cancelled; true if none is left.
bool AllFailed(Pass* pass) {
  bool all = true;
  for (PlannedItem* item : pass->items) {
    if (item->status.ok() && item->session->cancelled.load(std::memory_order_relaxed)) {
      item->status = Status(TS_CANCELLED, "the session was cancelled");
    }
    all = all && !item->status.ok();
  }
  return all;
}

Status EvaluateLayer(const Model& model, int32_t index, int64_t rows) {
  Backend& backend = model.backend();
  const ts_model_desc& desc = model.desc;
  const Layer& layer = model.layers[static_cast<size_t>(index)];
  const auto norm_kind = static_cast<ts_norm_kind>(desc.norm);
  const auto heads = static_cast<int32_t>(desc.head_count);
  const int64_t width = desc.embedding_length, hidden = desc.feed_forward_length;
  const Activations residual{Floats(model.residual), width}, normed{Floats(model.normed), width};
  float *q = Floats(model.q), *k = Floats(model.k), *v = Floats(model.v), *attended = Floats(model.attended);
  float *gate = Floats(model.gate), *up = Floats(model.up);
  const RopeTables rope{Floats(model.rope_cos), Floats(model.rope_sin), static_cast<int32_t>(desc.rope_dims),
                        static_cast<ts_position_kind>(desc.position)};

  TS_RETURN_IF_ERROR(backend.Norm(norm_kind, desc.norm_epsilon, layer.attention_norm,
                                  IfPresent(layer.attention_norm_bias), residual, rows, normed));
  const LinearTarget qkv[] = {{&layer.q, IfPresent(layer.q_bias), nullptr, q},
                              {&layer.k, IfPresent(layer.k_bias), nullptr, k},
                              {&layer.v, IfPresent(layer.v_bias), nullptr, v}};
  TS_RETURN_IF_ERROR(backend.Linear(normed, rows, qkv));
  TS_RETURN_IF_ERROR(backend.RopeAndStore(rope, model.kv, index, heads, q, k, v));
  TS_RETURN_IF_ERROR(backend.Attention(model.kv, index, heads, desc.attention_scale, q, attended));
  const LinearTarget output[] = {{&layer.output, IfPresent(layer.output_bias), residual.data, residual.data}};
  TS_RETURN_IF_ERROR(backend.Linear({attended, model.QWidth()}, rows, output));

  TS_RETURN_IF_ERROR(backend.Norm(norm_kind, desc.norm_epsilon, layer.ffn_norm, IfPresent(layer.ffn_norm_bias),
                                  residual, rows, normed));
  const LinearTarget gate_up[] = {{&layer.up, IfPresent(layer.up_bias), nullptr, up},
                                  {&layer.gate, IfPresent(layer.gate_bias), nullptr, gate}};
  TS_RETURN_IF_ERROR(backend.Linear(normed, rows, std::span(gate_up).first(layer.gate.present() ? 2 : 1)));
  TS_RETURN_IF_ERROR(backend.Activate(static_cast<ts_activation_kind>(desc.activation),
                                      layer.gate.present() ? gate : nullptr, up, rows * hidden, up));
  const LinearTarget down[] = {{&layer.down, IfPresent(layer.down_bias), residual.data, residual.data}};
  return backend.Linear({up, hidden}, rows, down);
}

// Chooses tokens for the first `requests` rows of logits; a row that fails takes only its own item with it.
Status Sample(Pass* pass, std::span<const WantedRow> wanted, std::span<SampleRequest> requests) {
  if (requests.empty()) return Status();
  const int64_t vocab = pass->model->desc.vocab_size;
  float* logits = Floats(pass->model->logits);
  Backend& backend = pass->model->backend();
  const Status together = backend.Sample({logits, vocab}, requests);
  if (together.ok() || together.code() != TS_INFERENCE_FAILED) return together;
  for (size_t i = 0; i < requests.size(); i++) {
    const Status status = backend.Sample({logits + static_cast<int64_t>(i) * vocab, vocab}, requests.subspan(i, 1));
    if (status.code() == TS_INFERENCE_FAILED) {
      pass->items[static_cast<size_t>(wanted[i].item)]->status = status;
    } else {
      TS_RETURN_IF_ERROR(status);
    }
  }
  return Status();
}

SampleRequest RequestFor(const PlannedItem& planned) {
  SampleRequest request;
  request.sampling = planned.sampling;
  request.history = planned.session->tokens;
  request.position = static_cast<uint32_t>(planned.session->tokens.size());
  request.top_tokens = planned.item->top_tokens;
  request.top_logprobs = planned.item->top_logprobs;
  return request;
}

// Chooses tokens on the host, from rows that a device's own sampling does not know how to adjust.
Status SampleAdjusted(Pass* pass, std::span<const WantedRow> wanted) {
  const int64_t vocab = pass->model->desc.vocab_size;
  const uint64_t row_bytes = static_cast<uint64_t>(vocab) * sizeof(float);
  std::vector<float> logits;
  for (size_t i = 0; i < wanted.size(); i++) {
    if (!wanted[i].adjusted) continue;
    PlannedItem& planned = *pass->items[static_cast<size_t>(wanted[i].item)];
    logits.resize(static_cast<size_t>(vocab));
    TS_RETURN_IF_ERROR(pass->model->backend().Download(logits.data(), pass->model->logits, i * row_bytes, row_bytes));
    SampleRequest request = RequestFor(planned);
    const Status status = pass->model->sampler.Choose(logits.data(), vocab, &request);
    if (status.ok()) {
      planned.item->token = request.token;
      planned.item->logprob = request.logprob;
    } else {
      planned.status = status;
    }
  }
  return Status();
}

// Norm, head and sampling for at most logit_rows rows, those to sample from first.
Status EvaluateHead(Pass* pass, std::span<const WantedRow> wanted) {
  const Model& model = *pass->model;
  Backend& backend = model.backend();
  const int64_t width = model.desc.embedding_length, vocab = model.desc.vocab_size;
  const auto count = static_cast<int64_t>(wanted.size());
  std::vector<int32_t> rows;
  std::vector<SampleRequest> requests;
  for (const WantedRow& row : wanted) {
    rows.push_back(row.row);
    if (row.sample) requests.push_back(RequestFor(*pass->items[static_cast<size_t>(row.item)]));
  }
  const Activations gathered{Floats(model.gathered), width}, normed{Floats(model.normed), width};
  TS_RETURN_IF_ERROR(backend.GatherRows({Floats(model.residual), width}, rows, gathered));
  TS_RETURN_IF_ERROR(backend.Norm(static_cast<ts_norm_kind>(model.desc.norm), model.desc.norm_epsilon,
                                  model.output_norm, IfPresent(model.output_norm_bias), gathered, count, normed));
  const LinearTarget head[] = {{model.output_head.present() ? &model.output_head : &model.token_embedding, nullptr,
                                nullptr, Floats(model.logits)}};
  TS_RETURN_IF_ERROR(backend.Linear(normed, count, head));
  TS_RETURN_IF_ERROR(Sample(pass, wanted, requests));
  TS_RETURN_IF_ERROR(SampleAdjusted(pass, wanted));

  const uint64_t row_bytes = static_cast<uint64_t>(vocab) * sizeof(float);
  size_t request = 0;
  for (size_t i = 0; i < wanted.size(); i++) {
    PlannedItem& planned = *pass->items[static_cast<size_t>(wanted[i].item)];
    if (wanted[i].sample) {
      planned.item->token = requests[request].token;
      planned.item->logprob = requests[request].logprob;
      request++;
    }
    if (wanted[i].logits == nullptr) continue;
    TS_RETURN_IF_ERROR(backend.Download(wanted[i].logits, model.logits, i * row_bytes, row_bytes));
    if (!std::all_of(wanted[i].logits, wanted[i].logits + vocab, [](float x) { return std::isfinite(x); })) {
      planned.status =
          Status(TS_INFERENCE_FAILED, "the logits hold NaN or an infinity; the model's weights are damaged");
    }
  }
  return Status();
}

Status EvaluateLayers(Pass* pass) {
  const Model& model = *pass->model;
  Backend& backend = model.backend();
  const auto rows = static_cast<int64_t>(pass->rows.size());
  const Activations residual{Floats(model.residual), static_cast<int64_t>(model.desc.embedding_length)};
  TS_RETURN_IF_ERROR(backend.Embed(model.token_embedding, residual));
  if (model.position_embedding.present()) TS_RETURN_IF_ERROR(backend.AddPositions(model.position_embedding, residual));
  for (int32_t layer = 0; layer < static_cast<int32_t>(model.layers.size()); layer++) {
    if (AllFailed(pass)) return Status();
    TS_RETURN_IF_ERROR(EvaluateLayer(model, layer, rows));
  }
  if (AllFailed(pass)) return Status();
  const std::span<const WantedRow> wanted = pass->wanted;
  const auto most = static_cast<size_t>(model.logit_rows);
  for (size_t first = 0; first < wanted.size(); first += most) {
    TS_RETURN_IF_ERROR(EvaluateHead(pass, wanted.subspan(first, std::min(most, wanted.size() - first))));
  }
  AllFailed(pass);  // a cancellation that came during the head counts too
  return Status();
}

}  // namespace

Status Evaluate(Pass* pass) {
  Backend& backend = pass->model->backend();
  // Rows to sample from first: Backend::Sample takes adjacent rows.
  std::stable_partition(pass->wanted.begin(), pass->wanted.end(), [](const WantedRow& row) { return row.sample; });
  TS_RETURN_IF_ERROR(backend.BeginPass({pass->rows, pass->sequences}));
  Status status;
  try {
    status = EvaluateLayers(pass);
  } catch (...) {
    static_cast<void>(backend.EndPass());  // nothing of this pass may be left for the next one to run
    throw;
  }
  const Status ended = backend.EndPass();
  return status.ok() ? ended : status;
}

}  // namespace touchstone
