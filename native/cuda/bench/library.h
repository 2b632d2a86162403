// Opens a library by its C ABI, and makes random inputs for it.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../../core/formats.h"

namespace bench {

// "path:index": device number `index` (default 0) of the library at `path`.
struct Library {
  const ts_api* api = nullptr;
  uint32_t device = 0;
  ts_device_properties properties{};
  ts_context* context = nullptr;
};

[[noreturn]] inline void Die(const std::string& text) {
  std::fprintf(stderr, "%s\n", text.c_str());
  std::exit(1);
}

inline ts_error NewError() {
  ts_error error{};
  error.struct_size = sizeof error;
  return error;
}

inline void Check(ts_status status, const ts_error& error, const char* what) {
  if (status != TS_OK) Die(std::string(what) + ": " + error.message + " (status " + std::to_string(status) + ")");
}

inline Library Open(std::string name, uint64_t order_seed = 0, ts_numerics numerics = TS_NUMERICS_CANONICAL) {
  Library library;
  const size_t colon = name.rfind(':');
  if (colon != std::string::npos && colon + 1 < name.size() && name[colon + 1] >= '0' && name[colon + 1] <= '9') {
    library.device = static_cast<uint32_t>(std::stoul(name.substr(colon + 1)));
    name.resize(colon);
  }
  void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) Die(std::string("cannot open the library: ") + dlerror());
  const auto get = reinterpret_cast<const ts_api* (*)(uint32_t)>(dlsym(handle, "ts_get_api"));
  library.api = get != nullptr ? get(TS_ABI_MAJOR) : nullptr;
  if (library.api == nullptr) Die(name + " does not offer ts_get_api for this version");
  ts_error error = NewError();
  library.properties.struct_size = sizeof library.properties;
  Check(library.api->device_properties(library.device, &library.properties, &error), error, "device_properties");
  ts_context_options options{};
  options.struct_size = sizeof options;
  options.order_seed = order_seed;
  options.numerics = numerics;
  Check(library.api->context_create(library.device, &options, &library.context, &error), error, "context_create");
  return library;
}

// splitmix64 (Steele et al. 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  uint32_t Below(uint32_t bound) { return static_cast<uint32_t>((Next() >> 32) * bound >> 32); }
  // About -1 ... 1, denser in the middle.
  float Float() { return (static_cast<float>(Next() >> 40) + static_cast<float>(Next() >> 40)) * 0x1p-24f - 1.0f; }

 private:
  uint64_t state_;
};

// Stored rows of any format whose values have about the given size.
inline std::vector<uint8_t> RandomRows(int dtype, int64_t rows, int64_t columns, float size, Random* random) {
  const touchstone::BlockShape shape = touchstone::BlockShapeOf(dtype);
  const int64_t blocks = rows * (columns / shape.elements);
  std::vector<uint8_t> bytes(static_cast<size_t>(blocks * shape.bytes));
  if (!touchstone::IsQuantized(dtype)) {
    for (int64_t i = 0; i < blocks; i++) {
      const float value = random->Float() * size;
      const uint16_t half = dtype == TS_F16 ? touchstone::HalfFromFloat(value)
                                            : static_cast<uint16_t>(touchstone::FloatBits(value) >> 16);
      std::memcpy(bytes.data() + i * shape.bytes,
                  dtype == TS_F32 ? static_cast<const void*>(&value) : static_cast<const void*>(&half),
                  static_cast<size_t>(shape.bytes));
    }
    return bytes;
  }
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random->Next());
  const bool k = shape.elements == 256;
  const float steps = dtype == TS_Q8_0 ? 127 : dtype == TS_Q6_K ? 32 * 127 : k ? 15 * 63 : 15;
  for (int64_t i = 0; i < blocks; i++) {
    uint8_t* block = bytes.data() + i * shape.bytes;
    const uint16_t d = touchstone::HalfFromFloat(random->Float() * size / steps);
    const uint16_t m = touchstone::HalfFromFloat(random->Float() * size / (k ? 63.0f : 1.0f));
    std::memcpy(block + (dtype == TS_Q6_K ? 208 : 0), &d, sizeof d);
    if (dtype == TS_Q4_1 || dtype == TS_Q5_1 || dtype == TS_Q4_K || dtype == TS_Q5_K)
      std::memcpy(block + 2, &m, sizeof m);
  }
  return bytes;
}

}  // namespace bench
