// The choice of a token from a row of logits; the rules and ties are those of core/sampling.h. Probabilities are
// integers, so sums over the vocabulary need no order, and ranks are found by radix selection over keys that no two
// tokens share.
#include "ops.h"
#include "reduce.cuh"

namespace touchstone {
namespace cuda {
namespace {

using Word = unsigned long long;

constexpr int kSampleThreads = 512;
constexpr int kSampleWarps = kSampleThreads / 32;
constexpr int kSlice = 4096;      // tokens of a block in the parallel steps
constexpr int kMaxSlices = 1024;  // larger vocabularies take longer slices
constexpr int kDigit = 256;

// Orders tokens: larger value first, then lower id. Both zeros are equal.
__device__ __forceinline__ Word KeyOf(float value, int64_t id) {
  const uint32_t bits = FloatBits(value + 0.0f);
  const uint32_t ordered = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  return Word{ordered} << 32 | (0xffffffffu - static_cast<uint32_t>(id));
}

__device__ __forceinline__ int64_t IdOf(Word key) { return 0xffffffffu - static_cast<uint32_t>(key); }

// The largest of all threads' keys, for all threads. `shared` holds 33.
__device__ Word BlockLargest(Word key, Word* shared) {
  for (int step = 16; step > 0; step /= 2) key = max(key, __shfl_xor_sync(kAllLanes, key, step));
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = key;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < kSampleWarps; warp++) key = max(key, shared[warp]);
    shared[32] = key;
  }
  __syncthreads();
  return shared[32];
}

// What the parallel steps leave for the last one: per slice the largest key (0 if a logit is not finite), and the sum
// of weights.
struct Partials {
  Word largest[kMaxSlices], total[kMaxSlices];
};

__device__ Word LargestOf(const Word* partials, int slices, Word* shared) {
  Word key = 0, finite = 1;
  for (int i = threadIdx.x; i < slices; i += kSampleThreads) {
    key = max(key, partials[i]);
    if (partials[i] == 0) finite = 0;
  }
  if (BlockSum(1 - finite, shared) != 0) return 0;
  return BlockLargest(key, shared);
}

__global__ void __launch_bounds__(kSampleThreads) LargestKernel(SampleOp op, int64_t slice, Partials* partials) {
  SHARED(Word, shared, 33);
  const int64_t begin = blockIdx.x * slice, end = min(op.width, begin + slice);
  Word key = 0, damaged = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kSampleThreads) {
    const float logit = op.logits[i];
    key = max(key, KeyOf(logit, i));
    if (!IsFinite(logit)) damaged = 1;
  }
  damaged = BlockSum(damaged, shared);
  key = BlockLargest(key, shared);
  if (threadIdx.x == 0) partials->largest[blockIdx.x] = damaged != 0 ? 0 : key;
}

__global__ void __launch_bounds__(kSampleThreads) TotalKernel(SampleOp op, int64_t slice, Partials* partials) {
  SHARED(Word, shared, 33);
  const Word key = LargestOf(partials->largest, gridDim.x, shared);
  const float largest = key != 0 ? op.logits[IdOf(key)] : 0.0f;
  const int64_t begin = blockIdx.x * slice, end = min(op.width, begin + slice);
  Word total = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kSampleThreads)
    total += ProbabilityWeight(op.logits[i] - largest);
  total = BlockSum(total, shared);
  if (threadIdx.x == 0) partials->total[blockIdx.x] = total;
}

// Shared memory of the choice.
struct Choice {
  Word reduce[33], digits[kDigit], found[2];  // found: prefix of the key, what is still wanted
  Word sums[kSampleWarps];
  Word list[kMaxTop];
  int listed;
};

// The largest key such that the tokens from it up have weights of `wanted` (above 0) together; weights null: 1 each.
__device__ Word Select(const float* values, const Word* weights, int64_t width, Word wanted, Choice* shared) {
  if (threadIdx.x == 0) {
    shared->found[0] = 0;
    shared->found[1] = wanted;
  }
  Word mask = 0;
  for (int shift = 56; shift >= 0; shift -= 8) {
    for (int i = threadIdx.x; i < kDigit; i += kSampleThreads) shared->digits[i] = 0;
    __syncthreads();
    const Word prefix = shared->found[0];
    for (int64_t i = threadIdx.x; i < width; i += kSampleThreads) {
      const Word key = KeyOf(values[i], i);
      if ((key & mask) != prefix) continue;
      const Word weight = weights != nullptr ? weights[i] : 1;
      if (weight != 0) atomicAdd(&shared->digits[key >> shift & (kDigit - 1)], weight);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      Word left = shared->found[1];
      int digit = kDigit - 1;
      while (digit > 0 && shared->digits[digit] < left) left -= shared->digits[digit--];
      shared->found[0] = prefix | static_cast<Word>(digit) << shift;
      shared->found[1] = left;
    }
    __syncthreads();
    mask |= static_cast<Word>(kDigit - 1) << shift;
  }
  const Word key = shared->found[0];
  __syncthreads();
  return key;
}

__device__ void ReportTop(const SampleOp& op, float largest, Word total, Choice* shared) {
  const int count = static_cast<int>(min(static_cast<int64_t>(op.top), op.width));
  const Word least = Select(op.logits, nullptr, op.width, count, shared);
  if (threadIdx.x == 0) shared->listed = 0;
  __syncthreads();
  for (int64_t i = threadIdx.x; i < op.width; i += kSampleThreads) {
    const Word key = KeyOf(op.logits[i], i);
    if (key >= least) shared->list[atomicAdd(&shared->listed, 1)] = key;
  }
  __syncthreads();
  if (threadIdx.x < op.top) {
    // The rank of a key is how many are larger; no two are equal.
    int rank = threadIdx.x, id = -1;
    float logprob = 0.0f;
    if (rank < count) {
      const Word key = shared->list[threadIdx.x];
      rank = 0;
      for (int i = 0; i < count; i++) rank += shared->list[i] > key;
      id = static_cast<int>(IdOf(key));
      logprob = LogProbability(op.logits[id] - largest, total);
    }
    op.result->top_tokens[rank] = id;
    op.result->top_logprobs[rank] = logprob;
  }
  __syncthreads();
}

// Repetition penalty and temperature into `scaled`; the key of the largest penalised logit, before the temperature.
__device__ Word ScaleLogits(const SampleOp& op, Choice* shared) {
  const bool penalised = op.penalty != 1.0f;
  if (penalised) {
    for (int64_t i = threadIdx.x; i < op.width; i += kSampleThreads) op.seen[i] = 0;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < op.history_count; i += kSampleThreads) {
      const int32_t id = op.history[i];
      if (id >= 0 && id < op.width) atomicExch(&op.seen[id], 1);
    }
    __syncthreads();
  }
  Word best = 0;
  for (int64_t i = threadIdx.x; i < op.width; i += kSampleThreads) {
    float value = op.logits[i];
    if (penalised && op.seen[i] != 0) value = value > 0.0f ? value / op.penalty : value * op.penalty;
    best = max(best, KeyOf(value, i));
    op.scaled[i] = op.temperature > 0.0f ? value / op.temperature : value;
  }
  return BlockLargest(best, shared->reduce);
}

// Weights of all tokens, zero for those that top-k, top-p and min-p drop; their sum.
__device__ Word Filter(const SampleOp& op, float largest, Choice* shared) {
  Word total = 0;
  for (int64_t i = threadIdx.x; i < op.width; i += kSampleThreads) {
    const Word weight = ProbabilityWeight(op.scaled[i] - largest);
    op.weights[i] = weight;
    total += weight;
  }
  total = BlockSum(total, shared->reduce);
  Word least = 0;  // key
  if (op.top_k > 0 && op.top_k < op.width) {
    least = Select(op.scaled, nullptr, op.width, op.top_k, shared);
    total = 0;
    for (int64_t i = threadIdx.x; i < op.width; i += kSampleThreads) {
      if (KeyOf(op.scaled[i], i) >= least) total += op.weights[i];
    }
    total = BlockSum(total, shared->reduce);
  }
  if (op.top_p < 1.0f) {
    const Word wanted = static_cast<Word>(static_cast<double>(op.top_p) * static_cast<double>(total));
    least = max(least, Select(op.scaled, op.weights, op.width, wanted > 0 ? wanted : 1, shared));
  }
  total = 0;
  for (int64_t i = threadIdx.x; i < op.width; i += kSampleThreads) {
    const bool kept =
        KeyOf(op.scaled[i], i) >= least && (op.min_p <= 0.0f || !(Exp(op.scaled[i] - largest) < op.min_p));
    if (!kept) op.weights[i] = 0;
    total += op.weights[i];
  }
  return BlockSum(total, shared->reduce);
}

// The first token, by id, up to which the weights sum to more than `point`.
__device__ int64_t DrawToken(const SampleOp& op, Word point, Choice* shared) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t share = (op.width + kSampleThreads - 1) / kSampleThreads * 32;  // of a warp
  const int64_t begin = min(op.width, warp * share), end = min(op.width, begin + share);
  Word sum = 0;
  for (int64_t i = begin + lane; i < end; i += 32) sum += op.weights[i];
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(kAllLanes, sum, step);
  if (lane == 0) shared->sums[warp] = sum;
  if (threadIdx.x == 0) shared->found[0] = static_cast<Word>(op.width - 1);
  __syncthreads();
  Word before = 0;
  for (int i = 0; i < warp; i++) before += shared->sums[i];
  if (before <= point && point < before + sum) {
    for (int64_t i = begin; i < end; i += 32) {
      Word prefix = i + lane < end ? op.weights[i + lane] : 0;
      for (int step = 1; step < 32; step *= 2) {
        const Word below = __shfl_up_sync(kAllLanes, prefix, step);
        if (lane >= step) prefix += below;
      }
      const unsigned beyond = __ballot_sync(kAllLanes, before + prefix > point);
      if (beyond != 0) {
        if (lane == 0) shared->found[0] = static_cast<Word>(i + __ffs(static_cast<int>(beyond)) - 1);
        break;
      }
      before += __shfl_sync(kAllLanes, prefix, 31);
    }
  }
  __syncthreads();
  return static_cast<int64_t>(shared->found[0]);
}

__global__ void __launch_bounds__(kSampleThreads) ChooseKernel(SampleOp op, int slices, const Partials* partials) {
  SHARED(Choice, choice, 1);
  Choice* shared = choice;
  const Word best = LargestOf(partials->largest, slices, shared->reduce);
  if (threadIdx.x == 0) op.result->finite = best != 0;
  if (best == 0) return;
  Word total = 0;
  for (int i = threadIdx.x; i < slices; i += kSampleThreads) total += partials->total[i];
  total = BlockSum(total, shared->reduce);
  const float largest = op.logits[IdOf(best)];
  if (op.top > 0) ReportTop(op, largest, total, shared);

  int64_t token = IdOf(best);
  bool draw = false;
  if (op.penalty != 1.0f || op.temperature > 0.0f) {
    token = IdOf(ScaleLogits(op, shared));
    draw = op.temperature > 0.0f && IsFinite(op.scaled[token]);
  }
  if (draw) {
    const Word sum = Filter(op, op.scaled[token], shared);
    if (op.probabilities != nullptr) {
      for (int64_t i = threadIdx.x; i < op.width; i += kSampleThreads) {
        op.probabilities[i] = static_cast<float>(op.weights[i]) / static_cast<float>(sum);
      }
    }
    token = DrawToken(op, DrawPoint(sum, DrawWord(op.seed, op.position)), shared);
  } else if (op.probabilities != nullptr) {
    for (int64_t i = threadIdx.x; i < op.width; i += kSampleThreads) op.probabilities[i] = i == token ? 1.0f : 0.0f;
  }
  if (threadIdx.x == 0) {
    op.result->token = static_cast<int32_t>(token);
    op.result->logprob = LogProbability(op.logits[token] - largest, total);
  }
}

}  // namespace

uint64_t SamplePartialBytes() { return sizeof(Partials); }

gpu::Status Run(const SampleOp& op, gpu::Stream* stream) {
  int64_t slice = kSlice;
  while (slice * kMaxSlices < op.width) slice *= 2;
  const auto slices = static_cast<unsigned>((op.width + slice - 1) / slice);
  auto* partials = static_cast<Partials*>(op.partials);
  gpu::Status status = LAUNCH(LargestKernel, slices, kSampleThreads, 0, stream)(op, slice, partials);
  if (status.ok()) status = LAUNCH(TotalKernel, slices, kSampleThreads, 0, stream)(op, slice, partials);
  if (status.ok()) status = LAUNCH(ChooseKernel, 1, kSampleThreads, 0, stream)(op, static_cast<int>(slices), partials);
  return status;
}

}  // namespace cuda
}  // namespace touchstone
