#include <optional>

#include "cpp_core/slot.h"
#include "tests/cpp/check.h"
#include "tests/cpp/check_table.h"

namespace envpool {
namespace {

constexpr SlotState kStates[] = {SlotState::kIdle, SlotState::kDue, SlotState::kRunning};
constexpr SlotEvent kEvents[] = {SlotEvent::kSend, SlotEvent::kClaim, SlotEvent::kPublish, SlotEvent::kDrop,
                                 SlotEvent::kBury};

constexpr auto kNone = std::optional<SlotState>();
constexpr auto kIdle = std::optional(SlotState::kIdle);
constexpr auto kDue = std::optional(SlotState::kDue);
constexpr auto kRunning = std::optional(SlotState::kRunning);

// Where each (state, event) must lead, written down a second time; nothing: refused.
constexpr std::optional<SlotState> kExpected[3][5] = {
    //            kSend  kClaim    kPublish  kDrop  kBury
    /* kIdle */ {kDue, kNone, kNone, kNone, kRunning},
    /* kDue */ {kNone, kRunning, kNone, kIdle, kRunning},
    /* kRunning */ {kNone, kNone, kIdle, kNone, kRunning},
};

TEST(slot_table_allows_what_is_written_here_and_refuses_the_rest_unchanged) {
  check_table(kSlotTransitions, kStates, kEvents, kExpected);
}

TEST(slot_move_goes_round_as_the_table_says) {
  Slot slot{};
  CHECK_EQ(slot.state(), SlotState::kIdle);
  slot.move(SlotEvent::kSend);
  CHECK_EQ(slot.state(), SlotState::kDue);
  slot.move(SlotEvent::kClaim);
  CHECK_EQ(slot.state(), SlotState::kRunning);
  slot.move(SlotEvent::kPublish);
  CHECK_EQ(slot.state(), SlotState::kIdle);
  slot.move(SlotEvent::kSend);
  slot.move(SlotEvent::kDrop);
  CHECK_EQ(slot.state(), SlotState::kIdle);
  slot.move(SlotEvent::kSend);
  slot.move(SlotEvent::kBury);
  CHECK_EQ(slot.state(), SlotState::kRunning);
  slot.move(SlotEvent::kPublish);
  CHECK_EQ(slot.state(), SlotState::kIdle);
  slot.move(SlotEvent::kBury);  // a dead worker's env fails in a request that was never asked
  CHECK_EQ(slot.state(), SlotState::kRunning);
  slot.move(SlotEvent::kBury);
  CHECK_EQ(slot.state(), SlotState::kRunning);
  slot.move(SlotEvent::kPublish);
  CHECK_EQ(slot.state(), SlotState::kIdle);
}

TEST(slot_counts_go_round_past_their_end) {
  Slot slot{};
  for (std::atomic<uint32_t>* count : {&slot.asked, &slot.taken, &slot.answered}) count->store(UINT32_MAX);
  CHECK_EQ(slot.state(), SlotState::kIdle);
  slot.move(SlotEvent::kSend);
  CHECK_EQ(slot.state(), SlotState::kDue);
  slot.move(SlotEvent::kClaim);
  CHECK_EQ(slot.state(), SlotState::kRunning);
  slot.move(SlotEvent::kPublish);
  CHECK_EQ(slot.state(), SlotState::kIdle);
}

TEST(slot_of_zero_bytes_is_idle_unbuilt_and_has_no_seed) {
  // The arena hands out zeroed memory and constructs nothing.
  alignas(Slot) unsigned char zeros[sizeof(Slot)] = {};
  const Slot& slot = *reinterpret_cast<const Slot*>(zeros);
  CHECK_EQ(slot.state(), SlotState::kIdle);
  CHECK(!slot.built);
  CHECK(!slot.reseed);
  CHECK_EQ(slot.steps.load(), 0);
}

}  // namespace
}  // namespace envpool
