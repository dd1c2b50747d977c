// Sleep until a 32-bit word changes, and wake those who sleep on it.
//
// Any thread of any process that maps the word may call either function. A wait always has a deadline, and
// returns early (kWoken) for no reason at all when the kernel likes: look at your condition again.
// The kernel calls use no PRIVATE flag, so a word in shared memory wakes sleepers of other processes;
// std::atomic::wait does not (libstdc++ passes the private flag).
// Without Linux, or with ENVPOOL_PORTABLE_FUTEX defined, a table of condition variables does the same inside
// one process.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#if defined(__linux__) && !defined(ENVPOOL_PORTABLE_FUTEX)
#define ENVPOOL_LINUX_FUTEX 1
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <ctime>
#else
#include <array>
#include <condition_variable>
#include <mutex>
#endif

namespace envpool {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

enum class Wait { kWoken, kInterrupted, kTimedOut };

inline Deadline in_milliseconds(int64_t ms) { return Clock::now() + std::chrono::milliseconds(ms); }

static_assert(std::atomic<uint32_t>::is_always_lock_free, "a futex word must be a plain word");
static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t), "a futex word must be a plain word");

#ifdef ENVPOOL_LINUX_FUTEX

// kInterrupted: a signal arrived; the caller may want to run its handlers.
inline Wait futex_wait(std::atomic<uint32_t>& word, uint32_t expected, Deadline deadline) {
  // The kernel refuses a time before the clock's zero, which is as past as zero itself.
  const auto ns = std::max<int64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(deadline.time_since_epoch()).count(), 0);
  timespec until{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  // WAIT_BITSET takes an absolute time on CLOCK_MONOTONIC, which is what steady_clock reads.
  const long rc = syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_BITSET, expected, &until,
                          nullptr, FUTEX_BITSET_MATCH_ANY);
  if (rc == 0 || errno == EAGAIN) return Wait::kWoken;
  return errno == ETIMEDOUT ? Wait::kTimedOut : Wait::kInterrupted;
}

inline void futex_wake(std::atomic<uint32_t>& word, uint32_t count) {
  const uint32_t most = count > INT_MAX ? INT_MAX : count;
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE, most, nullptr, nullptr, 0);
}

#else

namespace detail {
struct Bucket {
  std::mutex mutex;
  std::condition_variable changed;
};
inline Bucket& bucket_of(const void* word) {
  // Never destroyed: a worker that was left behind may still sleep here when the process exits.
  static auto& buckets = *new std::array<Bucket, 64>;
  return buckets[(reinterpret_cast<uintptr_t>(word) / 64) % buckets.size()];
}
}  // namespace detail

inline Wait futex_wait(std::atomic<uint32_t>& word, uint32_t expected, Deadline deadline) {
  auto& bucket = detail::bucket_of(&word);
  std::unique_lock lock(bucket.mutex);
  if (word.load(std::memory_order_seq_cst) != expected) return Wait::kWoken;
  // One wake may be meant for another word of the same bucket: the caller looks at its condition again.
  return bucket.changed.wait_until(lock, deadline) == std::cv_status::timeout ? Wait::kTimedOut
                                                                              : Wait::kWoken;
}

inline void futex_wake(std::atomic<uint32_t>& word, uint32_t /*count*/) {
  auto& bucket = detail::bucket_of(&word);
  {
    std::lock_guard lock(bucket.mutex);
  }
  bucket.changed.notify_all();
}

#endif

}  // namespace envpool
