// The choice of a token from one row of logits, on the host. Probabilities are integers (numerics.h), so that their
// sums do not depend on an order and a device may compute them as it likes; NUMERICS.md states every rule and tie.
#pragma once

#include <algorithm>
#include <vector>

#include "backend.h"
#include "numerics.h"

namespace touchstone {

// Sum of ProbabilityWeight(x[i] - largest); fills weights[count] too unless it is null.
using WeighFunction = uint64_t (*)(const float* x, int64_t count, float largest, uint64_t* weights);

// Sum and weights by plain C++.
inline uint64_t WeighPlainly(const float* x, int64_t count, float largest, uint64_t* weights) {
  uint64_t total = 0;
  for (int64_t i = 0; i < count; i++) {
    const uint64_t weight = ProbabilityWeight(x[i] - largest);
    if (weights != nullptr) weights[i] = weight;
    total += weight;
  }
  return total;
}

// Chooses tokens. Keeps its memory from call to call. Not safe for concurrent use.
class Sampler {
 public:
  explicit Sampler(WeighFunction weigh) : weigh_(weigh) {}

  // Fills in the out fields of the request. TS_INFERENCE_FAILED if a logit is not finite.
  Status Choose(const float* logits, int64_t width, SampleRequest* request) {
    int64_t best = 0;
    for (int64_t i = 0; i < width; i++) {
      if (!IsFinite(logits[i])) {
        return Status(TS_INFERENCE_FAILED, "the logits hold NaN or an infinity (first at token " + std::to_string(i) +
                                               "); the model's weights are likely damaged");
      }
      if (logits[i] > logits[best]) best = i;
    }
    const float largest = logits[best];
    const uint64_t total = weigh_(logits, width, largest, nullptr);
    ReportTop(logits, width, largest, total, request);

    const float temperature = request->sampling.temperature;
    int64_t token = best;
    bool draw = temperature > 0.0f;
    if (draw || request->sampling.repetition_penalty != 1.0f || Adjusts(request->sampling)) {
      scaled_.assign(logits, logits + width);
      AddBiases(request->sampling);
      Penalise(request->sampling.repetition_penalty, request->history);
      PenaliseCounts(request->sampling, request->history);
      token = ArgMax(scaled_);
    }
    if (draw) {
      for (float& logit : scaled_) logit = logit / temperature;
      draw = IsFinite(scaled_[token]);  // otherwise the temperature is so low that the largest logit takes all
    }
    if (draw) {
      token = Draw(*request, scaled_[ArgMax(scaled_)]);
    } else if (request->probabilities != nullptr) {
      std::fill(request->probabilities, request->probabilities + width, 0.0f);
      request->probabilities[token] = 1.0f;
    }
    request->token = static_cast<int32_t>(token);
    request->logprob = LogProbability(logits[token] - largest, total);
    return Status();
  }

  // Tells whether the sampling has what was added to it in 1.2, which no backend's own sampling knows.
  static bool Adjusts(const ts_sampling& sampling) {
    return sampling.bias_count > 0 || sampling.frequency_penalty != 0.0f || sampling.presence_penalty != 0.0f;
  }

  // The natural log-probability of `token` under a row of logits, and those of the likeliest tokens as for a request.
  Status Score(const float* logits, int64_t width, int32_t token, SampleRequest* request) {
    request->sampling.temperature = 0.0f;
    TS_RETURN_IF_ERROR(Choose(logits, width, request));
    const float largest = logits[request->token];
    request->token = token;
    request->logprob = LogProbability(logits[token] - largest, weigh_(logits, width, largest, nullptr));
    return Status();
  }

 private:
  // Lowest index of the largest value.
  static int64_t ArgMax(const std::vector<float>& values) {
    size_t best = 0;
    for (size_t i = 1; i < values.size(); i++) {
      if (values[i] > values[best]) best = i;
    }
    return static_cast<int64_t>(best);
  }

  // The `count` first of all ids in the order: larger value first, lower id first among equals. `largest` is the
  // largest value: as a rule the first ids are all among the few whose values are close to it, and only those are
  // looked at.
  void Rank(const float* values, size_t width, size_t count, float largest) {
    constexpr float kClose = 12.0f;
    ids_.clear();
    for (size_t i = 0; i < width; i++) {
      if (values[i] >= largest - kClose) ids_.push_back(static_cast<int32_t>(i));
    }
    if (ids_.size() < count) {
      ids_.resize(width);
      for (size_t i = 0; i < width; i++) ids_[i] = static_cast<int32_t>(i);
    }
    const auto before = [values](int32_t a, int32_t b) {
      return values[a] > values[b] || (values[a] == values[b] && a < b);
    };
    const auto end = ids_.begin() + static_cast<int64_t>(count);
    if (count < ids_.size()) std::nth_element(ids_.begin(), end, ids_.end(), before);
    std::sort(ids_.begin(), end, before);
  }

  void ReportTop(const float* logits, int64_t width, float largest, uint64_t total, SampleRequest* request) {
    const size_t asked = request->sampling.top_logprobs;
    if (asked == 0 || request->top_tokens == nullptr || request->top_logprobs == nullptr) return;
    const size_t count = std::min(asked, static_cast<size_t>(width));
    Rank(logits, static_cast<size_t>(width), count, largest);
    for (size_t i = 0; i < asked; i++) {
      request->top_tokens[i] = i < count ? ids_[i] : -1;
      request->top_logprobs[i] = i < count ? LogProbability(logits[ids_[i]] - largest, total) : 0.0f;
    }
  }

  // Divides positive logits of the tokens in history by the penalty, multiplies the others; each token once.
  void Penalise(float penalty, std::span<const int32_t> history) {
    if (penalty == 1.0f) return;
    seen_.assign(scaled_.size(), 0);
    for (int32_t id : history) {
      if (id < 0 || static_cast<size_t>(id) >= scaled_.size() || seen_[id] != 0) continue;
      seen_[id] = 1;
      scaled_[id] = scaled_[id] > 0.0f ? scaled_[id] / penalty : scaled_[id] * penalty;
    }
  }

  void AddBiases(const ts_sampling& sampling) {
    for (uint32_t i = 0; i < sampling.bias_count; i++) {
      const auto id = static_cast<size_t>(sampling.bias_tokens[i]);
      if (id < scaled_.size()) scaled_[id] += sampling.bias_values[i];
    }
  }

  // Takes the frequency and the presence penalty off the tokens of the history from penalty_start on.
  void PenaliseCounts(const ts_sampling& sampling, std::span<const int32_t> history) {
    if (sampling.frequency_penalty == 0.0f && sampling.presence_penalty == 0.0f) return;
    counts_.assign(scaled_.size(), 0);
    for (size_t i = sampling.penalty_start; i < history.size(); i++) {
      const auto id = static_cast<size_t>(history[i]);
      if (id < scaled_.size()) counts_[id]++;
    }
    for (size_t id = 0; id < scaled_.size(); id++) {
      if (counts_[id] == 0) continue;
      const float times = static_cast<float>(counts_[id]) * sampling.frequency_penalty;
      scaled_[id] = (scaled_[id] - times) - sampling.presence_penalty;
    }
  }

  // How many of the first tokens of the ranking top-k and top-p keep; ranks at least that many if it is not all.
  size_t CountKept(const ts_sampling& sampling, uint64_t total, float largest) {
    const size_t width = scaled_.size();
    const size_t limit = sampling.top_k > 0 ? std::min<size_t>(sampling.top_k, width) : width;
    if (limit < width) {
      Rank(scaled_.data(), width, limit, largest);
      total = 0;
      for (size_t i = 0; i < limit; i++) total += weights_[ids_[i]];
    }
    if (sampling.top_p >= 1.0f) return limit;
    const auto wanted = static_cast<uint64_t>(static_cast<double>(sampling.top_p) * static_cast<double>(total));
    for (size_t ranked = limit < width ? limit : std::min<size_t>(64, width);; ranked = std::min(width, ranked * 16)) {
      if (limit == width) Rank(scaled_.data(), width, ranked, largest);
      uint64_t sum = 0;
      for (size_t i = 0; i < ranked; i++) {
        sum += weights_[ids_[i]];
        if (sum >= wanted) return i + 1;
      }
      if (ranked == limit) return limit;
    }
  }

  int64_t Draw(const SampleRequest& request, float largest) {
    const ts_sampling& sampling = request.sampling;
    const size_t width = scaled_.size();
    weights_.resize(width);
    uint64_t total = weigh_(scaled_.data(), static_cast<int64_t>(width), largest, weights_.data());
    const size_t kept = CountKept(sampling, total, largest);
    if (kept < width) {
      kept_.assign(ids_.begin(), ids_.begin() + static_cast<int64_t>(kept));
      seen_.assign(width, 0);
      for (int32_t id : kept_) seen_[id] = 1;
      for (size_t i = 0; i < width; i++) weights_[i] = seen_[i] != 0 ? weights_[i] : 0;
    }
    if (sampling.min_p > 0.0f) {
      for (size_t i = 0; i < width; i++) {
        if (weights_[i] != 0 && Exp(scaled_[i] - largest) < sampling.min_p) weights_[i] = 0;
      }
    }
    total = 0;
    for (uint64_t weight : weights_) total += weight;
    if (request.probabilities != nullptr) {
      for (size_t i = 0; i < width; i++) {
        request.probabilities[i] = static_cast<float>(weights_[i]) / static_cast<float>(total);
      }
    }
    const uint64_t point = DrawPoint(total, DrawWord(sampling.seed, request.position));
    uint64_t sum = 0;
    for (size_t i = 0; i < width; i++) {
      sum += weights_[i];
      if (sum > point) return static_cast<int64_t>(i);
    }
    return static_cast<int64_t>(width) - 1;  // not reached: point is below the sum
  }

  WeighFunction weigh_;
  std::vector<float> scaled_;
  std::vector<uint64_t> weights_;
  std::vector<int32_t> ids_;
  std::vector<int32_t> kept_;
  std::vector<uint8_t> seen_;
  std::vector<uint32_t> counts_;
};

}  // namespace touchstone
