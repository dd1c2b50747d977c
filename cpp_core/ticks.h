// A clock cheap enough to read on every step: the processor's own counter, a few nanoseconds a read.
//
// It counts at a fixed rate on the processors of the last fifteen years, the same on all cores; how many
// ticks make a second is measured against Clock over the pool's life (TickRate). Elsewhere it is Clock
// itself.
#pragma once

#include <cstdint>

#include "cpp_core/futex.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace envpool {

inline uint64_t read_ticks() {
#if defined(__x86_64__)
  return __rdtsc();
#elif defined(__aarch64__)
  uint64_t ticks;
  asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
#else
  return static_cast<uint64_t>(Clock::now().time_since_epoch().count());
#endif
}

// Adds the time from here to the end of the scope.
class Stopwatch {
 public:
  explicit Stopwatch(uint64_t* total) : total_(total), start_(read_ticks()) {}
  ~Stopwatch() { *total_ += read_ticks() - start_; }
  Stopwatch(const Stopwatch&) = delete;

 private:
  uint64_t* total_;
  uint64_t start_;
};

class TickRate {
 public:
  double seconds_per_tick() const {
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    const uint64_t ticks = read_ticks() - start_ticks_;
    return ticks > 0 ? seconds / static_cast<double>(ticks) : 0.0;
  }

 private:
  Deadline start_ = Clock::now();
  uint64_t start_ticks_ = read_ticks();
};

}  // namespace envpool
