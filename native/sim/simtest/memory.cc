// Device memory: bounds, ledger, guard mode, overruns, failure injection.
#include <unistd.h>

#include <cerrno>

#include "../../cuda/device.cuh"
#include "common.h"

namespace {

__global__ void WriteAtKernel(char* out, int index) { out[index] = 1; }

}  // namespace

extern "C" int simtest_host_can_read(int guard) {
  simtest::Bench bench(1);
  simt::Options options;
  options.guard = guard != 0;
  bench.Check(simt::Configure(bench.device, options));
  int* memory = bench.Upload(std::vector<int>(100, 7));
  // The memory stays usable to kernels and copies.
  bench.Check(LAUNCH(WriteAtKernel, 1, 1, 0, bench.stream)(reinterpret_cast<char*>(memory), 0));
  if (bench.Download(memory, 100)[99] != 7 || !bench.status.ok()) return -1;
  int ends[2];
  if (pipe(ends) != 0) return -1;
  const ssize_t written = write(ends[1], memory, 4);
  const int error = errno;
  close(ends[0]);
  close(ends[1]);
  if (written == 4) return 1;
  return error == EFAULT ? 0 : -1;
}

extern "C" const char* simtest_memory(void) {
  simtest::Bench bench(1);
  simt::Options options;
  options.memory_bytes = 10000;
  bench.Check(simt::Configure(bench.device, options));
  void *first = nullptr, *second = nullptr, *third = nullptr;
  bench.Check(gpu::Allocate(bench.device, 6000, &first));
  bench.Check(gpu::Allocate(bench.device, 3000, &second));
  if (!bench.status.ok()) return "two allocations that fit failed";
  if (reinterpret_cast<uintptr_t>(first) % 256 || reinterpret_cast<uintptr_t>(second) % 256) return "alignment";
  const gpu::Status full = gpu::Allocate(bench.device, 1001, &third);
  if (full.code != gpu::Code::kOutOfMemory || third != nullptr) return "the limit does not hold";
  if (std::strstr(full.text, "1001 bytes required, 1000 available") == nullptr) return "text of out of memory";
  options.memory_bytes = 5000;
  if (simt::Configure(bench.device, options).code != gpu::Code::kInvalidValue) return "a limit below what is in use";
  size_t free_bytes = 0, total_bytes = 0;
  bench.Check(gpu::GetMemoryInfo(bench.device, &free_bytes, &total_bytes));
  if (free_bytes != 1000 || total_bytes != 10000) return "memory info";
  if (gpu::CloseDevice(bench.device).code != gpu::Code::kInvalidValue) return "a device closed with live memory";

  int host = 0;
  if (gpu::CopyToDevice(static_cast<char*>(second) + 2999, &host, 2, bench.stream).ok()) return "a copy past the end";
  if (gpu::CopyToDevice(&host, second, 1, bench.stream).ok())
    return "a copy to device with the host's memory as target";
  if (gpu::CopyToHost(first, second, 1, bench.stream).ok()) return "a copy to host with device memory as target";
  if (gpu::Fill(&host, 0, 1, bench.stream).ok()) return "a fill of host memory";
#ifndef __SANITIZE_ADDRESS__  // which stops at the overrun itself
  bench.Check(LAUNCH(WriteAtKernel, 1, 1, 0, bench.stream)(static_cast<char*>(second), 3000));
  if (gpu::Synchronize(bench.stream).code != gpu::Code::kLaunchFailed) return "an overrun went unseen";
  if (gpu::Release(bench.device, second).code != gpu::Code::kLaunchFailed) return "an overrun went unseen at release";
#else
  bench.Check(gpu::Release(bench.device, second));
#endif
  bench.Check(gpu::Release(bench.device, first));
  if (gpu::Release(bench.device, first).code != gpu::Code::kInvalidValue) return "a block released twice";
  const gpu::Ledger ledger = gpu::GetLedger(bench.device);
  if (ledger.bytes != 0 || ledger.blocks != 0 || ledger.peak_bytes != 9000) return "the ledger";
  return bench.status.ok() ? "" : "a call that should pass failed";
}

extern "C" int simtest_fail_allocation(int n, int* code, char* text, int text_bytes) {
  simtest::Bench bench(1);
  simt::Options options;
  options.fail_allocation = n;
  bench.Check(simt::Configure(bench.device, options));
  gpu::Status status;
  void* blocks[4] = {};
  for (void*& block : blocks) {
    if (status.ok()) status = gpu::Allocate(bench.device, 1000, &block);
  }
  *code = static_cast<int>(status.code);
  std::snprintf(text, text_bytes, "%s", status.text);
  for (void* block : blocks) bench.Check(gpu::Release(bench.device, block));
  return bench.status.ok() ? static_cast<int>(gpu::GetLedger(bench.device).blocks) : -1;
}
