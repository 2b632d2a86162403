#include "executor.h"

#include <cstring>
#include <new>

__thread uint3 threadIdx, blockIdx;
__thread dim3 blockDim, gridDim;

namespace simt {
namespace {

constexpr size_t kRedZone = 64;
constexpr size_t kMaxSharedArrays = 64;
// As floats signalling NaNs, as halves NaNs, as integers far out of any range.
constexpr unsigned char kPoison[2] = {0xad, 0x7f};
constexpr unsigned kAtomicsPerYield = 4096;
constexpr unsigned kIdleRounds = 1024;

// The executor that runs on this host thread. Fibers stay on one host thread for a whole block.
__thread Executor* executor = nullptr;

}  // namespace

void Poison(void* memory, size_t bytes) {
  auto* out = static_cast<unsigned char*>(memory);
  for (size_t i = 0; i < bytes; i++) out[i] = kPoison[i & 1];
}

void Random::Reset(uint64_t seed, uint64_t stream) {
  // The finaliser of splitmix64 (Steele et al. 2014) spreads neighbouring seeds apart.
  uint64_t z = seed + 0x9e3779b97f4a7c15 * (stream + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  state_ = (z ^ (z >> 31)) | 1;
}

uint64_t Random::Next() {
  state_ ^= state_ >> 12;
  state_ ^= state_ << 25;
  state_ ^= state_ >> 27;
  return state_ * 0x2545f4914f6cdd1d;
}

Executor::Executor()
    : threads_(new Thread[kMaxBlockThreads]()),
      shared_(new (std::align_val_t(64)) unsigned char[kMaxSharedBytes + kMaxSharedArrays * 2 * kRedZone]) {
  // Nothing is allocated, and so nothing can throw, on a fiber.
  fibers_.reserve(kMaxBlockThreads);
  idle_.reserve(kMaxBlockThreads);
  arrays_.reserve(kMaxSharedArrays);
}

Executor::~Executor() { SIMT_UNPOISON(shared_.get(), kMaxSharedBytes + kMaxSharedArrays * 2 * kRedZone); }

void Executor::Begin(const LaunchRequest& request) {
  request_ = &request;
  fault_ = Fault();
  const dim3& shape = request.block;
  if (shape.x != shape_.x || shape.y != shape_.y || shape.z != shape_.z) {
    shape_ = shape;
    count_ = shape.x * shape.y * shape.z;
    for (unsigned i = 0; i < count_; i++) {
      threads_[i].index = {i % shape.x, i / shape.x % shape.y, i / (shape.x * shape.y)};
    }
  }
  SIMT_UNPOISON(shared_.get(), kMaxSharedBytes + kMaxSharedArrays * 2 * kRedZone);
  arrays_.clear();
  shared_bytes_ = shared_extent_ = 0;
  AddArray(nullptr, request.dynamic_shared_bytes);
}

bool Executor::RunBlock(const uint3& block, uint64_t seed) {
  executor = this;
  block_ = block;
  blockIdx = block;
  blockDim = request_->block;
  gridDim = request_->grid;
  random_.Reset(seed, 0);
  for (const SharedArray& array : arrays_) Poison(shared_.get() + array.offset, array.bytes);
  for (unsigned i = 0; i < count_; i++) {
    threads_[i].state = State::kNew;
    threads_[i].fiber = nullptr;
  }
  exited_ = head_ = tail_ = atomics_ = idle_rounds_ = 0;
  PushAllShuffled();
  Fiber* first = IdleFiber();
  if (first == nullptr) {
    Report(FaultKind::kStackExhausted, threads_[0], {"", 0}, "no memory for a fiber's stack");
    return false;
  }
  Fiber::SwitchTo(&main_, first);
  if (fault_.kind == FaultKind::kNone) CheckSharedOverruns();
  if (fault_.kind == FaultKind::kNone) return true;
  DiscardFibers();
  return false;
}

// --- threads ---

void Executor::PushAllShuffled() {
  for (unsigned i = 0; i < count_; i++) {
    const unsigned j = random_.Below(i + 1);
    queue_[i] = queue_[j];
    queue_[j] = static_cast<uint16_t>(i);
  }
  head_ = 0;
  tail_ = count_;
}

// The next thread to run; null when the block is over or, with a fault reported, cannot go on.
Executor::Thread* Executor::Take() {
  if (head_ == tail_ && (exited_ == count_ || !ReleaseBarrier())) return nullptr;
  return &threads_[queue_[head_++ % kMaxBlockThreads]];
}

bool Executor::ReleaseBarrier() {
  const Site site = threads_[0].site;
  for (unsigned i = 0; i < count_; i++) {
    if (threads_[i].state != State::kBarrier || !(threads_[i].site == site)) {
      Diagnose();
      return false;
    }
  }
  for (unsigned i = 0; i < count_; i++) threads_[i].state = State::kReady;
  idle_rounds_ = 0;
  PushAllShuffled();
  return true;
}

// Not inlined: the address of a thread-local must not be kept across a switch in FiberLoop, whose fiber may go on on
// another host thread in a later launch.
[[gnu::noinline]] void Executor::Enter(Thread* thread) {
  current_ = thread;
  threadIdx = thread->index;
}

void Executor::FiberLoop(Fiber* self) {
  for (;;) {
    Thread* thread = pending_ ? pending_ : Take();
    pending_ = nullptr;
    while (thread && thread->fiber == nullptr) {
      thread->fiber = self;
      Enter(thread);
      request_->invoke(request_->arguments);
      thread->state = State::kExited;
      exited_++;
      idle_rounds_ = 0;
      thread = Take();
    }
    idle_.push_back(self);
    if (thread == nullptr) {
      Fiber::SwitchTo(self, &main_);
    } else {
      Enter(thread);
      Fiber::SwitchTo(self, thread->fiber);
    }
  }
}

Fiber* Executor::IdleFiber() {
  if (!idle_.empty()) {
    Fiber* fiber = idle_.back();
    idle_.pop_back();
    return fiber;
  }
  const auto entry = [](void* self, Fiber* fiber) { static_cast<Executor*>(self)->FiberLoop(fiber); };
  std::unique_ptr<Fiber> fiber(new (std::nothrow) Fiber(entry, this));
  if (fiber == nullptr || !fiber->AllocateStack(static_cast<unsigned>(fibers_.size()))) return nullptr;
  fibers_.push_back(std::move(fiber));
  return fibers_.back().get();
}

// After a fault fibers stand in the middle of their threads; kernels own nothing, so they are simply dropped.
void Executor::DiscardFibers() {
  idle_.clear();
  pending_ = nullptr;
  for (const auto& fiber : fibers_) {
    fiber->Restart();
    idle_.push_back(fiber.get());
  }
}

// The current thread cannot go on: runs others until it can.
void Executor::Wait() {
  Fiber* self = current_->fiber;
  Thread* next = Take();
  if (next == nullptr) Abandon();
  if (next->fiber != nullptr) {
    Enter(next);
    if (next->fiber != self) Fiber::SwitchTo(self, next->fiber);
    return;
  }
  Fiber* idle = IdleFiber();
  if (idle == nullptr) {
    Report(FaultKind::kStackExhausted, *next, {"", 0}, "no memory for a fiber's stack");
    Abandon();
  }
  pending_ = next;
  Fiber::SwitchTo(self, idle);
}

void Executor::Abandon() {
  Fiber::SwitchTo(current_->fiber, &main_);
  __builtin_unreachable();
}

// --- barriers and warps ---

void Executor::Barrier(Site site) {
  current_->state = State::kBarrier;
  current_->site = site;
  Wait();
}

uint64_t Executor::WarpCollective(WarpOp op, unsigned mask, uint64_t value, unsigned source, unsigned width,
                                  Site site) {
  Thread& self = *current_;
  const unsigned id = static_cast<unsigned>(&self - threads_.get());
  if ((mask >> (id % warpSize) & 1) == 0) {
    Report(FaultKind::kMaskOmitsCaller, self, site, "%s with mask 0x%08x, which does not name the calling lane %u",
           OpName(op), mask, id % warpSize);
    Abandon();
  }
  self.state = State::kWarp;
  self.op = op;
  self.mask = mask;
  self.value = value;
  self.source = source;
  self.width = static_cast<uint8_t>(width);
  self.site = site;
  const unsigned first = id - id % warpSize;
  if (WarpAgrees(first, self)) {
    CompleteWarp(first, self);
  } else {
    Wait();
  }
  return self.value;
}

// Whether every lane that the mask names waits in the same operation.
bool Executor::WarpAgrees(unsigned first, const Thread& with) const {
  for (unsigned rest = with.mask; rest != 0; rest &= rest - 1) {
    const unsigned id = first + std::countr_zero(rest);
    if (id >= count_) return false;
    const Thread& lane = threads_[id];
    if (lane.state != State::kWarp || lane.mask != with.mask || lane.op != with.op || lane.width != with.width ||
        !(lane.site == with.site)) {
      return false;
    }
  }
  return true;
}

void Executor::CompleteWarp(unsigned first, const Thread& last) {
  const unsigned mask = last.mask;
  uint64_t results[warpSize];
  uint64_t votes = 0;
  if (last.op == WarpOp::kBallot) {
    for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
      const unsigned lane = std::countr_zero(rest);
      votes |= threads_[first + lane].value << lane;
    }
  }
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    const unsigned lane = std::countr_zero(rest);
    const Thread& thread = threads_[first + lane];
    const unsigned group = lane & ~(thread.width - 1u), group_last = group + thread.width - 1u;
    unsigned from = lane;
    switch (last.op) {
      case WarpOp::kSync:
        break;
      case WarpOp::kBallot:
        results[lane] = votes;
        continue;
      case WarpOp::kShuffle:
        from = group + (thread.source & (thread.width - 1u));
        break;
      case WarpOp::kShuffleUp:
        if (lane - group >= thread.source) from = lane - thread.source;
        break;
      case WarpOp::kShuffleDown:
        if (group_last - lane >= thread.source) from = lane + thread.source;
        break;
      case WarpOp::kShuffleXor:
        if ((lane ^ thread.source) <= group_last) from = lane ^ thread.source;
        break;
    }
    if ((mask >> from & 1) == 0) {
      Report(FaultKind::kMaskNamesAbsentLane, thread, thread.site,
             "%s reads lane %u, which its mask 0x%08x does not name", OpName(last.op), from, mask);
      Abandon();
    }
    results[lane] = threads_[first + from].value;
  }
  // The caller goes on at once, the others in an order of their own: a random rotation and odd stride.
  const unsigned offset = random_.Below(warpSize), stride = 2 * random_.Below(warpSize / 2) + 1;
  for (unsigned i = 0; i < warpSize; i++) {
    const unsigned lane = (offset + i * stride) % warpSize;
    if ((mask >> lane & 1) == 0) continue;
    Thread& thread = threads_[first + lane];
    thread.value = results[lane];
    thread.state = State::kReady;
    if (&thread != &last) Push(first + lane);
  }
  idle_rounds_ = 0;
}

void Executor::CountAtomic(Site site) {
  if (++atomics_ < kAtomicsPerYield) return;
  atomics_ = 0;
  if (++idle_rounds_ > kIdleRounds + 8 * (tail_ - head_)) {
    Report(FaultKind::kDeadlock, *current_, site,
           "spins on an atomic that nothing in its block changes (blocks run one after another: none may wait for "
           "another block)");
    Abandon();
  }
  Push(static_cast<unsigned>(current_ - threads_.get()));
  Wait();
}

// --- shared memory ---

void Executor::AddArray(const void* declaration, size_t bytes) {
  arrays_.push_back({declaration, shared_extent_, bytes});
  shared_bytes_ += bytes;
  const size_t padded = (bytes + 15) / 16 * 16 + kRedZone;
  Poison(shared_.get() + shared_extent_, padded);
  SIMT_POISON(shared_.get() + shared_extent_ + bytes, padded - bytes);
  shared_extent_ += padded;
}

void* Executor::SharedMemory(const void* declaration, size_t bytes, Site site) {
  for (const SharedArray& array : arrays_) {
    if (array.declaration == declaration) return shared_.get() + array.offset;
  }
  if (shared_bytes_ + bytes > kMaxSharedBytes || arrays_.size() == kMaxSharedArrays) {
    Report(FaultKind::kSharedMemoryExceeded, *current_, site,
           "%zu bytes of shared memory in %zu arrays; the limit is %zu in %zu", shared_bytes_ + bytes, arrays_.size(),
           kMaxSharedBytes, kMaxSharedArrays);
    Abandon();
  }
  AddArray(declaration, bytes);
  return shared_.get() + arrays_.back().offset;
}

// AddressSanitizer sees overruns as they happen, and forbids reading the red zones.
void Executor::CheckSharedOverruns() {
#ifndef SIMT_ASAN
  unsigned char intact[kRedZone + 17];
  Poison(intact, sizeof intact);
  for (const SharedArray& array : arrays_) {
    const size_t parity = array.bytes % 2, end = (array.bytes + 15) / 16 * 16 + kRedZone;
    const unsigned char* zone = shared_.get() + array.offset + array.bytes;
    if (std::memcmp(zone, intact + parity, end - array.bytes) == 0) continue;
    Report(FaultKind::kSharedMemoryOverrun, threads_[0], {"", 0},
           "a thread wrote past the end of a shared array of %zu bytes", array.bytes);
    return;
  }
#endif
}

// --- what kernels call ---

void Barrier(Site site) { executor->Barrier(site); }
uint64_t WarpCollective(WarpOp op, unsigned mask, uint64_t value, unsigned source, unsigned width, Site site) {
  return executor->WarpCollective(op, mask, value, source, width, site);
}
void* SharedMemory(const void* declaration, size_t bytes, Site site) {
  return executor->SharedMemory(declaration, bytes, site);
}
void* DynamicSharedMemory() { return executor->DynamicSharedMemory(); }
void CountAtomic(Site site) { executor->CountAtomic(site); }

}  // namespace simt
