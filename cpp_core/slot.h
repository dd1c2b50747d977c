// A slot: where one env's request and flags live, and the states it goes through.
//
// The caller hands an env over through the queue (order.h); a worker has it from then on until it publishes
// the row. Each line of a slot has one writer, so that no line travels between cores in a step: the state is
// what the two lines say together. It only tells observers (timeouts, tests) where the env is: ownership
// travels with the queue and the row's word (row_word.h).
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

// Where a pickled object for or from the env lies in a letter file (py_mailbox.h). length 0: there is none.
struct Letter {
  uint64_t offset;
  uint64_t length;
};

struct alignas(kCacheLine) Slot {
  // Written by the caller while the env is idle, read by the worker (which clears `reseed`).
  std::atomic<uint32_t> asked;  // requests so far
  bool reseed;                  // the next reset gives the env `seed` first
  int64_t seed;
  Letter inbox;
  // Written by the worker, kept between requests.
  alignas(kCacheLine) Letter outbox;
  uint8_t untold;  // the hook of a failure that could not be put into the outbox; 0: there is none
  bool built;
  bool needs_reset;  // the next step is a reset: nothing ran yet, or the episode ended
  int32_t elapsed_step;
  std::atomic<uint64_t> steps;
  std::atomic<uint64_t> episodes;
  std::atomic<int64_t> started_ns;  // when the worker took it, on Clock; kept only for pools with a timeout
  std::atomic<uint32_t> taken;      // requests that a worker began …
  std::atomic<uint32_t> answered;   // … and that it is done with

  void drop_outbox() {
    outbox = {};
    untold = 0;
  }

  // For the caller: it is the one who asks.
  SlotState state() const {
    const uint32_t last = asked.load(std::memory_order_relaxed);
    if (answered.load(std::memory_order_acquire) == last) return SlotState::kIdle;
    return taken.load(std::memory_order_acquire) == last ? SlotState::kRunning : SlotState::kDue;
  }

  void move(SlotEvent event) {
    [[maybe_unused]] SlotState to = SlotState::kIdle;
    assert(next_state(kSlotTransitions, state(), event, &to));
    const auto set = [](std::atomic<uint32_t>& count, uint32_t value) {
      count.store(value, std::memory_order_release);  // with what an observer reads next: started_ns
    };
    switch (event) {
      case SlotEvent::kSend:
        set(asked, asked.load(std::memory_order_relaxed) + 1);
        break;
      case SlotEvent::kDrop:
        set(asked, asked.load(std::memory_order_relaxed) - 1);
        break;
      case SlotEvent::kClaim:
        set(taken, taken.load(std::memory_order_relaxed) + 1);
        break;
      case SlotEvent::kPublish:
        set(answered, answered.load(std::memory_order_relaxed) + 1);
        break;
      case SlotEvent::kBury:
        set(taken, asked.load(std::memory_order_relaxed));
        set(answered, asked.load(std::memory_order_relaxed) - 1);
    }
    assert(state() == to);
  }
};
static_assert(sizeof(Slot) == 2 * kCacheLine, "a line of the caller's and a line of the worker's");

}  // namespace envpool
