// What is used of cuBLAS, declared here by its documentation (NVIDIA, cuBLAS, "cuBLAS API"): versions 11 to 13 agree.
//
// Same bits run after run: cuBLAS promises them for one version, device and stream; a workspace of our own, which it
// would otherwise choose by what else runs, no atomics, no reductions in less than binary32, and one algorithm, its
// default for the shape.
#include "cublas.h"

#include <dlfcn.h>

#include <new>
#include <string>
#include <type_traits>

#include "cuda_handles.h"

namespace touchstone::cuda {
namespace {

struct Handle;  // cublasContext
using Result = int;

constexpr Result kSuccess = 0, kNotInitialized = 1, kAllocationFailed = 3, kArchitectureMismatch = 8,
                 kExecutionFailed = 13, kNotSupported = 15;
constexpr int kAsStored = 0, kTransposed = 1;     // cublasOperation_t
constexpr int kBinary16 = 2, kBinary32 = 0;       // cudaDataType
constexpr int kComputeBinary32 = 68;              // cublasComputeType_t
constexpr int kDefaultAlgorithm = -1;             // cublasGemmAlgo_t
constexpr int kNoAtomics = 0;                     // cublasAtomicsMode_t
constexpr int kNoReducedPrecisionReduction = 16;  // cublasMath_t, with the default 0
constexpr const char* kNames[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so.11"};

// The functions, once loaded for the life of the process.
struct Library {
  Result (*create)(Handle**);
  Result (*destroy)(Handle*);
  Result (*set_stream)(Handle*, cudaStream_t);
  Result (*set_workspace)(Handle*, void*, size_t);
  Result (*set_math_mode)(Handle*, int);
  Result (*set_atomics_mode)(Handle*, int);
  Result (*gemm)(Handle*, int operation_a, int operation_b, int m, int n, int k, const void* alpha, const void* a,
                 int type_a, int lda, const void* b, int type_b, int ldb, const void* beta, void* c, int type_c,
                 int ldc, int compute_type, int algorithm);
  const char* (*status_name)(Result);
  std::string problem;  // why it cannot be used; empty if it can
};

Library Load() {
  Library library{};
  void* shared = nullptr;
  const char* name = nullptr;
  for (const char* candidate : kNames) {
    if (shared != nullptr) break;
    name = candidate;
    shared = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  }
  if (shared == nullptr) {
    library.problem =
        "the fast numerics need NVIDIA's cuBLAS, but none of libcublas.so.13, libcublas.so.12 and libcublas.so.11 can "
        "be "
        "loaded; install it, name its folder in LD_LIBRARY_PATH, or use the canonical numerics";
    return library;
  }
  const auto find = [&](const char* symbol, auto* function) {
    *function = reinterpret_cast<std::remove_pointer_t<decltype(function)>>(dlsym(shared, symbol));
    if (*function == nullptr && library.problem.empty()) {
      library.problem =
          std::string(name) + " has no function " + symbol + "; install a newer cuBLAS, or use the canonical numerics";
    }
  };
  find("cublasCreate_v2", &library.create);
  find("cublasDestroy_v2", &library.destroy);
  find("cublasSetStream_v2", &library.set_stream);
  find("cublasSetWorkspace_v2", &library.set_workspace);
  find("cublasSetMathMode", &library.set_math_mode);
  find("cublasSetAtomicsMode", &library.set_atomics_mode);
  find("cublasGemmEx", &library.gemm);
  find("cublasGetStatusName", &library.status_name);
  if (!library.problem.empty()) dlclose(shared);
  return library;
}

Status FromCublas(const Library& library, Result result, const char* what) {
  if (result == kSuccess) return Status();
  const std::string text = std::string(what) + ": " + library.status_name(result);
  switch (result) {
    case kAllocationFailed:
      return Status(TS_OUT_OF_MEMORY, text);
    case kNotInitialized:
      return Status(TS_UNSUPPORTED, text + "; this cuBLAS may need a newer driver; use the canonical numerics");
    case kArchitectureMismatch:
    case kNotSupported:
      return Status(TS_UNSUPPORTED, text + "; use the canonical numerics");
    case kExecutionFailed:
      return Status(TS_KERNEL_LAUNCH_FAILED, text);
    default:
      return Status(TS_INTERNAL, text);
  }
}

class Cublas final : public Multiplier {
 public:
  // Takes over the handle.
  Cublas(const Library& library, Handle* handle) : library_(library), handle_(handle) {}
  ~Cublas() override { static_cast<void>(library_.destroy(handle_)); }
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;

  Status Start(gpu::Stream* stream, void* workspace, uint64_t bytes) override {
    // In this order: a change of stream forgets the workspace.
    TS_RETURN_IF_ERROR(Checked(library_.set_stream(handle_, stream->stream), "cublasSetStream"));
    TS_RETURN_IF_ERROR(Checked(library_.set_workspace(handle_, workspace, bytes), "cublasSetWorkspace"));
    TS_RETURN_IF_ERROR(Checked(library_.set_math_mode(handle_, kNoReducedPrecisionReduction), "cublasSetMathMode"));
    return Checked(library_.set_atomics_mode(handle_, kNoAtomics), "cublasSetAtomicsMode");
  }

  // cuBLAS counts by columns: our rows of weights, activations and products are its columns, so that
  // products (outputs x rows) = transposed weights (outputs x inputs) * activations (inputs x rows).
  Status Multiply(const uint16_t* weights, int64_t outputs, const uint16_t* x, int64_t rows, int64_t inputs,
                  float* products) override {
    const float one = 1.0f, zero = 0.0f;
    const auto m = static_cast<int>(outputs), n = static_cast<int>(rows), k = static_cast<int>(inputs);
    return Checked(library_.gemm(handle_, kTransposed, kAsStored, m, n, k, &one, weights, kBinary16, k, x, kBinary16, k,
                                 &zero, products, kBinary32, m, kComputeBinary32, kDefaultAlgorithm),
                   "cublasGemmEx");
  }

 private:
  Status Checked(Result result, const char* what) const { return FromCublas(library_, result, what); }

  const Library& library_;
  Handle* handle_;
};

}  // namespace

Status OpenCublas(std::unique_ptr<Multiplier>* out) {
  static const Library library = Load();
  if (!library.problem.empty()) return Status(TS_UNSUPPORTED, library.problem);
  Handle* handle = nullptr;
  TS_RETURN_IF_ERROR(FromCublas(library, library.create(&handle), "cublasCreate"));
  out->reset(new (std::nothrow) Cublas(library, handle));
  if (*out != nullptr) return Status();
  static_cast<void>(library.destroy(handle));
  return Status(TS_OUT_OF_MEMORY, "the host has no memory for a context");
}

}  // namespace touchstone::cuda
