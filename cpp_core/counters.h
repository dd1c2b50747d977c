// What the workers count, for stats(): how long each env's steps take, and how long workers had nothing to
// do.
//
// StepTimes has one writer at a time (the worker that has the env); Idle is added to by every worker of a
// queue. Both are read by the caller at any moment: a torn picture is only a step behind.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "cpp_core/leaf.h"
#include "cpp_core/ticks.h"

namespace envpool {

// Adds to a count that has one writer at a time; it is atomic only to keep the reader's view whole.
template <typename T>
void bump(std::atomic<T>& count, T by) {
  count.store(count.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

// Steps of one env by duration: bucket b counts those of 2^(b-1) to 2^b - 1 ticks.
struct alignas(kCacheLine) StepTimes {
  static constexpr size_t kBuckets = 44;  // up to some hours
  std::array<std::atomic<uint32_t>, kBuckets> buckets;
  std::atomic<uint64_t> ticks;

  void add(uint64_t duration) {
    const auto width = static_cast<size_t>(std::bit_width(duration));
    bump(buckets[width < kBuckets ? width : kBuckets - 1], 1U);
    bump(ticks, duration);
  }
};

struct alignas(kCacheLine) Idle {
  std::atomic<uint64_t> ticks;
};

}  // namespace envpool
