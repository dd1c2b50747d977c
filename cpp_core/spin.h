// Waiting a little while without sleeping: a wake-up across cores costs about as much as a step or two.
//
// Bounded in time, so an idle pool costs nothing; with no core to spare (`spin_ns` 0) it does not spin at
// all, since then it would keep the one it waits for from running.
#pragma once

#include <chrono>
#include <cstdint>

#include "cpp_core/futex.h"

namespace envpool {

inline void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// True as soon as `ready()`; false after `spin_ns` of it not being so.
template <typename Ready>
bool spin_until(const Ready& ready, int64_t spin_ns) {
  if (ready()) return true;
  if (spin_ns <= 0) return false;
  const Deadline until = Clock::now() + std::chrono::nanoseconds(spin_ns);
  do {
    for (int i = 0; i < 16; ++i) {
      pause_cpu();
      if (ready()) return true;
    }
  } while (Clock::now() < until);
  return false;
}

}  // namespace envpool
