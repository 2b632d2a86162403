// glibc's fortified longjmp takes a jump between stacks for an error.
#undef _FORTIFY_SOURCE

#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>

namespace simt {
namespace {

constexpr size_t kPage = 65536;  // the largest page size of the supported systems
#ifdef SIMT_ASAN
constexpr size_t kStackBytes = 256 * 1024;
#else
constexpr size_t kStackBytes = 64 * 1024;
#endif
constexpr size_t kColourBytes = 192, kColours = 64;

}  // namespace

Fiber::~Fiber() {
  if (mapping_ == nullptr) return;
  Restart();
  munmap(mapping_, kPage + kStackBytes);
}

bool Fiber::AllocateStack(unsigned colour) {
  // The first page stays inaccessible: running over the stack's end stops there.
  void* mapping = mmap(nullptr, kPage + kStackBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return false;
  mapping_ = static_cast<char*>(mapping);
  if (mprotect(mapping_ + kPage, kStackBytes, PROT_READ | PROT_WRITE) != 0) return false;
  stack_bytes_ = kStackBytes - colour % kColours * kColourBytes;
  return true;
}

void Fiber::Restart() {
  fresh_ = true;
  SIMT_UNPOISON(mapping_ + kPage, kStackBytes);
}

void Fiber::Make() {
  fresh_ = false;
  getcontext(&context_);
  context_.uc_stack.ss_sp = mapping_ + kPage;
  context_.uc_stack.ss_size = stack_bytes_;
  context_.uc_link = nullptr;
  const uint64_t self = reinterpret_cast<uintptr_t>(this);
  // makecontext passes ints.
  makecontext(&context_, reinterpret_cast<void (*)()>(&Fiber::Enter), 2, static_cast<unsigned>(self),
              static_cast<unsigned>(self >> 32));
}

#ifdef SIMT_ASAN

void Fiber::Arrived() { __sanitizer_finish_switch_fiber(fake_stack_, &previous_->bottom_, &previous_->bottom_bytes_); }

void Fiber::SwitchTo(Fiber* from, Fiber* to) {
  if (to->fresh_ && to->entry_) {
    to->Make();
    to->fake_stack_ = nullptr;
    to->bottom_ = to->mapping_ + kPage;
    to->bottom_bytes_ = to->stack_bytes_;
  }
  to->previous_ = from;
  __sanitizer_start_switch_fiber(&from->fake_stack_, to->bottom_, to->bottom_bytes_);
  swapcontext(&from->context_, &to->context_);
  from->Arrived();
}

#else

void Fiber::SwitchTo(Fiber* from, Fiber* to) {
  if (_setjmp(from->jump_) != 0) return;
  if (to->fresh_ && to->entry_) {
    to->Make();
    setcontext(&to->context_);
  }
  _longjmp(to->jump_, 1);
}

#endif

void Fiber::Enter(unsigned low, unsigned high) {
  Fiber* self = reinterpret_cast<Fiber*>(static_cast<uintptr_t>(static_cast<uint64_t>(high) << 32 | low));
#ifdef SIMT_ASAN
  self->Arrived();
#endif
  self->entry_(self->argument_, self);
}

}  // namespace simt
