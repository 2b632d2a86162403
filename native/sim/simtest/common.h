// A device with one stream for the length of a test, and helpers to move vectors.
#pragma once

#include <cstdio>
#include <cstring>
#include <vector>

#include "../../cuda/runtime.h"
#include "../sim.h"
#include "simtest.h"

namespace simtest {

struct Bench {
  gpu::Device* device = nullptr;
  gpu::Stream* stream = nullptr;
  gpu::Status status;  // the first failure
  std::vector<void*> blocks;

  explicit Bench(uint64_t seed) {
    simt::Options options;
    options.seed = seed;
    Check(gpu::OpenDevice(0, &device));
    Check(simt::Configure(device, options));
    Check(gpu::CreateStream(device, &stream));
  }

  ~Bench() {
    for (void* block : blocks) Check(gpu::Release(device, block));
    Check(gpu::DestroyStream(stream));
    Check(gpu::CloseDevice(device));
  }

  void Check(const gpu::Status& next) {
    if (status.ok()) status = next;
  }

  template <class T>
  T* Upload(const std::vector<T>& values) {
    T* memory = Allocate<T>(values.size());
    if (status.ok()) Check(gpu::CopyToDevice(memory, values.data(), values.size() * sizeof(T), stream));
    return memory;
  }

  template <class T>
  T* Allocate(size_t count) {
    void* memory = nullptr;
    Check(gpu::Allocate(device, count * sizeof(T), &memory));
    if (memory) blocks.push_back(memory);
    return static_cast<T*>(memory);
  }

  template <class T>
  std::vector<T> Download(const T* memory, size_t count) {
    std::vector<T> values(count);
    if (status.ok()) Check(gpu::CopyToHost(values.data(), memory, count * sizeof(T), stream));
    return values;
  }
};

inline simtest_result Describe(const Bench& bench, const gpu::Status& status) {
  simtest_result result = {};
  result.code = static_cast<int>(status.code);
  std::snprintf(result.status, sizeof result.status, "%s", status.text);
  const simt::Fault fault = simt::LastFault(bench.device);
  std::snprintf(result.kind, sizeof result.kind, "%s", simt::FaultName(fault.kind));
  std::memcpy(result.block, fault.block, sizeof result.block);
  std::memcpy(result.thread, fault.thread, sizeof result.thread);
  std::snprintf(result.file, sizeof result.file, "%s", fault.file);
  result.line = fault.line;
  return result;
}

}  // namespace simtest
