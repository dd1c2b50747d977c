#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "cpp_core/pool_life.h"
#include "tests/cpp/check.h"
#include "tests/cpp/check_table.h"
#include "tests/cpp/child.h"
#include "tests/cpp/driven_pool.h"

namespace envpool {
namespace {

constexpr PoolState kStates[] = {PoolState::kOpen, PoolState::kBusy, PoolState::kClosing, PoolState::kClosed,
                                 PoolState::kForked};
constexpr PoolEvent kEvents[] = {PoolEvent::kEnter, PoolEvent::kLeave, PoolEvent::kClose, PoolEvent::kFork};

constexpr auto kNone = std::optional<PoolState>();
constexpr auto kOpen = std::optional(PoolState::kOpen);
constexpr auto kBusy = std::optional(PoolState::kBusy);
constexpr auto kClosing = std::optional(PoolState::kClosing);
constexpr auto kClosed = std::optional(PoolState::kClosed);
constexpr auto kForked = std::optional(PoolState::kForked);

// Where each (state, event) must lead, written down a second time; nothing: refused.
constexpr std::optional<PoolState> kExpected[5][4] = {
    //            kEnter kLeave   kClose    kFork
    /* kOpen */ {kBusy, kNone, kNone, kForked},
    /* kBusy */ {kNone, kOpen, kClosing, kForked},
    /* kClosing */ {kNone, kClosed, kNone, kForked},
    /* kClosed */ {kNone, kNone, kNone, kClosed},
    /* kForked */ {kNone, kForked, kNone, kForked},
};

TEST(pool_table_allows_what_is_written_here_and_refuses_the_rest_unchanged) {
  check_table(kPoolTransitions, kStates, kEvents, kExpected);
}

// Refused, and nothing changed.
void check_refused(PoolLife& life, FaultKind kind) {
  const PoolState before = life.state();
  CHECK_EQ(refusal([&] { life.enter(); }).kind, kind);
  CHECK_EQ(life.state(), before);
}

TEST(pool_lets_one_in_at_a_time_and_nobody_once_it_is_closed) {
  PoolLife life;
  for (int round = 0; round < 2; ++round) {
    life.enter();
    check_refused(life, FaultKind::kPendingCallError);
    life.leave();
    CHECK_EQ(life.state(), PoolState::kOpen);
  }
  life.enter();
  CHECK(!life.closed());
  life.close();
  CHECK(life.closed());
  check_refused(life, FaultKind::kPendingCallError);
  life.leave();
  CHECK(life.closed());
  check_refused(life, FaultKind::kPoolClosedError);
}

TEST(pool_lets_in_one_of_many_threads_and_shows_it_what_the_last_one_did) {
  PoolLife life;
  uint64_t inside = 0;  // plain: tsan sees whether enter() waits for leave()
  std::atomic<uint64_t> entered{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20'000; ++round) {
        try {
          life.enter();
        } catch (const Fault&) {
          continue;
        }
        ++inside;
        entered.fetch_add(1, std::memory_order_relaxed);
        life.leave();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK_EQ(inside, entered.load());
  CHECK(inside > 0);
}

TEST(pool_in_a_forked_child_lets_nobody_in) {
  PoolLife open, busy, closed;
  busy.enter();
  closed.enter();
  closed.close();
  closed.leave();
  Child child([&] {
    for (PoolLife* life : {&open, &busy}) {
      CHECK(life->forked());
      CHECK_EQ(refusal([&] { life->enter(); }).kind, FaultKind::kForkedPoolError);
      check_refused(*life, FaultKind::kForkedPoolError);
      CHECK_EQ(life->state(), PoolState::kForked);
    }
    busy.leave();  // an env that forked returns in the child, too
    check_refused(busy, FaultKind::kForkedPoolError);
    check_refused(closed, FaultKind::kPoolClosedError);
  });
  CHECK(child.ends_well());
  CHECK(!open.forked());
  open.enter();
  check_refused(busy, FaultKind::kPendingCallError);
}

}  // namespace
}  // namespace envpool
