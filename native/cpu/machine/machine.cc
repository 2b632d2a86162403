#include "machine.h"

#include <stddef.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>
#include <vector>

namespace {

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Runs work(thread) on that many threads; returns the seconds of the slowest of them.
double Timed(int threads, const std::function<void(int)>& work) {
  std::vector<std::thread> others;
  const double begin = Seconds();
  for (int i = 1; i < threads; i++) others.emplace_back(work, i);
  work(0);
  for (std::thread& other : others) other.join();
  return Seconds() - begin;
}

constexpr int64_t kRounds = 4000000;
constexpr int kChains = 12;

// Twelve independent chains of fma on registers, written as assembly so that no compiler can shorten them.
#if defined(__x86_64__)
#define CHAINS(op, reg)                                                                                       \
  op(reg "0") op(reg "1") op(reg "2") op(reg "3") op(reg "4") op(reg "5") op(reg "6") op(reg "7") op(reg "8") \
      op(reg "9") op(reg "10") op(reg "11")
#define FMA512(reg) "vfmadd231ps %%zmm12, %%zmm13, %%" reg "\n"
#define FMA256(reg) "vfmadd231ps %%ymm12, %%ymm13, %%" reg "\n"
#define CLEAR(reg) "vpxor %%" reg ", %%" reg ", %%" reg "\n"
#define CLOBBERS \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13"

int Lanes() { return __builtin_cpu_supports("avx512f") ? 16 : 8; }

void FmaLoop() {
  int64_t rounds = kRounds;
  if (Lanes() == 16) {
    asm volatile(CHAINS(CLEAR, "ymm") CLEAR("ymm12")
                     CLEAR("ymm13") "1:\n" CHAINS(FMA512, "zmm") "dec %0\njnz 1b\nvzeroupper\n"
                 : "+r"(rounds)::CLOBBERS);
  } else {
    asm volatile(CHAINS(CLEAR, "ymm") CLEAR("ymm12")
                     CLEAR("ymm13") "1:\n" CHAINS(FMA256, "ymm") "dec %0\njnz 1b\nvzeroupper\n"
                 : "+r"(rounds)::CLOBBERS);
  }
}
#elif defined(__aarch64__)
#define FMA(reg) "fmla v" reg ".4s, v30.4s, v31.4s\n"
int Lanes() { return 4; }
void FmaLoop() {
  int64_t rounds = kRounds;
  asm volatile("1:\n" FMA("0") FMA("1") FMA("2") FMA("3") FMA("4") FMA("5") FMA("6") FMA("7") FMA("16") FMA("17")
                   FMA("18") FMA("19") "subs %0, %0, #1\nb.ne 1b\n"
               : "+r"(rounds)::"v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "cc");
}
#endif

}  // namespace

double machine_fma_peak(int threads) {
  double best = 0.0;
  for (int repeat = 0; repeat < 7; repeat++) {
    const double seconds = Timed(threads, [](int) { FmaLoop(); });
    best = std::max(best, 2.0 * kChains * Lanes() * static_cast<double>(kRounds) * threads / seconds / 1e9);
  }
  return best;
}

double machine_read_bandwidth(int threads) {
  constexpr size_t kWords = size_t{256} << 17;  // 256 MiB a thread: far beyond any cache
  std::vector<std::vector<uint64_t>> memory(static_cast<size_t>(threads));
  Timed(threads, [&](int thread) { memory[thread].assign(kWords, 1); });
  std::vector<uint64_t> sums(static_cast<size_t>(threads) * 8);
  double best = 0.0;
  for (int repeat = 0; repeat < 7; repeat++) {
    const double seconds = Timed(threads, [&](int thread) {
      uint64_t lanes[32] = {};
      const uint64_t* words = memory[thread].data();
      for (size_t i = 0; i < kWords; i += 32) {
        for (int lane = 0; lane < 32; lane++) lanes[lane] += words[i + static_cast<size_t>(lane)];
      }
      for (uint64_t lane : lanes) sums[static_cast<size_t>(thread) * 8] += lane;
    });
    best = std::max(best, static_cast<double>(kWords) * 8.0 * threads / seconds / 1e9);
  }
  return sums[0] == 0 ? 0.0 : best;
}
