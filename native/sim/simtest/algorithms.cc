// Kernels that are right, compared with plain loops; one whose result depends on the order of threads, to show that the
// order is really shuffled; speed; memory; arithmetic.
#include <chrono>
#include <cstring>
#include <functional>
#include <numeric>

#include "../../cuda/device.cuh"
#include "common.h"

namespace {

constexpr int kBlock = 128, kTile = 32;

// Sum of a block's 128 values: shuffles within warps, shared memory across them.
__global__ void ReduceKernel(const int* in, int count, int* out) {
  SHARED(int, partial, kBlock / 32);
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int sum = i < count ? in[i] : 0;
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (lane == 0) partial[warp] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int w = 1; w < kBlock / 32; w++) sum += partial[w];
    out[blockIdx.x] = sum;
  }
}

// Inclusive scan of each block's 128 values.
__global__ void ScanKernel(const int* in, int count, int* out) {
  SHARED(int, totals, kBlock / 32);
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int sum = i < count ? in[i] : 0;
  for (int step = 1; step < 32; step *= 2) {
    const int other = __shfl_up_sync(0xffffffffu, sum, step);
    if (lane >= step) sum += other;
  }
  if (lane == 31) totals[warp] = sum;
  __syncthreads();
  for (int w = 0; w < warp; w++) sum += totals[w];
  if (i < count) out[i] = sum;
}

// Transpose through a padded tile, block (32, 8).
__global__ void TransposeKernel(const float* in, int rows, int columns, float* out) {
  SHARED_DYNAMIC(float, tile);
  const int x = blockIdx.x * kTile + threadIdx.x, y0 = blockIdx.y * kTile;
  for (int j = threadIdx.y; j < kTile; j += blockDim.y) {
    if (x < columns && y0 + j < rows) tile[j * (kTile + 1) + threadIdx.x] = in[(y0 + j) * columns + x];
  }
  __syncthreads();
  const int row = y0 + threadIdx.x, x0 = blockIdx.x * kTile;
  for (int j = threadIdx.y; j < kTile; j += blockDim.y) {
    if (row < rows && x0 + j < columns) out[(x0 + j) * rows + row] = tile[threadIdx.x * (kTile + 1) + j];
  }
}

// A histogram with integer atomics, votes and a half-warp mask.
__global__ void CountKernel(const int* in, int count, int* out) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int value = i < count ? in[i] : -1;
  if (value >= 0) atomicAdd(&out[value % 64], 1);
  const unsigned odd = __ballot_sync(0xffffffffu, value >= 0 && value % 2);
  const unsigned half = threadIdx.x % 32 < 16 ? 0x0000ffffu : 0xffff0000u;
  const int low = __shfl_down_sync(half, static_cast<int>(odd), 1, 16);
  __syncwarp(half);
  if (threadIdx.x % 32 == 0) atomicAdd(&out[64], __popc(static_cast<unsigned>(low)));
  if (__any_sync(0xffffffffu, value == 0) && threadIdx.x % 32 == 0) atomicMax(&out[65], 1);
}

// Wrong on purpose: who comes last decides.
__global__ void LastWriterKernel(int* out) { *out = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); }

__global__ void AddOneKernel(int* out) { out[blockIdx.x * blockDim.x + threadIdx.x] += 1; }

__global__ void BarriersKernel(int* out, int barriers) {
  for (int i = 0; i < barriers; i++) __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] += 1;
}

__global__ void UninitialisedKernel(float* out) {
  SHARED(float, values, 32);
  out[threadIdx.x] = values[threadIdx.x];
}

template <class T>
long FirstDifference(const std::vector<T>& a, const std::vector<T>& b) {
  for (size_t i = 0; i < b.size(); i++) {
    if (i >= a.size() || std::memcmp(&a[i], &b[i], sizeof(T)) != 0) return static_cast<long>(i);
  }
  return -1;
}

template <class T>
uint64_t Hash(const std::vector<T>& values) {  // FNV-1a
  uint64_t hash = 0xcbf29ce484222325;
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  for (size_t i = 0; i < values.size() * sizeof(T); i++) hash = (hash ^ bytes[i]) * 0x100000001b3;
  return hash;
}

std::vector<int> Inputs(size_t count, uint64_t seed) {
  std::vector<int> values(count);
  uint64_t state = seed * 2 + 1;
  for (int& value : values) {
    state = state * 6364136223846793005 + 1442695040888963407;
    value = static_cast<int>(state >> 54);  // 0 ... 1023
  }
  return values;
}

}  // namespace

extern "C" long simtest_run_algorithm(const char* name, uint64_t input_seed, uint64_t seed, uint64_t* hash,
                                      simtest_result* result) {
  simtest::Bench bench(seed);
  const int count = 1000 + static_cast<int>(input_seed % 61);
  const int grid = (count + kBlock - 1) / kBlock;
  const std::vector<int> in = Inputs(count, input_seed);
  long difference = -2;
  const auto ok = [&](const gpu::Status& status) {
    bench.Check(status);
    *result = simtest::Describe(bench, bench.status);
    return bench.status.ok();
  };
  if (std::strcmp(name, "reduce") == 0) {
    const int* from = bench.Upload(in);
    int* to = bench.Allocate<int>(grid);
    if (!ok(LAUNCH(ReduceKernel, grid, kBlock, 0, bench.stream)(from, count, to))) return -2;
    std::vector<int> want(grid);
    for (int i = 0; i < count; i++) want[i / kBlock] += in[i];
    const auto got = bench.Download(to, grid);
    *hash = Hash(got);
    difference = FirstDifference(got, want);
  } else if (std::strcmp(name, "scan") == 0) {
    const int* from = bench.Upload(in);
    int* to = bench.Allocate<int>(count);
    if (!ok(LAUNCH(ScanKernel, grid, kBlock, 0, bench.stream)(from, count, to))) return -2;
    std::vector<int> want(count);
    for (int i = 0; i < count; i++) want[i] = in[i] + (i % kBlock ? want[i - 1] : 0);
    const auto got = bench.Download(to, count);
    *hash = Hash(got);
    difference = FirstDifference(got, want);
  } else if (std::strcmp(name, "transpose") == 0) {
    const int rows = 37, columns = count / rows;
    std::vector<float> matrix(in.begin(), in.begin() + rows * columns), want(rows * columns);
    for (int r = 0; r < rows; r++) {
      for (int c = 0; c < columns; c++) want[c * rows + r] = matrix[r * columns + c];
    }
    const float* from = bench.Upload(matrix);
    float* to = bench.Allocate<float>(rows * columns);
    const dim3 tiles((columns + kTile - 1) / kTile, (rows + kTile - 1) / kTile);
    const size_t shared = kTile * (kTile + 1) * sizeof(float);
    if (!ok(LAUNCH(TransposeKernel, tiles, dim3(kTile, 8), shared, bench.stream)(from, rows, columns, to))) return -2;
    const auto got = bench.Download(to, rows * columns);
    *hash = Hash(got);
    difference = FirstDifference(got, want);
  } else if (std::strcmp(name, "count") == 0) {
    const int* from = bench.Upload(in);
    int* to = bench.Upload(std::vector<int>(66));
    if (!ok(LAUNCH(CountKernel, grid, kBlock, 0, bench.stream)(from, count, to))) return -2;
    std::vector<int> want(66);
    for (int warp = 0; warp < grid * kBlock / 32; warp++) {
      for (int i = warp * 32; i < std::min(count, warp * 32 + 32); i++) {
        want[in[i] % 64]++;
        want[64] += in[i] % 2;
        if (in[i] == 0) want[65] = 1;
      }
    }
    const auto got = bench.Download(to, 66);
    *hash = Hash(got);
    difference = FirstDifference(got, want);
  } else if (std::strcmp(name, "last writer") == 0) {
    int* to = bench.Upload(std::vector<int>(1));
    if (!ok(LAUNCH(LastWriterKernel, grid, kBlock, 0, bench.stream)(to))) return -2;
    *hash = Hash(bench.Download(to, 1));
    difference = -1;
  } else if (std::strcmp(name, "uninitialised") == 0) {
    float* fresh = bench.Allocate<float>(32);
    auto got = bench.Download(fresh, 32);
    float* to = bench.Allocate<float>(32);
    if (!ok(LAUNCH(UninitialisedKernel, 1, 32, 0, bench.stream)(to))) return -2;
    const auto shared = bench.Download(to, 32);
    got.insert(got.end(), shared.begin(), shared.end());
    difference = -1;
    for (size_t i = 0; i < got.size(); i++) {
      if (!std::isnan(got[i])) difference = static_cast<long>(i);
    }
  }
  return ok(gpu::Synchronize(bench.stream)) ? difference : -2;
}

extern "C" double simtest_nanoseconds_per_thread(int barriers, int blocks, int threads) {
  simtest::Bench bench(1);
  int* out = bench.Upload(std::vector<int>(static_cast<size_t>(blocks) * threads));
  double best = 1e30;
  for (int i = 0; i < 5 && bench.status.ok(); i++) {
    const auto start = std::chrono::steady_clock::now();
    if (barriers == 0) {
      bench.Check(LAUNCH(AddOneKernel, blocks, threads, 0, bench.stream)(out));
    } else {
      bench.Check(LAUNCH(BarriersKernel, blocks, threads, 0, bench.stream)(out, barriers));
    }
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count() / (static_cast<double>(blocks) * threads));
  }
  return bench.status.ok() ? best : -1;
}

extern "C" uint32_t simtest_math(const char* name, uint32_t a, uint32_t b, uint32_t c) {
  const float x = __uint_as_float(a), y = __uint_as_float(b), z = __uint_as_float(c);
  if (std::strcmp(name, "half2float") == 0) return __float_as_uint(__half2float(__ushort_as_half(a)));
  if (std::strcmp(name, "float2half") == 0) return __half_as_ushort(__float2half_rn(x));
  if (std::strcmp(name, "fma") == 0) return __float_as_uint(__fmaf_rn(x, y, z));
  if (std::strcmp(name, "multiply then add") == 0) return __float_as_uint(x * y + z);
  if (std::strcmp(name, "divide") == 0) return __float_as_uint(__fdiv_rn(x, y));
  if (std::strcmp(name, "sqrt") == 0) return __float_as_uint(__fsqrt_rn(x));
  if (std::strcmp(name, "dp4a") == 0) return static_cast<uint32_t>(__dp4a(a, b, c));
  return 0;
}
