// A pool of threads for one context. Work is a number of tasks that write disjoint memory; which thread runs a task
// never changes a result. The caller works too, and waits only for tasks that another thread has begun: threads that
// the system does not run hold nobody up. Idle threads spin for a moment, then sleep; running work allocates nothing.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace touchstone::cpu {

class Pool {
 public:
  Pool() = default;
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Starts threads - 1 threads. False if the system refuses one; those started end with the pool.
  bool Start(int threads);
  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls function(task, thread) for every task in [0, tasks); returns when all are done. thread is in [0, threads()).
  template <class Function>
  void Run(int64_t tasks, const Function& function) {
    RunErased(
        tasks, [](const void* f, int64_t task, int thread) { (*static_cast<const Function*>(f))(task, thread); },
        &function);
  }

 private:
  using Call = void (*)(const void*, int64_t, int);
  void RunErased(int64_t tasks, Call call, const void* function);
  void Work(int thread);
  // Runs tasks of the current job until none is left to begin; returns the job's number.
  uint32_t Drain(int thread);
  uint32_t CurrentJob() const { return static_cast<uint32_t>(ticket_.load() >> 32); }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  int sleeping_ = 0;  // guarded by mutex_
  std::atomic<bool> stop_{false};
  // The job. It changes only while the ticket is closed, so that a thread which claims a task of a job has seen that
  // job.
  std::atomic<Call> call_{nullptr};
  std::atomic<const void*> function_{nullptr};
  std::atomic<int64_t> tasks_{0};
  alignas(64) std::atomic<uint64_t> ticket_{0};  // number of the job << 32 | next task to begin
  alignas(64) std::atomic<int64_t> done_{0};     // tasks of the job that have ended
};

}  // namespace touchstone::cpu
