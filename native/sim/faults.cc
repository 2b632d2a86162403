// What a kernel did wrong, in words.
#include <bit>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "executor.h"

namespace simt {
namespace {

const char* BaseName(const char* file) {
  const char* slash = std::strrchr(file, '/');
  return slash ? slash + 1 : file;
}

}  // namespace

const char* OpName(WarpOp op) {
  switch (op) {
    case WarpOp::kSync:
      return "__syncwarp";
    case WarpOp::kBallot:
      return "a vote";
    case WarpOp::kShuffle:
      return "__shfl_sync";
    case WarpOp::kShuffleUp:
      return "__shfl_up_sync";
    case WarpOp::kShuffleDown:
      return "__shfl_down_sync";
    case WarpOp::kShuffleXor:
      return "__shfl_xor_sync";
  }
  return "a warp operation";
}

const char* FaultName(FaultKind kind) {
  switch (kind) {
    case FaultKind::kNone:
      return "none";
    case FaultKind::kDivergentBarrier:
      return "divergent barrier";
    case FaultKind::kMaskOmitsCaller:
      return "mask omits caller";
    case FaultKind::kMaskNamesExitedLane:
      return "mask names exited lane";
    case FaultKind::kMaskNamesAbsentLane:
      return "mask names absent lane";
    case FaultKind::kDeadlock:
      return "deadlock";
    case FaultKind::kSharedMemoryExceeded:
      return "shared memory exceeded";
    case FaultKind::kSharedMemoryOverrun:
      return "shared memory overrun";
    case FaultKind::kStackExhausted:
      return "stack exhausted";
  }
  return "unknown";
}

void Executor::Report(FaultKind kind, const Thread& thread, Site site, const char* format, ...) {
  fault_.kind = kind;
  const unsigned block[3] = {block_.x, block_.y, block_.z};
  const unsigned index[3] = {thread.index.x, thread.index.y, thread.index.z};
  std::memcpy(fault_.block, block, sizeof block);
  std::memcpy(fault_.thread, index, sizeof index);
  fault_.file = site.file;
  fault_.line = site.line;
  int used = std::snprintf(fault_.text, sizeof fault_.text,
                           "%s: block (%u,%u,%u) thread (%u,%u,%u) at %s:%d: ", FaultName(kind), block[0], block[1],
                           block[2], index[0], index[1], index[2], BaseName(site.file), site.line);
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(fault_.text + used, sizeof fault_.text - used, format, arguments);
  va_end(arguments);
}

// No thread can run and not all wait at one barrier: says why, naming the lowest thread concerned.
void Executor::Diagnose() {
  const Thread* waiting = nullptr;
  const Thread* exited = nullptr;
  for (unsigned i = 0; i < count_; i++) {
    const Thread& thread = threads_[i];
    if (thread.state == State::kWarp) return DiagnoseWarp(i);
    if (thread.state == State::kBarrier && waiting == nullptr) waiting = &thread;
    if (thread.state == State::kExited && exited == nullptr) exited = &thread;
  }
  if (exited != nullptr) {
    return Report(FaultKind::kDivergentBarrier, *waiting, waiting->site,
                  "waits at __syncthreads, but thread (%u,%u,%u) has exited", exited->index.x, exited->index.y,
                  exited->index.z);
  }
  for (unsigned i = 0; i < count_; i++) {
    const Thread& other = threads_[i];
    if (other.site == waiting->site) continue;
    return Report(FaultKind::kDivergentBarrier, *waiting, waiting->site,
                  "waits at __syncthreads, but thread (%u,%u,%u) waits at %s:%d", other.index.x, other.index.y,
                  other.index.z, BaseName(other.site.file), other.site.line);
  }
}

void Executor::DiagnoseWarp(unsigned waiting) {
  const Thread& thread = threads_[waiting];
  const char* op = OpName(thread.op);
  for (unsigned rest = thread.mask; rest != 0; rest &= rest - 1) {
    const unsigned lane = std::countr_zero(rest), id = waiting - waiting % warpSize + lane;
    if (id >= count_) {
      return Report(FaultKind::kMaskNamesExitedLane, thread, thread.site,
                    "%s with mask 0x%08x names lane %u, which the block of %u threads does not have", op, thread.mask,
                    lane, count_);
    }
    const Thread& other = threads_[id];
    if (other.state == State::kExited) {
      return Report(FaultKind::kMaskNamesExitedLane, thread, thread.site,
                    "%s with mask 0x%08x names lane %u, whose thread (%u,%u,%u) has exited", op, thread.mask, lane,
                    other.index.x, other.index.y, other.index.z);
    }
    const bool at_barrier = other.state == State::kBarrier;
    if (at_barrier || other.op != thread.op || other.mask != thread.mask || other.width != thread.width ||
        !(other.site == thread.site)) {
      return Report(FaultKind::kMaskNamesAbsentLane, thread, thread.site,
                    "%s with mask 0x%08x names lane %u, whose thread (%u,%u,%u) waits in %s at %s:%d", op, thread.mask,
                    lane, other.index.x, other.index.y, other.index.z, at_barrier ? "__syncthreads" : OpName(other.op),
                    BaseName(other.site.file), other.site.line);
    }
  }
}

}  // namespace simt
