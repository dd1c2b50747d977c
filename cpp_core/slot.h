// A slot: where one env's request and flags live, and the states it goes through.
//
// The caller writes a slot while it is kIdle and hands it over through the queue; a worker owns it from then
// on until it publishes the row; so every plain field has one writer at a time. `state` only tells observers
// (timeouts, tests) where the env is: ownership travels with the queue and the row's word (row_word.h).
#pragma once

#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "cpp_core/leaf.h"
#include "cpp_core/transition.h"

namespace envpool {

enum class SlotState : uint32_t { kIdle, kDue, kRunning };
enum class SlotEvent : uint32_t { kSend, kClaim, kPublish, kDrop, kBury };

// Every move there is; anything else is a bug in the engine.
inline constexpr Transition<SlotState, SlotEvent> kSlotTransitions[] = {
    {SlotState::kIdle, SlotEvent::kSend, SlotState::kDue},
    {SlotState::kDue, SlotEvent::kClaim, SlotState::kRunning},
    {SlotState::kRunning, SlotEvent::kPublish, SlotState::kIdle},
    {SlotState::kDue, SlotEvent::kDrop, SlotState::kIdle},  // the pool closes
    // Its worker died before it published the row: the caller does it, in its name.
    {SlotState::kDue, SlotEvent::kBury, SlotState::kRunning},
    {SlotState::kRunning, SlotEvent::kBury, SlotState::kRunning},
    {SlotState::kIdle, SlotEvent::kBury, SlotState::kRunning},
};

enum class Request : uint8_t { kBuild, kReset, kStep, kClose, kApply };

// Where a pickled object for or from the env lies in a letter file (py_mailbox.h). length 0: there is none.
struct Letter {
  uint64_t offset;
  uint64_t length;
};

inline constexpr uint32_t kNoBlock = UINT32_MAX;

struct alignas(kCacheLine) Slot {
  // Written by the caller, read by the worker.
  uint32_t block;  // where the row goes; kNoBlock: the next free row, taken when the env is done
  uint32_t row;
  Request request;
  bool reseed;  // the next reset gives the env `seed` first
  int64_t seed;
  Letter inbox;  // written by the caller
  // Written by the worker, kept between requests.
  alignas(kCacheLine) Letter outbox;
  uint8_t untold;  // the hook of a failure that could not be put into the outbox; 0: there is none
  bool built;
  bool needs_reset;  // the next step is a reset: nothing ran yet, or the episode ended
  int32_t elapsed_step;
  std::atomic<uint64_t> steps;
  std::atomic<uint64_t> episodes;
  std::atomic<int64_t> started_ns;  // when the worker took it, on Clock; kept only for pools with a timeout
  // Written by both, each in its own turn.
  std::atomic<SlotState> state;

  void drop_outbox() {
    outbox = {};
    untold = 0;
  }

  void move(SlotEvent event) {
    SlotState to = SlotState::kIdle;
    [[maybe_unused]] const bool allowed =
        next_state(kSlotTransitions, state.load(std::memory_order_relaxed), event, &to);
    assert(allowed);
    state.store(to, std::memory_order_release);  // with what an observer reads next: started_ns
  }
};
static_assert(sizeof(Slot) == 2 * kCacheLine, "a line of the caller's and a line of the worker's");

}  // namespace envpool
