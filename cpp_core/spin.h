// Waiting a little while without sleeping: a wake-up across cores costs about as much as a step or two.
//
// Bounded in time, so an idle pool costs nothing; with no core to spare (`spin_ns` 0) it does not spin at
// all. Between short bursts it yields: when the scheduler has put the one we wait for on this very core, or
// other work is waiting, that runs at once instead of after the whole spin.
#pragma once

#include <chrono>
#include <cstdint>
#include <thread>

#include "cpp_core/futex.h"

namespace envpool {

inline void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

inline constexpr int kBurst = 32;  // pauses, a microsecond or so

// True as soon as `ready()`; false after `spin_ns` of it not being so.
template <typename Ready>
bool spin_until(const Ready& ready, int64_t spin_ns) {
  if (ready()) return true;
  if (spin_ns <= 0) return false;
  const Deadline until = Clock::now() + std::chrono::nanoseconds(spin_ns);
  do {
    for (int i = 0; i < kBurst; ++i) {
      pause_cpu();
      if (ready()) return true;
    }
    std::this_thread::yield();
  } while (Clock::now() < until);
  return ready();
}

}  // namespace envpool
