// The choice of a token from a row of logits; the rules and ties are those of core/sampling.h. Probabilities are
// integers, so sums over the vocabulary need no order, and ranks are found by keys that no two tokens share.
//
// Many blocks share the vocabulary, a slice each: ScaleKernel finds the largest logits, WeighKernel the weights and,
// for top-k and top-p, how many tokens lie how far below the largest. Then one block finishes: ThresholdKernel the rank
// that top-k and top-p end at, ChooseKernel the token; between these FilterKernel drops what is below the threshold.
#include "ops.h"
#include "reduce.cuh"

namespace touchstone {
namespace cuda {
namespace {

using Word = unsigned long long;

constexpr int kSampleThreads = 512;
constexpr int kSampleWarps = kSampleThreads / 32;
constexpr int kMaxSlices = 1024;       // a slice is as many tokens as threads; larger vocabularies take several each
constexpr int kBuckets = 2048;         // of distances below the largest; the last one holds all the rest
constexpr float kBucketsPerUnit = 64;  // so that weights beyond 32 units, which are 0, share the last
constexpr int kListed = 1024;          // tokens of a bucket that are ranked in shared memory
constexpr int kDigit = 256;

// What the kernels leave to those after them.
struct Partials {
  Word largest[kMaxSlices];   // key of a slice's largest logit; 0 if one is not finite
  Word best[kMaxSlices];      // the same after the repetition penalty
  Word total[kMaxSlices];     // weights of the logits
  Word kept[kMaxSlices];      // weights of the draw
  Word weights[kBuckets];     // of the draw, by bucket
  Word counts[kBuckets];      // of scaled logits
  Word top_counts[kBuckets];  // of logits
  Word least;                 // key of the last token that top-k and top-p keep
};

// Shared memory of a block.
struct Room {
  Word reduce[33], scan[kSampleWarps], found[2];
  Word digits[kDigit];
  Word list[kListed], list_weights[kListed];
  int listed;
};

// Orders tokens: larger value first, then lower id. Both zeros are equal.
__device__ __forceinline__ Word KeyOf(float value, int64_t id) {
  const uint32_t bits = FloatBits(value + 0.0f);
  const uint32_t ordered = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  return Word{ordered} << 32 | (0xffffffffu - static_cast<uint32_t>(id));
}

__device__ __forceinline__ int64_t IdOf(Word key) { return 0xffffffffu - static_cast<uint32_t>(key); }

// Never smaller for a smaller value: subtraction and multiplication round monotonically.
__device__ __forceinline__ int BucketOf(float value, float largest) {
  const float distance = (largest - value) * kBucketsPerUnit;
  return distance < static_cast<float>(kBuckets - 1) ? static_cast<int>(distance) : kBuckets - 1;
}

// The largest of all threads' keys, for all threads. `shared` holds 33.
__device__ Word BlockLargest(Word key, Word* shared) {
  for (int step = 16; step > 0; step /= 2) key = max(key, __shfl_xor_sync(kAllLanes, key, step));
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = key;
  __syncthreads();
  if (threadIdx.x < 32) {
    key = threadIdx.x < kSampleWarps ? shared[threadIdx.x] : 0;
    for (int step = 16; step > 0; step /= 2) key = max(key, __shfl_xor_sync(kAllLanes, key, step));
    if (threadIdx.x == 0) shared[32] = key;
  }
  __syncthreads();
  return shared[32];
}

// The largest of all slices' keys, or 0 if one of them is 0; for all threads.
__device__ Word LargestOf(const Word* partials, int slices, Word* shared) {
  Word key = 0;
  bool damaged = false;
  for (int i = threadIdx.x; i < slices; i += kSampleThreads) {
    key = max(key, partials[i]);
    damaged = damaged || partials[i] == 0;
  }
  // No key is as large as this one, whose value would be a NaN.
  const Word largest = BlockLargest(damaged ? ~Word{0} : key, shared);
  return largest == ~Word{0} ? 0 : largest;
}

__device__ Word SumOf(const Word* partials, int slices, Word* shared) {
  Word sum = 0;
  for (int i = threadIdx.x; i < slices; i += kSampleThreads) sum += partials[i];
  return BlockSum(sum, shared);
}

struct Crossing {
  int64_t index;  // `count` if there is none
  Word before;    // sum of the values before it
};

// The first index at which value(0) + ... + value(index) exceeds `point`; for all threads.
template <class Value>
__device__ Crossing FindCrossing(int64_t count, Word point, const Value& value, Room* room) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  Word before = 0;
  for (int64_t begin = 0; begin < count; begin += kSampleThreads) {
    const int64_t i = begin + threadIdx.x;
    const Word own = i < count ? value(i) : 0;
    Word sum = own;
    for (int step = 1; step < 32; step *= 2) {
      const Word below = __shfl_up_sync(kAllLanes, sum, step);
      if (lane >= step) sum += below;
    }
    __syncthreads();
    if (lane == 31) room->scan[warp] = sum;
    if (threadIdx.x == 0) room->found[0] = ~Word{0};
    __syncthreads();
    Word all = before;
    for (int w = 0; w < kSampleWarps; w++) {
      if (w == warp) sum += all;
      all += room->scan[w];
    }
    if (sum > point && sum - own <= point) {
      room->found[0] = static_cast<Word>(i);
      room->found[1] = sum - own;
    }
    __syncthreads();
    if (room->found[0] != ~Word{0}) return {static_cast<int64_t>(room->found[0]), room->found[1]};
    before = all;
  }
  return {count, before};
}

// Repetition penalty and temperature into `scaled`; the largest keys before and after the penalty.
__global__ void __launch_bounds__(kSampleThreads) ScaleKernel(SampleOp op, int64_t slice, Partials* partials) {
  SHARED(Word, shared, 33);
  SHARED(int, seen, kSampleThreads);
  gpu::AwaitPrevious();
  for (int64_t i = int64_t{blockIdx.x} * kSampleThreads + threadIdx.x; i < kBuckets;
       i += int64_t{gridDim.x} * kSampleThreads) {
    partials->weights[i] = partials->counts[i] = partials->top_counts[i] = 0;
  }
  const int64_t begin = blockIdx.x * slice, end = min(op.width, begin + slice);
  Word largest = 0, best = 0;
  bool finite = true;
  for (int64_t first = begin; first < end; first += kSampleThreads) {
    const int64_t i = first + threadIdx.x;
    if (op.penalty != 1.0f) {
      __syncthreads();
      seen[threadIdx.x] = 0;
      __syncthreads();
      for (int64_t h = threadIdx.x; h < op.history_count; h += kSampleThreads) {
        const int64_t at = op.history[h] - first;
        if (at >= 0 && at < kSampleThreads) atomicExch(&seen[at], 1);
      }
      __syncthreads();
    }
    if (i >= end) continue;
    float value = op.logits[i];
    finite = finite && IsFinite(value);
    largest = max(largest, KeyOf(value, i));
    if (op.penalty != 1.0f && seen[threadIdx.x] != 0) value = value > 0.0f ? value / op.penalty : value * op.penalty;
    best = max(best, KeyOf(value, i));
    if (op.temperature > 0.0f) op.scaled[i] = value / op.temperature;
  }
  largest = BlockLargest(finite ? largest : ~Word{0}, shared);
  best = BlockLargest(best, shared);
  if (threadIdx.x == 0) {
    partials->largest[blockIdx.x] = largest != ~Word{0} ? largest : 0;
    partials->best[blockIdx.x] = best;
  }
}

// Whether a token is drawn, and not simply the largest taken; `best` is the key of the largest penalised logit.
__device__ __forceinline__ bool Draws(const SampleOp& op, Word best) {
  return op.temperature > 0.0f && IsFinite(op.scaled[IdOf(best)]);
}

__global__ void __launch_bounds__(kSampleThreads) WeighKernel(SampleOp op, int64_t slice, Partials* partials) {
  SHARED(Word, shared, 33);
  gpu::AwaitPrevious();
  const Word key = LargestOf(partials->largest, gridDim.x, shared);
  const Word best = LargestOf(partials->best, gridDim.x, shared);
  const bool finite = key != 0, draw = finite && Draws(op, best);
  const float largest = finite ? op.logits[IdOf(key)] : 0.0f, largest_scaled = draw ? op.scaled[IdOf(best)] : 0.0f;
  const int64_t begin = blockIdx.x * slice, end = finite ? min(op.width, begin + slice) : 0;
  Word total = 0, kept = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kSampleThreads) {
    const float logit = op.logits[i];
    total += ProbabilityWeight(logit - largest);
    if (op.top > 0) {
      const int bucket = BucketOf(logit, largest);
      if (bucket < kBuckets - 1) atomicAdd(&partials->top_counts[bucket], Word{1});
    }
    if (!draw) continue;
    const float scaled = op.scaled[i];
    const Word weight = ProbabilityWeight(scaled - largest_scaled);
    op.weights[i] = weight;
    kept += weight;
    const int bucket = BucketOf(scaled, largest_scaled);
    if (bucket == kBuckets - 1) continue;  // needs no figures: it is where the search ends that finds no other
    if (op.top_k > 0) atomicAdd(&partials->counts[bucket], Word{1});
    if (op.top_p < 1.0f) atomicAdd(&partials->weights[bucket], weight);
  }
  total = BlockSum(total, shared);
  kept = BlockSum(kept, shared);
  if (threadIdx.x == 0) {
    partials->total[blockIdx.x] = total;
    partials->kept[blockIdx.x] = kept;
  }
}

// The largest key such that the tokens of a bucket from it up have weights of `wanted` (above 0) together; weights
// null: 1 each. Takes any number of tokens, eight times over.
__device__ Word SelectWithin(int bucket, const float* values, const Word* weights, int64_t width, float largest,
                             Word wanted, Room* room) {
  if (threadIdx.x == 0) {
    room->found[0] = 0;
    room->found[1] = wanted;
  }
  Word mask = 0;
  for (int shift = 56; shift >= 0; shift -= 8) {
    for (int i = threadIdx.x; i < kDigit; i += kSampleThreads) room->digits[i] = 0;
    __syncthreads();
    const Word prefix = room->found[0];
    UNROLL_BY(8)
    for (int64_t i = threadIdx.x; i < width; i += kSampleThreads) {
      const float value = values[i];
      if (BucketOf(value, largest) != bucket) continue;
      const Word key = KeyOf(value, i);
      if ((key & mask) != prefix) continue;
      const Word weight = weights != nullptr ? weights[i] : 1;
      if (weight != 0) atomicAdd(&room->digits[key >> shift & (kDigit - 1)], weight);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      Word left = room->found[1];
      int digit = kDigit - 1;
      while (digit > 0 && room->digits[digit] < left) left -= room->digits[digit--];
      room->found[0] = prefix | static_cast<Word>(digit) << shift;
      room->found[1] = left;
    }
    __syncthreads();
    mask |= static_cast<Word>(kDigit - 1) << shift;
  }
  const Word key = room->found[0];
  __syncthreads();
  return key;
}

// The largest key such that the tokens from it up have weights of `wanted` (above 0) together; weights null: 1 each.
// The sums of the buckets name the bucket that the key lies in, and only its tokens are ranked.
__device__ Word Select(const float* values, const Word* weights, const Word* buckets, int64_t width, float largest,
                       Word wanted, Room* room) {
  const Crossing bucket = FindCrossing(
      kBuckets - 1, wanted - 1, [&](int64_t i) { return buckets[i]; }, room);
  const Word wanted_here = wanted - bucket.before;
  if (threadIdx.x == 0) room->listed = 0;
  __syncthreads();
  UNROLL_BY(8)
  for (int64_t i = threadIdx.x; i < width; i += kSampleThreads) {
    const float value = values[i];
    if (BucketOf(value, largest) != bucket.index) continue;
    const int at = atomicAdd(&room->listed, 1);
    if (at >= kListed) continue;
    room->list[at] = KeyOf(value, i);
    room->list_weights[at] = weights != nullptr ? weights[i] : 1;
  }
  __syncthreads();
  const int listed = room->listed;
  if (listed > kListed) {
    return SelectWithin(static_cast<int>(bucket.index), values, weights, width, largest, wanted_here, room);
  }
  for (int mine = threadIdx.x; mine < listed; mine += kSampleThreads) {
    const Word key = room->list[mine], weight = room->list_weights[mine];
    Word sum = 0;  // of the tokens from this one up
    for (int i = 0; i < listed; i++) sum += room->list[i] >= key ? room->list_weights[i] : 0;
    if (sum >= wanted_here && sum - weight < wanted_here) room->found[0] = key;
  }
  __syncthreads();
  const Word key = room->found[0];
  __syncthreads();
  return key;
}

// One block: the key of the last token that top-k and top-p keep.
__global__ void __launch_bounds__(kSampleThreads) ThresholdKernel(SampleOp op, int slices, Partials* partials) {
  SHARED(Room, rooms, 1);
  Room* room = rooms;
  gpu::AwaitPrevious();
  const bool finite = LargestOf(partials->largest, slices, room->reduce) != 0;
  const Word best = LargestOf(partials->best, slices, room->reduce);
  if (!finite || !Draws(op, best)) return;
  const float largest = op.scaled[IdOf(best)];
  Word least = 0, total = 0;
  const bool counted = op.top_k > 0 && op.top_k < op.width;
  if (counted) {
    least = Select(op.scaled, nullptr, partials->counts, op.width, largest, op.top_k, room);
    UNROLL_BY(8)
    for (int64_t i = threadIdx.x; i < op.width; i += kSampleThreads) {
      if (KeyOf(op.scaled[i], i) >= least) total += op.weights[i];
    }
    total = BlockSum(total, room->reduce);
  } else {
    total = SumOf(partials->kept, slices, room->reduce);
  }
  if (op.top_p < 1.0f) {
    const Word wanted = static_cast<Word>(static_cast<double>(op.top_p) * static_cast<double>(total));
    least =
        max(least, Select(op.scaled, op.weights, partials->weights, op.width, largest, wanted > 0 ? wanted : 1, room));
  }
  if (threadIdx.x == 0) partials->least = least;
}

// Drops the weights of the tokens below the threshold and those that min-p drops.
__global__ void __launch_bounds__(kSampleThreads) FilterKernel(SampleOp op, int64_t slice, Partials* partials) {
  SHARED(Word, shared, 33);
  gpu::AwaitPrevious();
  const bool finite = LargestOf(partials->largest, gridDim.x, shared) != 0;
  const Word best = LargestOf(partials->best, gridDim.x, shared);
  if (!finite || !Draws(op, best)) return;
  const float largest = op.scaled[IdOf(best)];
  const Word least = op.top_p < 1.0f || op.top_k > 0 ? partials->least : 0;
  const int64_t begin = blockIdx.x * slice, end = min(op.width, begin + slice);
  Word kept = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kSampleThreads) {
    const float value = op.scaled[i];
    if (KeyOf(value, i) >= least && (op.min_p <= 0.0f || !(Exp(value - largest) < op.min_p))) {
      kept += op.weights[i];
    } else {
      op.weights[i] = 0;
    }
  }
  kept = BlockSum(kept, shared);
  if (threadIdx.x == 0) partials->kept[blockIdx.x] = kept;
}

__device__ void ReportTop(const SampleOp& op, float largest, Word total, const Partials* partials, Room* room) {
  const int count = static_cast<int>(min(static_cast<int64_t>(op.top), op.width));
  const Word least = Select(op.logits, nullptr, partials->top_counts, op.width, largest, count, room);
  if (threadIdx.x == 0) room->listed = 0;
  __syncthreads();
  for (int64_t i = threadIdx.x; i < op.width; i += kSampleThreads) {
    const Word key = KeyOf(op.logits[i], i);
    if (key >= least) room->list[atomicAdd(&room->listed, 1)] = key;
  }
  __syncthreads();
  if (threadIdx.x < op.top) {
    // The rank of a key is how many are larger; no two are equal.
    int rank = threadIdx.x, id = -1;
    float logprob = 0.0f;
    if (rank < count) {
      const Word key = room->list[threadIdx.x];
      rank = 0;
      for (int i = 0; i < count; i++) rank += room->list[i] > key;
      id = static_cast<int>(IdOf(key));
      logprob = LogProbability(op.logits[id] - largest, total);
    }
    op.result->top_tokens[rank] = id;
    op.result->top_logprobs[rank] = logprob;
  }
  __syncthreads();
}

// One block: draws the token, and fills in the result.
__global__ void __launch_bounds__(kSampleThreads)
    ChooseKernel(SampleOp op, int64_t slice, int slices, const Partials* partials) {
  SHARED(Room, rooms, 1);
  Room* room = rooms;
  gpu::AwaitPrevious();
  const Word key = LargestOf(partials->largest, slices, room->reduce);
  // Every field is written: the host copies the whole result.
  if (threadIdx.x == 0) {
    op.result->finite = key != 0;
    op.result->token = -1;
    op.result->logprob = 0.0f;
  }
  for (int i = static_cast<int>(threadIdx.x); i < kMaxTop; i += kSampleThreads) {
    op.result->top_tokens[i] = -1;
    op.result->top_logprobs[i] = 0.0f;
  }
  if (key == 0) return;
  const Word best = LargestOf(partials->best, slices, room->reduce);
  const Word total = SumOf(partials->total, slices, room->reduce);
  const float largest = op.logits[IdOf(key)];
  if (op.top > 0) ReportTop(op, largest, total, partials, room);

  int64_t token = IdOf(best);
  if (Draws(op, best)) {
    const Word sum = SumOf(partials->kept, slices, room->reduce);
    if (op.probabilities != nullptr) {
      for (int64_t i = threadIdx.x; i < op.width; i += kSampleThreads) {
        op.probabilities[i] = static_cast<float>(op.weights[i]) / static_cast<float>(sum);
      }
    }
    // The first token, by id, up to which the weights sum to more than the point.
    const Word point = DrawPoint(sum, DrawWord(op.seed, op.position));
    const Crossing where = FindCrossing(
        slices, point, [&](int64_t i) { return partials->kept[i]; }, room);
    const int64_t begin = where.index * slice;
    const Crossing drawn = FindCrossing(
        min(slice, op.width - begin), point - where.before, [&](int64_t i) { return op.weights[begin + i]; }, room);
    token = begin + drawn.index;
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
  int64_t slice = kSampleThreads;
  while (slice * kMaxSlices < op.width) slice *= 2;
  const auto slices = static_cast<unsigned>((op.width + slice - 1) / slice);
  const int count = static_cast<int>(slices);
  auto* partials = static_cast<Partials*>(op.partials);
  const bool ranked = op.temperature > 0.0f && (op.top_k > 0 || op.top_p < 1.0f);
  const bool filtered = ranked || (op.temperature > 0.0f && op.min_p > 0.0f);
  gpu::Status status = LAUNCH_EARLY(ScaleKernel, slices, kSampleThreads, 0, stream)(op, slice, partials);
  if (status.ok()) status = LAUNCH_EARLY(WeighKernel, slices, kSampleThreads, 0, stream)(op, slice, partials);
  if (status.ok() && ranked) {
    status = LAUNCH_EARLY(ThresholdKernel, 1, kSampleThreads, 0, stream)(op, count, partials);
  }
  if (status.ok() && filtered) {
    status = LAUNCH_EARLY(FilterKernel, slices, kSampleThreads, 0, stream)(op, slice, partials);
  }
  if (!status.ok()) return status;
  return LAUNCH_EARLY(ChooseKernel, 1, kSampleThreads, 0, stream)(op, slice, count, partials);
}

}  // namespace cuda
}  // namespace touchstone
