// Walks a table of transitions: every state with every event, and nothing else.
#pragma once

#include <cstddef>
#include <optional>

#include "cpp_core/transition.h"
#include "tests/cpp/check.h"

namespace envpool {

// `states` and `events` are all there are, in the order of their numbers; `expected`: where each pair leads.
template <typename State, typename Event, size_t kMoves, size_t kNumStates, size_t kNumEvents>
void check_table(const Transition<State, Event> (&table)[kMoves], const State (&states)[kNumStates],
                 const Event (&events)[kNumEvents],
                 const std::optional<State> (&expected)[kNumStates][kNumEvents]) {
  size_t moves = 0;
  for (size_t from = 0; from < kNumStates; ++from) {
    CHECK_EQ(static_cast<size_t>(states[from]), from);
    for (size_t event = 0; event < kNumEvents; ++event) {
      CHECK_EQ(static_cast<size_t>(events[event]), event);
      const std::optional<State>& there = expected[from][event];
      moves += there.has_value() ? 1 : 0;
      for (const State before : states) {
        State to = before;
        CHECK_EQ(next_state(table, states[from], events[event], &to), there.has_value());
        CHECK_EQ(to, there.value_or(before));
      }
    }
  }
  CHECK_EQ(moves, kMoves);  // no move twice, and none from or to a state that is not here
}

}  // namespace envpool
