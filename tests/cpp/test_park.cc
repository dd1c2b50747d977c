// The event count. Also compiled with the portable futex, by test_futex_portable.cc.
#include <atomic>
#include <thread>
#include <vector>

#include "cpp_core/park.h"
#include "tests/cpp/check.h"

namespace envpool {
namespace {

TEST(park_notify_between_the_second_look_and_the_sleep_is_not_lost) {
  Park park;
  const uint32_t ticket = park.prepare();
  park.notify(1);
  CHECK_EQ(park.sleep(ticket, in_milliseconds(check::kPatienceMs)), Wait::kWoken);
}

TEST(park_forgets_a_sleeper_that_cancelled_or_slept) {
  Park park;
  const uint32_t first = park.prepare();
  park.cancel();
  park.notify(1);  // nobody is there: must not count as an event
  const uint32_t second = park.prepare();
  CHECK_EQ(first, second);
  const Deadline deadline = in_milliseconds(10);
  while (park.sleep(second, deadline) != Wait::kTimedOut) park.prepare();
  CHECK(Clock::now() >= deadline);
  park.notify(1);
  CHECK_EQ(park.prepare(), first);
  park.cancel();
}

// Sleeps, as the header says, until `condition`; a lost wake-up shows as a deadline that passed.
template <typename Condition>
void sleep_until(Park& park, const Condition& condition) {
  while (!condition()) {
    const uint32_t ticket = park.prepare();
    if (condition()) {
      park.cancel();
      return;
    }
    CHECK(park.sleep(ticket, in_milliseconds(check::kPatienceMs)) != Wait::kTimedOut || condition());
  }
}

void pass_the_turn_around(uint32_t num_threads, uint32_t rounds) {
  std::atomic<uint32_t> turn{0};
  uint32_t passed = 0;  // a plain word: only the thread whose turn it is may touch it
  std::vector<Park> parks(num_threads);
  const auto play = [&](uint32_t me) {
    for (uint32_t round = 0; round < rounds; ++round) {
      const uint32_t mine = round * num_threads + me;
      sleep_until(parks[me], [&] { return turn.load(std::memory_order_seq_cst) == mine; });
      ++passed;
      turn.store(mine + 1, std::memory_order_seq_cst);
      parks[(me + 1) % num_threads].notify(1);
    }
  };
  std::vector<std::thread> threads;
  for (uint32_t i = 1; i < num_threads; ++i) threads.emplace_back(play, i);
  play(0);
  for (auto& thread : threads) thread.join();
  CHECK_EQ(passed, num_threads * rounds);
}

TEST(park_loses_no_wake_up_between_two_threads) { pass_the_turn_around(2, 3000); }
TEST(park_loses_no_wake_up_between_three_threads) { pass_the_turn_around(3, 1000); }
TEST(park_loses_no_wake_up_between_four_threads) { pass_the_turn_around(4, 800); }

TEST(park_shared_by_many_sleepers_hands_out_every_token_once) {
  constexpr uint32_t kTokens = 6000, kTakers = 3;
  Park takers, giver;
  std::atomic<int32_t> tokens{0};
  std::atomic<uint32_t> taken{0};
  const auto take = [&] {
    int32_t seen = tokens.load(std::memory_order_seq_cst);
    while (seen > 0) {
      if (tokens.compare_exchange_weak(seen, seen - 1)) return true;
    }
    return false;
  };
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kTakers; ++i) {
    threads.emplace_back([&] {
      while (taken.load() < kTokens) {
        if (take()) {
          const uint32_t now = taken.fetch_add(1, std::memory_order_seq_cst) + 1;
          giver.notify(1);
          if (now == kTokens) takers.notify(UINT32_MAX);
          continue;
        }
        sleep_until(takers, [&] {
          return tokens.load(std::memory_order_seq_cst) > 0 ||
                 taken.load(std::memory_order_seq_cst) == kTokens;
        });
      }
    });
  }
  for (uint32_t given = 0; given < kTokens;) {
    const uint32_t count = std::min<uint32_t>(1 + given % 4, kTokens - given);
    tokens.fetch_add(static_cast<int32_t>(count), std::memory_order_seq_cst);
    takers.notify(count);
    given += count;
    // Now and then let all of them fall asleep.
    if (given % 3 == 0) sleep_until(giver, [&] { return taken.load(std::memory_order_seq_cst) == given; });
  }
  for (auto& thread : threads) thread.join();
  CHECK_EQ(taken.load(), kTokens);
  CHECK_EQ(tokens.load(), 0);
}

}  // namespace
}  // namespace envpool
