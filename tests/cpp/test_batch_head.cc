#include <cstdint>

#include "cpp_core/batch_head.h"
#include "tests/cpp/check.h"

namespace envpool {
namespace {

struct Counted {
  BatchHead head{};
  Park caller;

  uint32_t done() const { return static_cast<uint32_t>(head.rows_done.load()); }
  // Whether the caller was told since the ticket was taken.
  bool told(uint32_t ticket) {
    const bool changed = caller.prepare() != ticket;
    caller.cancel();
    return changed;
  }
};

TEST(batch_head_is_complete_with_the_last_of_its_rows_and_starts_anew_when_it_is_opened) {
  Counted counted;
  for (const uint32_t rows : {3U, 1U}) {
    counted.head.failed.store(7);
    counted.head.infos.store(7);
    counted.head.open(rows);
    CHECK_EQ(counted.head.failed.load(), 0);
    CHECK_EQ(counted.head.infos.load(), 0);
    for (uint32_t row = 0; row < rows; ++row) {
      CHECK(!counted.head.complete());
      count_done(counted.head, counted.head.round(), counted.caller);
    }
    CHECK(counted.head.complete());
  }
}

TEST(count_of_an_earlier_round_is_dropped_and_wakes_nobody) {
  Counted counted;
  const uint64_t round = counted.head.round();
  counted.head.open(1);
  const uint32_t ticket = counted.caller.prepare();
  count_done(counted.head, round, counted.caller);
  CHECK_EQ(counted.head.round(), round + 1);
  CHECK_EQ(counted.done(), 0);
  CHECK(!counted.told(ticket));
  count_done(counted.head, round + 1, counted.caller);
  CHECK_EQ(counted.done(), 1);
  CHECK(counted.told(ticket));
}

TEST(count_of_several_rows_wakes_the_caller_once_they_are_enough) {
  Counted counted;
  counted.head.open(5);
  const uint32_t ticket = counted.caller.prepare();
  count_done(counted.head, counted.head.round(), counted.caller, 4);
  CHECK(!counted.told(ticket));
  count_done(counted.head, counted.head.round(), counted.caller, 1);
  CHECK(counted.told(ticket));
}

TEST(tally_counts_what_it_has_before_its_worker_turns_to_anything_else) {
  Counted counted;
  counted.head.open(3);
  Tally tally(/*at_once=*/false);
  for (const uint32_t next : {5U, kNoBlock}) {
    const uint32_t before = counted.done();
    tally.turn_to(4, counted.caller);
    tally.add(counted.head, counted.head.round(), counted.caller);
    tally.turn_to(4, counted.caller);
    CHECK_EQ(counted.done(), before);
    tally.turn_to(next, counted.caller);
    CHECK_EQ(counted.done(), before + 1);
  }
}

TEST(batch_head_of_a_dead_worker_wakes_the_caller_at_every_count) {
  Counted counted;
  counted.head.open(5);
  const uint32_t ticket = counted.caller.prepare();
  counted.head.wake_at_every_count();
  count_done(counted.head, counted.head.round(), counted.caller);
  CHECK(counted.told(ticket));
}

TEST(tally_counts_when_its_rows_complete_the_batch_and_otherwise_when_it_is_told_to) {
  Counted one, other;
  Park& caller = one.caller;
  Tally tally(/*at_once=*/false);
  const auto add = [&](Counted& to) { tally.add(to.head, to.head.round(), caller); };
  for (Counted* counted : {&one, &other}) counted->head.open(3);
  add(one);
  add(one);
  CHECK_EQ(one.done(), 0);
  add(one);  // the last one
  CHECK_EQ(one.done(), 3);
  add(other);
  tally.flush(caller);
  tally.flush(caller);
  CHECK_EQ(other.done(), 1);
  add(other);
  CHECK_EQ(other.done(), 1);
  one.head.open(3);
  add(one);  // of another batch
  CHECK_EQ(other.done(), 2);
  CHECK_EQ(one.done(), 0);
}

TEST(tally_completes_a_batch_whose_other_rows_somebody_else_counted) {
  Counted counted;
  counted.head.open(3);
  Tally tally(/*at_once=*/false);
  tally.add(counted.head, counted.head.round(), counted.caller);
  count_done(counted.head, counted.head.round(), counted.caller);
  CHECK_EQ(counted.done(), 1);
  tally.add(counted.head, counted.head.round(), counted.caller);
  CHECK_EQ(counted.done(), 3);
}

TEST(tally_of_an_earlier_round_is_dropped) {
  Counted counted;
  counted.head.open(4);
  Tally tally(/*at_once=*/false);
  tally.add(counted.head, counted.head.round(), counted.caller);
  counted.head.open(4);  // after a death
  tally.add(counted.head, counted.head.round(), counted.caller);
  tally.flush(counted.caller);
  CHECK_EQ(counted.done(), 1);
}

TEST(tally_of_an_asynchronous_pool_counts_each_row_at_once) {
  Counted counted;
  counted.head.open(3);
  Tally tally(/*at_once=*/true);
  for (uint32_t row = 1; row <= 2; ++row) {
    tally.add(counted.head, counted.head.round(), counted.caller);
    CHECK_EQ(counted.done(), row);
  }
}

}  // namespace
}  // namespace envpool
