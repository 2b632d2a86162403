// Fibers: ucontext makes one, _setjmp/_longjmp switch. Under AddressSanitizer, which must know about every stack,
// swapcontext with the sanitizer's fiber calls.
#pragma once

#include <ucontext.h>

#include <csetjmp>
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define SIMT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIMT_ASAN 1
#endif
#endif

#ifdef SIMT_ASAN
#include <sanitizer/asan_interface.h>
#define SIMT_POISON(memory, bytes) ASAN_POISON_MEMORY_REGION(memory, bytes)
#define SIMT_UNPOISON(memory, bytes) ASAN_UNPOISON_MEMORY_REGION(memory, bytes)
#else
#define SIMT_POISON(memory, bytes) ((void)(memory), (void)(bytes))
#define SIMT_UNPOISON(memory, bytes) ((void)(memory), (void)(bytes))
#endif

namespace simt {

class Fiber {
 public:
  // A fiber that stands for the host thread's own stack: a place to switch from and back to.
  Fiber() = default;
  // A fiber with a stack of its own, on which `entry(argument, this)` runs at the first switch to it; entry never
  // returns.
  Fiber(void (*entry)(void*, Fiber*), void* argument) : entry_(entry), argument_(argument) {}
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Reserves the stack, `colour` times a few cache lines below its end, so that fibers do not meet in the same cache
  // sets. False if the system has no memory.
  bool AllocateStack(unsigned colour);

  // Forgets what the fiber was doing; the next switch to it enters anew.
  void Restart();

  // Leaves `from`, the running fiber, and goes on in `to`; returns when something switches back to `from`.
  static void SwitchTo(Fiber* from, Fiber* to);

 private:
  static void Enter(unsigned low, unsigned high);
  void Make();

  void (*entry_)(void*, Fiber*) = nullptr;
  void* argument_ = nullptr;
  char* mapping_ = nullptr;
  size_t stack_bytes_ = 0;
  bool fresh_ = true;
  jmp_buf jump_;
  ucontext_t context_;
#ifdef SIMT_ASAN
  void* fake_stack_ = nullptr;
  const void* bottom_ = nullptr;
  size_t bottom_bytes_ = 0;
  Fiber* previous_ = nullptr;  // who switched here last
  void Arrived();
#endif
};

}  // namespace simt
