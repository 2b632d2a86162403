#include "pool.h"

#include <system_error>

namespace touchstone::cpu {

namespace {

constexpr int kSpins = 4000;  // some 50 microseconds: longer than the gap between two operations of a pass

constexpr uint64_t kClosed = 0xffffffff;  // no task has this number

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

bool Pool::Start(int threads) {
  try {
    workers_.reserve(static_cast<size_t>(threads));
    for (int i = 1; i < threads; i++) workers_.emplace_back([this, i] { Work(i); });
  } catch (const std::system_error&) {
    return false;
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

Pool::~Pool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

uint32_t Pool::Drain(int thread) {
  for (;;) {
    uint64_t ticket = ticket_.load();
    const Call call = call_.load();
    const void* function = function_.load();
    const auto task = static_cast<int64_t>(ticket & kClosed);
    if (task >= tasks_.load()) return static_cast<uint32_t>(ticket >> 32);
    if (!ticket_.compare_exchange_weak(ticket, ticket + 1)) continue;
    call(function, task, thread);
    done_.fetch_add(1);
  }
}

void Pool::RunErased(int64_t tasks, Call call, const void* function) {
  if (workers_.empty() || tasks <= 1) {
    for (int64_t task = 0; task < tasks; task++) call(function, task, 0);
    return;
  }
  ticket_ = (uint64_t{CurrentJob()} << 32) | kClosed;
  call_ = call;
  function_ = function;
  tasks_ = tasks;
  done_ = 0;
  bool wake;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ticket_ = uint64_t{CurrentJob() + 1} << 32;
    wake = sleeping_ > 0;
  }
  if (wake) wake_.notify_all();
  Drain(0);
  for (int spin = 0; done_.load() != tasks; spin++) {
    if (spin < kSpins) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void Pool::Work(int thread) {
  uint32_t seen = 0;
  for (;;) {
    const auto called = [&] { return CurrentJob() != seen || stop_; };
    for (int spin = 0; !called() && spin < kSpins; spin++) Pause();
    if (!called()) {
      std::unique_lock<std::mutex> lock(mutex_);
      sleeping_++;
      wake_.wait(lock, called);
      sleeping_--;
    }
    if (stop_) return;
    seen = Drain(thread);
  }
}

}  // namespace touchstone::cpu
