// The life of a pool: open, with one caller inside at a time, until it is closed, or found in a forked child.
//
// enter() may be called from any thread and does not wait: whoever may not come in is told why. leave() and
// close() are for the one who is inside.
#pragma once

#include <atomic>
#include <cassert>
#include <cstdint>

#include "cpp_core/fault.h"
#include "cpp_core/forks.h"
#include "cpp_core/transition.h"

namespace envpool {

enum class PoolState : uint32_t { kOpen, kBusy, kClosing, kClosed, kForked };
enum class PoolEvent : uint32_t { kEnter, kLeave, kClose, kFork };

inline constexpr Transition<PoolState, PoolEvent> kPoolTransitions[] = {
    {PoolState::kOpen, PoolEvent::kEnter, PoolState::kBusy},
    {PoolState::kBusy, PoolEvent::kLeave, PoolState::kOpen},
    {PoolState::kBusy, PoolEvent::kClose, PoolState::kClosing},
    {PoolState::kClosing, PoolEvent::kLeave, PoolState::kClosed},
    // In the child: its workers, and whoever was inside, are in the parent.
    {PoolState::kOpen, PoolEvent::kFork, PoolState::kForked},
    {PoolState::kBusy, PoolEvent::kFork, PoolState::kForked},
    {PoolState::kClosing, PoolEvent::kFork, PoolState::kForked},
    {PoolState::kClosed, PoolEvent::kFork, PoolState::kClosed},
    {PoolState::kForked, PoolEvent::kFork, PoolState::kForked},
    {PoolState::kForked, PoolEvent::kLeave, PoolState::kForked},  // an env forked, and returned in both
};

class PoolLife {
 public:
  // Throws kPendingCallError, kPoolClosedError or kForkedPoolError.
  void enter() {
    if (forked()) move(PoolEvent::kFork);
    PoolState from = state_.load(std::memory_order_relaxed);
    PoolState to = from;
    do {
      if (!next_state(kPoolTransitions, from, PoolEvent::kEnter, &to)) refuse(from);
    } while (!state_.compare_exchange_weak(from, to, std::memory_order_acquire,  // pairs with leave()
                                           std::memory_order_relaxed));
  }
  void leave() { move(PoolEvent::kLeave); }
  void close() { move(PoolEvent::kClose); }

  bool forked() const { return Forks::counts().generation != generation_; }
  // Or about to be.
  bool closed() const { return state() == PoolState::kClosing || state() == PoolState::kClosed; }
  PoolState state() const { return state_.load(std::memory_order_relaxed); }

 private:
  void move(PoolEvent event) {
    PoolState to = state();
    [[maybe_unused]] const bool allowed = next_state(kPoolTransitions, to, event, &to);
    assert(allowed);
    state_.store(to, std::memory_order_release);  // pairs with enter()
  }

  [[noreturn]] static void refuse(PoolState state) {
    switch (state) {
      case PoolState::kForked:
        throw Fault(
            FaultKind::kForkedPoolError,
            "this pool was made before a fork and its workers are not in this process; make a new one");
      case PoolState::kClosed:
        throw Fault(FaultKind::kPoolClosedError, "this pool is closed; make a new one");
      default:
        throw Fault(FaultKind::kPendingCallError,
                    "another call is inside this pool (another thread, or an env that uses its own pool); "
                    "one at a time");
    }
  }

  std::atomic<PoolState> state_{PoolState::kOpen};
  const uint32_t generation_ = Forks::counts().generation;
};

// Inside the pool for as long as it lives; refused as enter() is.
class Inside {
 public:
  explicit Inside(PoolLife* life) : life_(*life) { life_.enter(); }
  ~Inside() { life_.leave(); }
  Inside(const Inside&) = delete;

 private:
  PoolLife& life_;
};

}  // namespace envpool
