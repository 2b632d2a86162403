// Runs the blocks of a launch, one at a time, on the calling host thread: one fiber per CUDA thread that has to wait.
//
// A thread runs until it must wait (barrier, warp operation) or ends, then the next takes over. A fiber whose thread
// ended goes on with the next thread that has not started, so a kernel that never waits needs a single fiber and no
// switch.
#pragma once

#include <memory>
#include <vector>

#include "fiber.h"
#include "sim.h"
#include "simt.h"

namespace simt {

constexpr unsigned kMaxBlockThreads = 1024;
constexpr size_t kMaxSharedBytes = 64 * 1024;  // what every architecture since sm_75 grants

// Fills memory so that using it uninitialised shows: floats and halves are NaN, integers absurd.
void Poison(void* memory, size_t bytes);

// As in the source: "__shfl_sync".
const char* OpName(WarpOp op);

// xorshift64*: Marsaglia 2003, Vigna 2016.
class Random {
 public:
  // Equal (seed, stream) pairs give equal sequences.
  void Reset(uint64_t seed, uint64_t stream);
  uint64_t Next();
  unsigned Below(unsigned bound) { return static_cast<unsigned>(((Next() >> 32) * bound) >> 32); }

 private:
  uint64_t state_ = 1;
};

class Executor {
 public:
  Executor();
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Once per launch, before its blocks; `request` must outlive them.
  void Begin(const LaunchRequest& request);
  // False, with fault() set, if the kernel did something undefined in this block; the launch is over then.
  bool RunBlock(const uint3& block, uint64_t seed);
  const Fault& fault() const { return fault_; }

  // For kernel threads; see simt.h. They do not return to a thread at fault.
  void Barrier(Site site);
  uint64_t WarpCollective(WarpOp op, unsigned mask, uint64_t value, unsigned source, unsigned width, Site site);
  void* SharedMemory(const void* declaration, size_t bytes, Site site);
  void* DynamicSharedMemory() { return shared_.get(); }
  void CountAtomic(Site site);

 private:
  enum class State : uint8_t { kNew, kReady, kBarrier, kWarp, kExited };

  struct Thread {
    Fiber* fiber;
    Site site;
    uint64_t value;  // a warp operation's operand, then its result
    unsigned mask, source;
    uint8_t width;
    WarpOp op;
    State state;
    uint3 index;
  };

  struct SharedArray {
    const void* declaration;
    size_t offset, bytes;
  };

  void AddArray(const void* declaration, size_t bytes);
  void CheckSharedOverruns();
  void Push(unsigned thread) { queue_[tail_++ % kMaxBlockThreads] = static_cast<uint16_t>(thread); }
  void PushAllShuffled();
  Thread* Take();
  bool ReleaseBarrier();
  void Diagnose();
  void DiagnoseWarp(unsigned waiting);
  bool WarpAgrees(unsigned first, const Thread& with) const;
  void CompleteWarp(unsigned first, const Thread& last);
  void Wait();
  void Enter(Thread* thread);
  [[noreturn]] void Abandon();
  [[gnu::format(printf, 5, 6)]] void Report(FaultKind kind, const Thread& thread, Site site, const char* format, ...);

  Fiber* IdleFiber();
  void FiberLoop(Fiber* self);
  void DiscardFibers();

  const LaunchRequest* request_ = nullptr;
  uint3 block_ = {};
  dim3 shape_ = dim3(0, 0, 0);
  unsigned count_ = 0, exited_ = 0;
  Thread* current_ = nullptr;
  Thread* pending_ = nullptr;  // handed to the idle fiber that is being switched to
  Random random_;
  std::unique_ptr<Thread[]> threads_;
  uint16_t queue_[kMaxBlockThreads];  // ready threads, in the order they will run
  unsigned head_ = 0, tail_ = 0;
  unsigned atomics_ = 0, idle_rounds_ = 0;

  Fiber main_;  // the host thread's own stack
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;

  struct FreeAligned {
    void operator()(unsigned char* memory) const { ::operator delete[](memory, std::align_val_t(64)); }
  };
  std::unique_ptr<unsigned char[], FreeAligned> shared_;  // [array, red zone] pairs; the dynamic array is the first
  std::vector<SharedArray> arrays_;
  size_t shared_bytes_ = 0, shared_extent_ = 0;  // without and with red zones

  Fault fault_;
};

}  // namespace simt
