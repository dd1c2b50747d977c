// Step times and idle times, and the clock they are counted with.
#include <chrono>
#include <memory>
#include <numeric>
#include <thread>

#include "cpp_core/counters.h"
#include "cpp_core/env_pool.h"
#include "tests/cpp/check.h"
#include "tests/cpp/driven_pool.h"
#include "tests/cpp/fake_stepper.h"

namespace envpool {
namespace {

void nap(int64_t ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

uint64_t count_of(const StepTimes& times) {
  uint64_t count = 0;
  for (const auto& bucket : times.buckets) count += bucket.load();
  return count;
}

TEST(step_times_put_each_duration_between_the_powers_of_two_around_it) {
  for (uint64_t bits = 0; bits < 64; ++bits) {
    for (const uint64_t duration : {uint64_t{1} << bits, (uint64_t{1} << bits) - 1}) {
      const auto times = std::make_unique<StepTimes>();
      times->add(duration);
      size_t expected = 0;
      while (expected + 1 < StepTimes::kBuckets && duration >= uint64_t{1} << expected) ++expected;
      CHECK_EQ(times->buckets[expected].load(), 1);
      CHECK_EQ(count_of(*times), 1);
      CHECK_EQ(times->ticks.load(), duration);
    }
  }
}

TEST(ticks_do_not_run_backwards_and_their_rate_is_that_of_the_clock) {
  const TickRate rate;
  const Deadline start = Clock::now();
  uint64_t last = read_ticks();
  const uint64_t first = last;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t now = read_ticks();
    CHECK(now >= last);
    last = now;
  }
  nap(30);
  const uint64_t ticks = read_ticks() - first;
  const double most = std::chrono::duration<double>(Clock::now() - start).count();
  // On a loaded machine a pause may fall between two readings: only a rate that is nonsense is wrong.
  const double seconds = static_cast<double>(ticks) * rate.seconds_per_tick();
  CHECK(seconds > 0.005);
  CHECK(seconds < 3 * most + 0.1);
}

TEST(stopwatch_adds_every_stretch_to_its_total) {
  uint64_t total = 7;
  const uint64_t start = read_ticks();
  for (int i = 0; i < 2; ++i) {
    const Stopwatch watch(&total);
    nap(2);
  }
  const uint64_t passed = read_ticks() - start;
  CHECK(total - 7 <= passed);
  CHECK(total > 7);
}

TEST(step_times_count_steps_and_resets_of_each_env_and_no_errand) {
  for (const uint32_t threads : {0U, 2U}) {
    for (const uint32_t batch_size : {2U, 3U}) {
      DrivenPool driven({.num_envs = 3, .batch_size = batch_size, .num_threads = threads});
      for (int round = 0; round < 5; ++round) {
        driven.send({0, 2});
        while (driven.pool.num_in_flight() > 0) driven.recv();
      }
      driven.run_errand(Request::kApply);
      CHECK_EQ(count_of(driven.pool.arena().step_times(0)), 5);
      CHECK_EQ(count_of(driven.pool.arena().step_times(1)), 0);
      CHECK_EQ(driven.pool.arena().step_times(1).ticks.load(), 0);
      CHECK_EQ(count_of(driven.pool.arena().step_times(2)), 5);
    }
  }
}

TEST(step_times_charge_no_time_twice_and_none_from_before_the_run) {
  DrivenPool driven({.num_envs = 3, .batch_size = 3, .num_threads = 0});
  driven.plan(1).outcome = [](Call call, uint64_t) {
    if (call == Call::kReset) nap(5);
    return Outcome::kOk;
  };
  driven.send(driven.all());
  nap(20);  // the caller's own time
  const uint64_t start = read_ticks();
  driven.recv();
  const uint64_t passed = read_ticks() - start;
  uint64_t total = 0;
  for (uint32_t env = 0; env < 3; ++env) total += driven.pool.arena().step_times(env).ticks.load();
  CHECK(total <= passed);
  const uint64_t slow = driven.pool.arena().step_times(1).ticks.load();
  const TickRate rate;
  nap(20);
  CHECK(static_cast<double>(slow) * rate.seconds_per_tick() > 0.001);
}

TEST(idle_time_of_a_worker_grows_while_it_has_nothing_to_do_and_not_while_it_works) {
  DrivenPool driven({.num_envs = 1, .batch_size = 1, .num_threads = 1});
  const auto idle = [&] { return driven.pool.arena().idle(0).ticks.load(); };
  driven.gate(0).shut();
  driven.send({0});
  driven.gate(0).await_arrivals(1);
  const uint64_t working = idle();
  nap(10);
  CHECK_EQ(idle(), working);
  driven.gate(0).open();
  driven.recv();
  // It went to sleep, was woken by the next send, and noted how long that was.
  CHECK(check::happens([&] {
    driven.send({0});
    driven.recv();
    return idle() > working;
  }));
}

}  // namespace
}  // namespace envpool
