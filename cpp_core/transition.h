// The life of an object as a table: from which state which event leads where. Anything else is a bug, or is
// refused.
#pragma once

#include <cstddef>

namespace envpool {

template <typename State, typename Event>
struct Transition {
  State from;
  Event event;
  State to;
};

// False, and no change, when the table has no such move.
template <typename State, typename Event, size_t kMoves>
constexpr bool next_state(const Transition<State, Event> (&table)[kMoves], State from, Event event,
                          State* to) {
  for (const auto& move : table) {
    if (move.from == from && move.event == event) {
      *to = move.to;
      return true;
    }
  }
  return false;
}

}  // namespace envpool
