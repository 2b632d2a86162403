// The CUDA backend's host code, over the simulator's runtime.
#include "../cuda/host/backend.cc"

#include "../cuda/host/allocator.cc"
#include "../cuda/host/fast_linear.cc"
#include "../cuda/host/pass.cc"
