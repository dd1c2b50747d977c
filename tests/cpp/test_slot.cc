#include <optional>

#include "cpp_core/slot.h"
#include "tests/cpp/check.h"

namespace envpool {
namespace {

constexpr SlotState kStates[] = {SlotState::kIdle, SlotState::kDue, SlotState::kRunning};
constexpr SlotEvent kEvents[] = {SlotEvent::kSend, SlotEvent::kClaim, SlotEvent::kPublish, SlotEvent::kDrop};

// Where each (state, event) must lead, written down a second time; nothing: refused.
constexpr std::optional<SlotState> kExpected[3][4] = {
    //             kSend             kClaim                kPublish          kDrop
    /* kIdle */ {SlotState::kDue, std::nullopt, std::nullopt, std::nullopt},
    /* kDue */ {std::nullopt, SlotState::kRunning, std::nullopt, SlotState::kIdle},
    /* kRunning */ {std::nullopt, std::nullopt, SlotState::kIdle, std::nullopt},
};

TEST(slot_table_allows_what_is_written_here_and_refuses_the_rest_unchanged) {
  for (const SlotState from : kStates) {
    for (const SlotEvent event : kEvents) {
      const auto expected = kExpected[static_cast<size_t>(from)][static_cast<size_t>(event)];
      for (const SlotState before : kStates) {
        SlotState to = before;
        CHECK_EQ(next_slot_state(from, event, &to), expected.has_value());
        CHECK_EQ(to, expected.value_or(before));
      }
    }
  }
}

TEST(slot_table_has_no_two_answers_for_one_question) {
  for (const auto& one : kSlotTransitions) {
    size_t same = 0;
    for (const auto& other : kSlotTransitions) same += one.from == other.from && one.event == other.event;
    CHECK_EQ(same, 1);
  }
}

TEST(slot_move_goes_round_as_the_table_says) {
  Slot slot{};
  CHECK_EQ(slot.state.load(), SlotState::kIdle);
  slot.move(SlotEvent::kSend);
  CHECK_EQ(slot.state.load(), SlotState::kDue);
  slot.move(SlotEvent::kClaim);
  CHECK_EQ(slot.state.load(), SlotState::kRunning);
  slot.move(SlotEvent::kPublish);
  CHECK_EQ(slot.state.load(), SlotState::kIdle);
  slot.move(SlotEvent::kSend);
  slot.move(SlotEvent::kDrop);
  CHECK_EQ(slot.state.load(), SlotState::kIdle);
}

TEST(slot_of_zero_bytes_is_idle_unbuilt_and_has_no_seed) {
  // The arena hands out zeroed memory and constructs nothing.
  alignas(Slot) unsigned char zeros[sizeof(Slot)] = {};
  const Slot& slot = *reinterpret_cast<const Slot*>(zeros);
  CHECK_EQ(slot.state.load(), SlotState::kIdle);
  CHECK(!slot.built);
  CHECK(!slot.reseed);
  CHECK_EQ(slot.steps.load(), 0);
}

}  // namespace
}  // namespace envpool
