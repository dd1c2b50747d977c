// The life of a worker: it serves what is due and waits when nothing is, until it stops, or dies.
//
// The worker makes its own moves; the caller only kDie, for a process that is known to be gone. The next one
// that serves its queue starts where it died. A process has its life in the arena, a thread has its own.
#pragma once

#include <atomic>
#include <cassert>
#include <cstdint>

#include "cpp_core/leaf.h"
#include "cpp_core/transition.h"

namespace envpool {

enum class WorkerState : uint32_t { kAway, kServing, kWaiting, kStopped, kDead };
enum class WorkerEvent : uint32_t { kStart, kRunDry, kWake, kStop, kDie };

inline constexpr Transition<WorkerState, WorkerEvent> kWorkerTransitions[] = {
    {WorkerState::kAway, WorkerEvent::kStart, WorkerState::kServing},
    {WorkerState::kServing, WorkerEvent::kRunDry, WorkerState::kWaiting},
    {WorkerState::kWaiting, WorkerEvent::kWake, WorkerState::kServing},
    {WorkerState::kServing, WorkerEvent::kStop, WorkerState::kStopped},
    {WorkerState::kAway, WorkerEvent::kDie, WorkerState::kDead},  // before it began
    {WorkerState::kServing, WorkerEvent::kDie, WorkerState::kDead},
    {WorkerState::kWaiting, WorkerEvent::kDie, WorkerState::kDead},
    {WorkerState::kDead, WorkerEvent::kStart, WorkerState::kServing},  // its successor
    {WorkerState::kDead, WorkerEvent::kDie, WorkerState::kDead},       // its successor, before it began
};

struct alignas(kCacheLine) WorkerLife {
  std::atomic<WorkerState> state;

  void move(WorkerEvent event) {
    WorkerState to = WorkerState::kAway;
    [[maybe_unused]] const bool allowed =
        next_state(kWorkerTransitions, state.load(std::memory_order_relaxed), event, &to);
    assert(allowed);
    state.store(to, std::memory_order_relaxed);  // it tells observers; work travels with the queue
  }
};

}  // namespace envpool
