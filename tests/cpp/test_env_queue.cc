// Due envs: each taken once, in order, by whoever is free. Also compiled with the portable futex, by
// test_futex_portable.cc.
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "cpp_core/env_queue.h"
#include "tests/cpp/check.h"

namespace envpool {
namespace {

constexpr int64_t kShortSpinNs = 20'000;

// Everything else follows from the env, so that halves of two orders would show.
Order order_of(uint32_t env) { return {env, static_cast<Request>(env % 5), env * 3, ~env}; }

std::vector<Order> orders_of(const std::vector<uint32_t>& envs) {
  std::vector<Order> orders;
  for (const uint32_t env : envs) orders.push_back(order_of(env));
  return orders;
}

bool is_whole(const Order& order) {
  const Order expected = order_of(order.env);
  return order.request == expected.request && order.block == expected.block && order.row == expected.row;
}

struct OwnQueue {
  explicit OwnQueue(uint32_t num_envs)
      : cells(EnvQueue::cells_for(num_envs)), queue(&words, cells.data(), cells.size()) {}

  QueueWords words;
  std::vector<QueueCell> cells;
  EnvQueue queue;
  std::atomic<bool> stop{false};
};

TEST(env_queue_has_a_cell_for_each_env_and_a_power_of_two) {
  for (uint32_t envs = 1; envs <= 1100; ++envs) {
    const size_t cells = EnvQueue::cells_for(envs);
    CHECK(cells >= envs);
    CHECK(cells < 2 * envs);
    CHECK_EQ(cells & (cells - 1), 0);
  }
}

TEST(env_queue_keeps_the_order_of_sends_over_many_wraps) {
  for (const uint32_t num_envs : {1U, 2U, 3U, 5U, 8U}) {
    OwnQueue own(num_envs);
    uint32_t next = 0, expected = 0;
    for (uint32_t round = 0; round < 1000; ++round) {
      std::vector<uint32_t> envs(1 + round % num_envs);
      std::iota(envs.begin(), envs.end(), next);
      own.queue.push(orders_of(envs).data(), envs.size());
      next += static_cast<uint32_t>(envs.size());
      CHECK(!own.queue.empty());
      for (Order order; expected < next; ++expected) {
        CHECK(own.queue.try_pop(&order));
        CHECK_EQ(order.env, expected);
        CHECK(is_whole(order));
      }
      Order nothing;
      CHECK(own.queue.empty());
      CHECK(!own.queue.try_pop(&nothing));
    }
  }
}

TEST(env_queue_push_of_nothing_makes_nothing_due) {
  OwnQueue own(4);
  own.queue.push(nullptr, 0);
  Order order;
  CHECK(own.queue.empty());
  CHECK(!own.queue.try_pop(&order));
}

// Each env carries a plain payload in both directions, so a race or a second taker shows under tsan and in
// the numbers alike.
void take_each_env_once(uint32_t num_envs, uint32_t num_takers, uint32_t rounds, int64_t spin_ns = 0) {
  struct alignas(64) Env {
    std::atomic<bool> due{false};  // relaxed: only the queue may order what follows
    std::atomic<uint32_t> returned{0};
    uint32_t request = 0;  // written by the pusher while the env is not due
    uint32_t answer = 0;   // written by its taker
  };
  OwnQueue own(num_envs);
  std::vector<Env> envs(num_envs);
  std::vector<std::thread> takers;
  for (uint32_t i = 0; i < num_takers; ++i) {
    takers.emplace_back([&] {
      while (!own.stop.load(std::memory_order_acquire)) {
        Order order;
        if (!own.queue.try_pop(&order)) {
          own.queue.wait(own.stop, spin_ns, in_milliseconds(check::kPatienceMs));
          continue;
        }
        const uint32_t id = order.env;
        CHECK(id < num_envs);
        CHECK(is_whole(order));
        CHECK(envs[id].due.exchange(false, std::memory_order_relaxed));
        envs[id].answer = envs[id].request + id;
        envs[id].returned.fetch_add(1, std::memory_order_release);
      }
    });
  }
  std::vector<uint32_t> sent(num_envs, 0), due;
  CHECK(check::happens([&] {
    due.clear();
    bool all = true;
    for (uint32_t id = 0; id < num_envs; ++id) {
      const uint32_t returned = envs[id].returned.load(std::memory_order_acquire);
      CHECK(returned <= sent[id]);
      all = all && returned == rounds;
      if (returned < sent[id]) continue;
      if (returned > 0) CHECK_EQ(envs[id].answer, returned * 10 + id);
      if (returned == rounds) continue;
      envs[id].request = ++sent[id] * 10;
      CHECK(!envs[id].due.exchange(true, std::memory_order_relaxed));
      due.push_back(id);
    }
    if (!due.empty()) own.queue.push(orders_of(due).data(), due.size());
    return all;
  }));
  own.stop.store(true, std::memory_order_seq_cst);
  own.queue.wake_all();
  for (auto& taker : takers) taker.join();
  CHECK(own.queue.empty());
  for (uint32_t id = 0; id < num_envs; ++id) CHECK_EQ(envs[id].returned.load(), rounds);
}

TEST(env_queue_gives_each_env_to_one_of_two_takers) { take_each_env_once(2, 2, 1500); }
TEST(env_queue_gives_each_env_to_one_of_two_takers_that_spin) {
  take_each_env_once(2, 2, 1500, kShortSpinNs);
}
TEST(env_queue_gives_each_env_to_one_of_four_takers_with_every_cell_in_use) { take_each_env_once(4, 4, 800); }
TEST(env_queue_gives_each_env_to_one_of_three_takers_with_odd_sizes) { take_each_env_once(13, 3, 400); }
TEST(env_queue_survives_more_takers_than_envs) { take_each_env_once(1, 4, 1000); }

TEST(env_queue_drained_by_four_at_once_gives_no_env_twice) {
  constexpr uint32_t kEnvs = 4096, kRounds = 20, kTakers = 4;
  OwnQueue own(kEnvs);
  std::vector<uint32_t> all(kEnvs);
  std::iota(all.begin(), all.end(), 0);
  for (uint32_t round = 0; round < kRounds; ++round) {
    own.queue.push(orders_of(all).data(), all.size());
    std::atomic<bool> go{false};
    std::vector<std::atomic<uint32_t>> taken(kEnvs);
    std::vector<std::thread> takers;
    for (uint32_t i = 0; i < kTakers; ++i) {
      takers.emplace_back([&] {
        while (!go.load()) std::this_thread::yield();
        for (Order order; own.queue.try_pop(&order);)
          taken[order.env].fetch_add(1, std::memory_order_relaxed);
      });
    }
    go.store(true);
    for (auto& taker : takers) taker.join();
    for (const auto& times : taken) CHECK_EQ(times.load(), 1);
  }
}

TEST(env_queue_push_wakes_a_sleeper_every_time) {
  OwnQueue own(2);
  std::atomic<uint32_t> popped{0};
  constexpr uint32_t kRounds = 1000;
  std::thread taker([&] {
    for (uint32_t round = 0; round < kRounds; ++round) {
      const Deadline deadline = in_milliseconds(check::kPatienceMs);
      Order order;
      while (!own.queue.try_pop(&order)) {
        own.queue.wait(own.stop, round % 2 * kShortSpinNs, deadline);
        CHECK(Clock::now() < deadline);
      }
      CHECK_EQ(order.env, round % 2);
      popped.fetch_add(1);
    }
  });
  for (uint32_t round = 0; round < kRounds; ++round) {
    const Order order = order_of(round % 2);
    own.queue.push(&order, 1);
    CHECK(check::happens([&] { return popped.load() == round + 1; }));
  }
  taker.join();
}

// Takers that take one order each, and then no more.
TEST(env_queue_push_of_several_wakes_as_many) {
  constexpr uint32_t kTakers = 3;
  for (int round = 0; round < 20; ++round) {
    OwnQueue own(kTakers);
    const Deadline deadline = in_milliseconds(check::kPatienceMs);
    std::atomic<uint32_t> ready{0};
    std::vector<std::thread> takers;
    for (uint32_t i = 0; i < kTakers; ++i) {
      takers.emplace_back([&] {
        ready.fetch_add(1);
        for (Order order; !own.queue.try_pop(&order);) own.queue.wait(own.stop, 0, deadline);
      });
    }
    CHECK(check::happens([&] { return ready.load() == kTakers; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // most rounds find them asleep
    own.queue.push(orders_of({0, 1, 2}).data(), kTakers);
    for (auto& taker : takers) taker.join();
    CHECK(Clock::now() < deadline);
  }
}

// What wakes the taker comes a little later each round, so that some of it comes just when the taker has
// looked and goes to sleep.
template <typename Wake>
void wake_while_it_falls_asleep(OwnQueue& own, const std::function<bool()>& is_awake, const Wake& wake) {
  constexpr uint32_t kRounds = 4'000, kLongest = 100;
  std::atomic<uint32_t> asked{0}, woken{0};
  std::thread taker([&] {
    for (uint32_t round = 1; round <= kRounds; ++round) {
      const Deadline deadline = in_milliseconds(check::kPatienceMs);
      while (asked.load() != round) pause_cpu();
      while (!is_awake()) own.queue.wait(own.stop, 0, deadline);
      CHECK(Clock::now() < deadline);
      woken.store(round);
    }
  });
  for (uint32_t round = 1; round <= kRounds; ++round) {
    asked.store(round);
    for (uint32_t i = 0; i < round % kLongest; ++i) pause_cpu();
    wake();
    CHECK(check::happens([&] { return woken.load() == round; }));
    own.stop.store(false);
  }
  taker.join();
}

TEST(env_queue_taker_that_falls_asleep_misses_no_push) {
  OwnQueue own(1);
  const Order order = order_of(0);
  wake_while_it_falls_asleep(
      own,
      [&] {
        Order taken;
        return own.queue.try_pop(&taken);
      },
      [&] { own.queue.push(&order, 1); });
}

TEST(env_queue_taker_that_falls_asleep_misses_no_stop) {
  OwnQueue own(1);
  wake_while_it_falls_asleep(
      own, [&] { return own.stop.load(std::memory_order_acquire); },
      [&] {
        own.stop.store(true, std::memory_order_seq_cst);
        own.queue.wake_all();
      });
}

TEST(env_queue_of_a_dead_taker_is_empty_has_no_sleeper_and_serves_the_next_taker) {
  OwnQueue own(4);
  const std::vector<Order> orders = orders_of({2, 0, 3, 1});
  for (int round = 0; round < 10; ++round) {
    own.queue.push(orders.data(), 4);
    Order order;
    CHECK(own.queue.try_pop(&order));
    CHECK_EQ(order.env, 2);
    const uint32_t ticket = own.words.park.prepare();  // it died on its way to sleep
    own.queue.bury_taker();
    CHECK(own.queue.empty());
    CHECK(!own.queue.try_pop(&order));
    own.words.park.notify(1);
    CHECK_EQ(own.words.park.prepare(), ticket);  // notify() found no sleeper
    own.words.park.cancel();
    own.queue.push(orders.data(), 4);
    for (const Order& expected : orders) {
      CHECK(own.queue.try_pop(&order));
      CHECK_EQ(order.env, expected.env);
    }
  }
}

TEST(env_queue_stop_wakes_every_sleeper) {
  OwnQueue own(4);
  const Deadline deadline = in_milliseconds(check::kPatienceMs);
  std::atomic<uint32_t> ready{0};
  std::vector<std::thread> takers;
  for (int i = 0; i < 4; ++i) {
    takers.emplace_back([&] {
      ready.fetch_add(1);
      while (!own.stop.load(std::memory_order_acquire)) own.queue.wait(own.stop, 0, deadline);
    });
  }
  CHECK(check::happens([&] { return ready.load() == 4; }));
  own.stop.store(true, std::memory_order_seq_cst);
  own.queue.wake_all();
  for (auto& taker : takers) taker.join();
  CHECK(Clock::now() < deadline);
}

TEST(env_queue_wait_ends_at_its_deadline) {
  OwnQueue own(4);
  const Deadline deadline = in_milliseconds(10);
  for (int64_t spin_ns = 0; Clock::now() < deadline; spin_ns += kShortSpinNs) {
    own.queue.wait(own.stop, spin_ns, deadline);
  }
  CHECK(own.queue.empty());
}

TEST(env_queue_wait_does_not_sleep_past_what_is_due_or_past_stop) {
  const Deadline deadline = in_milliseconds(check::kPatienceMs);
  OwnQueue own(4);
  const Order order = order_of(3);
  own.queue.push(&order, 1);
  for (const int64_t spin_ns : {int64_t{0}, 1000 * kShortSpinNs}) own.queue.wait(own.stop, spin_ns, deadline);
  OwnQueue stopped(4);
  stopped.stop.store(true);
  for (const int64_t spin_ns : {int64_t{0}, 1000 * kShortSpinNs}) {
    stopped.queue.wait(stopped.stop, spin_ns, deadline);
  }
  CHECK(Clock::now() < deadline);
}

}  // namespace
}  // namespace envpool
