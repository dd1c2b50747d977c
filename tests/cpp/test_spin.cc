#include <atomic>
#include <thread>

#include "cpp_core/spin.h"
#include "tests/cpp/check.h"

namespace envpool {
namespace {

constexpr int64_t kLongNs = check::kPatienceMs * 1'000'000;

TEST(spin_of_no_time_looks_once_and_keeps_no_core_busy) {
  for (const int64_t spin_ns : {int64_t{0}, int64_t{-1}, INT64_MIN}) {
    int looks = 0;
    CHECK(!spin_until([&] { return ++looks == 0; }, spin_ns));
    CHECK_EQ(looks, 1);
  }
}

TEST(spin_takes_no_time_when_the_condition_holds_already) {
  const Deadline deadline = in_milliseconds(check::kPatienceMs);
  for (const int64_t spin_ns : {int64_t{0}, kLongNs}) CHECK(spin_until([] { return true; }, spin_ns));
  CHECK(Clock::now() < deadline);
}

TEST(spin_ends_and_does_not_give_up_before_its_time) {
  const Deadline until = in_milliseconds(5);
  CHECK(!spin_until([] { return false; }, 5'000'000));
  CHECK(Clock::now() >= until);
}

TEST(spin_sees_what_another_thread_does_meanwhile) {
  std::atomic<int> turn{0};
  std::thread other([&] {
    for (int round = 0; round < 30; ++round) {
      CHECK(spin_until([&] { return turn.load() == 2 * round + 1; }, kLongNs));
      turn.store(2 * round + 2);
    }
  });
  for (int round = 0; round < 30; ++round) {
    turn.store(2 * round + 1);
    // On one core the other thread runs only when this one yields.
    const auto answered = [&] {
      if (turn.load() == 2 * round + 2) return true;
      std::this_thread::yield();
      return false;
    };
    CHECK(spin_until(answered, kLongNs));
  }
  other.join();
}

}  // namespace
}  // namespace envpool
