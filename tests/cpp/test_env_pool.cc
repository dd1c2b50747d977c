// The pool as a whole: what comes back, in which order, and what is refused.
#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cpp_core/env_pool.h"
#include "tests/cpp/check.h"
#include "tests/cpp/driven_pool.h"
#include "tests/cpp/fake_stepper.h"
#include "tests/cpp/leak_on_purpose.h"

namespace envpool {
namespace {

struct Refusal {
  FaultKind kind;
  std::string message;
};

Refusal refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Fault& fault) {
    return {fault.kind, fault.what()};
  }
  check::fail(__FILE__, __LINE__, "nothing was refused");
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

Ids sorted(Ids ids) {
  std::sort(ids.begin(), ids.end());
  return ids;
}

// ---- synchronous: order ----

TEST(sync_batches_come_in_the_order_of_sends_and_rows_in_the_order_of_the_request) {
  for (const uint32_t threads : {0U, 1U, 3U}) {
    DrivenPool driven({.num_envs = 6, .batch_size = 6, .num_threads = threads});
    for (int64_t round = 0; round < 50; ++round) {
      const std::vector<Ids> sends = {{5, 0, 3}, {2}, {4, 1}};
      for (int32_t env = 0; env < 6; ++env) driven.act(env, round * 10 + env);
      for (const Ids& ids : sends) driven.send(ids);
      CHECK_EQ(driven.pool.num_in_flight(), 6);
      CHECK_EQ(driven.pool.num_pending_batches(), 3);
      for (const Ids& ids : sends) {
        const Received batch = driven.recv();
        CHECK_EQ(batch.ids(), ids);
        for (const FakeRow& row : batch.rows) {
          CHECK_EQ(row.obs.env, row.env_id);
          CHECK_EQ(row.elapsed_step, round);
        }
      }
      CHECK_EQ(driven.pool.num_in_flight(), 0);
    }
  }
}

TEST(sync_first_batch_comes_first_though_a_later_one_is_ready) {
  DrivenPool driven({.num_envs = 4, .batch_size = 4, .num_threads = 2});
  driven.gate(0).shut();
  driven.send({0, 1});
  driven.send({3, 2});
  for (const uint32_t env : {1, 2, 3}) driven.await_idle(env);
  driven.pool.begin_recv();
  CHECK(!driven.pool.front_ready());
  driven.gate(0).open();
  CHECK_EQ(driven.recv().ids(), (Ids{0, 1}));
  CHECK_EQ(driven.recv().ids(), (Ids{3, 2}));
}

TEST(sync_rows_keep_their_order_though_the_first_env_ends_last) {
  DrivenPool driven({.num_envs = 3, .batch_size = 3, .num_threads = 3});
  driven.gate(1).shut();
  driven.send({1, 2, 0});
  driven.await_idle(2);
  driven.await_idle(0);
  driven.gate(1).open();
  CHECK_EQ(driven.recv().ids(), (Ids{1, 2, 0}));
}

TEST(sync_send_of_no_envs_is_a_batch_of_no_rows) {
  for (const uint32_t threads : {0U, 2U}) {
    DrivenPool driven({.num_envs = 2, .batch_size = 2, .num_threads = threads});
    driven.send({});
    driven.send({1});
    CHECK_EQ(driven.recv().rows.size(), 0);
    CHECK_EQ(driven.recv().ids(), (Ids{1}));
  }
}

// ---- asynchronous: who comes first ----

TEST(async_batch_is_of_the_envs_that_finished_first) {
  DrivenPool driven({.num_envs = 4, .batch_size = 2, .num_threads = 4});
  for (uint32_t env = 0; env < 4; ++env) driven.gate(env).shut();
  driven.send(driven.all(), Request::kReset);
  for (const uint32_t env : {2, 0}) {
    driven.gate(env).open();
    driven.await_idle(env);
  }
  CHECK_EQ(driven.recv().ids(), (Ids{2, 0}));
  CHECK_EQ(driven.pool.num_in_flight(), 2);
  CHECK(driven.pool.in_flight(1));
  CHECK(!driven.pool.in_flight(2));
  driven.send({2});  // overtakes the two that are held
  for (const uint32_t env : {2, 3}) {
    driven.gate(env).open();
    driven.await_idle(env);
  }
  CHECK_EQ(driven.recv().ids(), (Ids{2, 3}));
  driven.gate(1).open();
  const Received last = driven.recv();
  CHECK_EQ(last.ids(), (Ids{1}));
  CHECK_EQ(last.rows[0].obs, (FakeObs{1, 0, 0, fake_mix(0, -1)}));
}

TEST(async_batch_is_short_when_fewer_envs_are_in_flight) {
  for (const uint32_t threads : {0U, 1U, 3U}) {
    DrivenPool driven({.num_envs = 5, .batch_size = 4, .num_threads = threads});
    for (int32_t round = 0; round < 20; ++round) {
      driven.send({4, 1});
      CHECK_EQ(sorted(driven.recv().ids()), (Ids{1, 4}));
      driven.send(driven.all());
      const Received full = driven.recv();
      CHECK_EQ(full.rows.size(), 4);
      const Received rest = driven.recv();
      CHECK_EQ(rest.rows.size(), 1);
      Ids both = full.ids();
      both.push_back(rest.rows[0].env_id);
      CHECK_EQ(sorted(both), driven.all());
      CHECK_EQ(driven.pool.num_pending_batches(), 0);
    }
  }
}

TEST(async_short_batch_becomes_longer_when_more_is_sent_before_it_is_taken) {
  DrivenPool driven({.num_envs = 4, .batch_size = 3, .num_threads = 2});
  driven.gate(0).shut();
  driven.send({0});
  driven.pool.begin_recv();  // expects one row; the caller's timeout passes, say
  CHECK(!driven.pool.front_ready());
  driven.send({1, 2, 3});
  driven.pool.begin_recv();
  driven.gate(0).open();
  CHECK_EQ(driven.recv().rows.size(), 3);
  CHECK_EQ(driven.recv().rows.size(), 1);
}

TEST(async_wait_is_not_lost_when_the_last_row_races_the_shortening_of_its_batch) {
  DrivenPool driven({.num_envs = 5, .batch_size = 4, .num_threads = 2});
  for (uint32_t round = 0; round < 3000; ++round) {
    Ids ids;
    for (uint32_t i = 0; i <= round % 3; ++i) ids.push_back(static_cast<int32_t>((round + i) % 5));
    driven.send(ids);
    CHECK_EQ(sorted(driven.recv().ids()), sorted(ids));
  }
}

TEST(async_inline_pool_steps_no_more_envs_than_a_batch_needs) {
  DrivenPool driven({.num_envs = 4, .batch_size = 2, .num_threads = 0});
  driven.send({3, 1, 0, 2});
  CHECK_EQ(driven.recv().ids(), (Ids{3, 1}));
  CHECK_EQ(driven.stepper().calls(0, Call::kReset), 0);
  CHECK_EQ(driven.recv().ids(), (Ids{0, 2}));
}

// ---- refusals ----

TEST(pool_refuses_wrong_ids_and_changes_nothing) {
  for (const uint32_t batch_size : {2U, 5U}) {
    DrivenPool driven({.num_envs = 5, .batch_size = batch_size, .num_threads = 0});
    driven.send({2});
    const std::pair<Ids, std::string> wrong[] = {
        {{5}, "env_id 5 is out of range: this pool has envs 0 to 4"},
        {{0, 1, -1}, "env_id -1 is out of range"},
        {{0, INT32_MAX}, "out of range"},
        {{0, INT32_MIN}, "out of range"},
        {{2}, "env 2 is still in flight"},
        {{0, 3, 2}, "env 2 is still in flight"},
        {{2, 2}, "env 2 is still in flight"},
        {{0, 1, 0}, "env_id 0 is there twice"},
        {{4, 4, 9}, "env_id 4 is there twice"},
        {{0, 1, 3, 4, 0, 1, 3, 4}, "env_id 0 is there twice"},
    };
    for (const auto& [ids, message] : wrong) {
      const Refusal refused = refusal([&] { driven.send(ids); });
      CHECK_EQ(refused.kind, FaultKind::kActionError);
      if (!contains(refused.message, message)) CHECK_EQ(refused.message, message);
      for (uint32_t env = 0; env < 5; ++env) {
        CHECK_EQ(driven.pool.in_flight(env), env == 2);
        CHECK_EQ(driven.slot(env).state.load(), env == 2 ? SlotState::kDue : SlotState::kIdle);
      }
      CHECK_EQ(driven.pool.num_in_flight(), 1);
      CHECK_EQ(driven.pool.num_pending_batches(), 1);
    }
    driven.send({0, 1, 3, 4});
    Ids ids = driven.recv().ids();
    while (driven.pool.num_in_flight() > 0) {
      for (const int32_t id : driven.recv().ids()) ids.push_back(id);
    }
    CHECK_EQ(sorted(ids), driven.all());
    CHECK_EQ(driven.stepper().calls(0, Call::kReset), 1);
  }
}

TEST(pool_refuses_recv_with_nothing_pending) {
  for (const uint32_t batch_size : {2U, 4U}) {
    DrivenPool driven({.num_envs = 4, .batch_size = batch_size, .num_threads = 1});
    for (int round = 0; round < 2; ++round) {
      CHECK_EQ(refusal([&] { driven.recv(); }).kind, FaultKind::kNothingPendingError);
      driven.send({1, 2});
      driven.recv();
    }
    if (driven.pool.is_async()) {
      driven.send({});  // nothing is in flight after it either
      CHECK_EQ(refusal([&] { driven.recv(); }).kind, FaultKind::kNothingPendingError);
    }
  }
}

TEST(sync_pool_refuses_sends_beyond_its_limit_and_changes_nothing) {
  DrivenPool driven({.num_envs = 40, .batch_size = 40, .num_threads = 0});
  const uint32_t limit = EnvPool::kMostPendingSends + 2;  // the ring's reserve, and its two spare blocks
  CHECK_EQ(EnvPool::most_in_flight(40, 40), EnvPool::kMostPendingSends);
  for (int round = 0; round < 3; ++round) {
    for (uint32_t i = 0; i < limit; ++i) driven.send({static_cast<int32_t>(i)});
    const Refusal refused = refusal([&] { driven.send({39, 38}); });
    CHECK_EQ(refused.kind, FaultKind::kPendingCallError);
    CHECK(contains(refused.message, std::to_string(limit) + " batches are in flight"));
    CHECK_EQ(driven.pool.num_pending_batches(), limit);
    CHECK_EQ(driven.pool.num_in_flight(), limit);
    CHECK(!driven.pool.in_flight(39));
    CHECK_EQ(driven.slot(39).state.load(), SlotState::kIdle);
    CHECK_EQ(driven.recv().ids(), (Ids{0}));
    driven.send({39, 38});
    for (uint32_t i = 1; i < limit; ++i) CHECK_EQ(driven.recv().ids(), (Ids{static_cast<int32_t>(i)}));
    CHECK_EQ(driven.recv().ids(), (Ids{39, 38}));
  }
}

TEST(pool_has_room_for_every_batch_in_flight_while_the_user_holds_all_he_may) {
  for (const auto& [num_envs, batch_size] : std::vector<std::pair<uint32_t, uint32_t>>{
           {1, 1}, {4, 4}, {20, 20}, {4, 3}, {5, 1}, {7, 2}, {16, 15}, {9, 4}}) {
    DrivenPool driven({.num_envs = num_envs, .batch_size = batch_size, .num_threads = 0, .spare_blocks = 3});
    std::vector<uint32_t> held;
    for (uint32_t round = 0; round < 40; ++round) {
      // As many batches as can be: one env at a time where each send is one.
      for (uint32_t env = 0; env < num_envs; ++env) {
        const auto id = static_cast<int32_t>(env);
        if (driven.pool.is_async() || driven.pool.num_pending_batches() < EnvPool::kMostPendingSends) {
          if (!driven.pool.in_flight(env)) driven.send({id});
        }
      }
      CHECK(driven.pool.num_pending_batches() <= EnvPool::most_in_flight(num_envs, batch_size));
      for (uint32_t taken = 0; taken < 1 + round % 3 && driven.pool.num_in_flight() > 0; ++taken) {
        uint32_t block = 0;
        driven.recv(&block);
        if (driven.pool.ring()->try_hold()) {
          held.push_back(block);
        } else {
          driven.pool.ring()->release(block, false);
        }
      }
    }
    CHECK_EQ(held.size(), 3);
    for (const uint32_t block : held) driven.pool.ring()->release(block, true);
  }
}

// ---- trajectories ----

constexpr uint32_t kEnvs = 8;
constexpr uint32_t kSteps = 400;  // of each env, resets among them

using Trajectories = std::vector<std::vector<FakeRow>>;

int64_t action_of(int32_t env, size_t number) { return fake_mix(env + 1, static_cast<int64_t>(number)); }

void plan_trajectories(DrivenPool& driven, uint32_t spins) {
  for (uint32_t env = 0; env < kEnvs; ++env) {
    FakePlan& plan = driven.plan(env);
    plan.episode_length = static_cast<int32_t>(3 + env * 5);  // some are cut at max_episode_steps
    plan.most_spins = spins;
    plan.info = env == 3;
    plan.outcome = [env](Call call, uint64_t number) {
      return call == Call::kStep && number % 97 == 10 * env ? Outcome::kFailed : Outcome::kOk;
    };
    driven.slot(env).reseed = true;
    driven.slot(env).seed = 42 + env;
  }
}

// What each env must say, worked out without pool, queue or rows.
std::vector<FakeRow> foretell(int32_t env, int32_t max_episode_steps) {
  std::vector<FakeRow> rows;
  int64_t state = fake_mix(0, 42 + env), episode = 0;
  int32_t t = 0;
  uint64_t steps = 0;
  bool needs_reset = true, seeded = false;
  for (size_t number = 0; number < kSteps; ++number) {
    FakeRow row{};
    row.env_id = env;
    row.discount = 1;
    if (needs_reset) {
      if (seeded) state = fake_mix(state, -1);
      episode = seeded ? episode + 1 : 0;
      seeded = true;
      t = 0;
      row.step_type = kFirst;
    } else if (steps++ % 97 == static_cast<uint64_t>(10 * env)) {
      row.elapsed_step = t;
      row.truncated = row.done = row.trunc = true;
      row.step_type = kLast;
      rows.push_back(row);
      needs_reset = true;
      continue;
    } else {
      state = fake_mix(state, action_of(env, number));
      ++t;
      row.reward = fake_reward(state);
      row.terminated = t >= 3 + env * 5;
      row.truncated = t >= max_episode_steps;
      row.done = row.terminated || row.truncated;
      row.trunc = row.truncated && !row.terminated;
      row.discount = row.terminated ? 0 : 1;
      row.step_type = row.done ? kLast : kMid;
    }
    row.elapsed_step = t;
    row.obs = {env, episode, t, state};
    for (uint8_t& byte : row.odd) byte = static_cast<uint8_t>((env * 31 + t) % 251);
    needs_reset = row.done;
    rows.push_back(row);
  }
  return rows;
}

void check_trajectories(const Trajectories& got, int32_t max_episode_steps, const std::string& where) {
  for (int32_t env = 0; env < static_cast<int32_t>(kEnvs); ++env) {
    const auto expected = foretell(env, max_episode_steps);
    CHECK_EQ(got[env].size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      if (got[env][i] == expected[i]) continue;
      check::fail(__FILE__, __LINE__,
                  where + ", env " + std::to_string(env) + ", row " + std::to_string(i) + ": got\n  " +
                      check::show(got[env][i]) + ", expected\n  " + check::show(expected[i]));
    }
  }
}

void keep(const Received& batch, Trajectories* into) {
  bool failed = false, infos = false;
  for (const FakeRow& row : batch.rows) {
    (*into)[static_cast<size_t>(row.env_id)].push_back(row);
    const bool row_failed = row.done && row.obs == FakeObs{} && row.reward == 0;
    failed = failed || row_failed;
    infos = infos || (row.env_id == 3 && !row_failed);
  }
  CHECK_EQ(batch.failed, failed);  // and not what the block's last batch said
  CHECK_EQ(batch.infos, infos);
}

TEST(sync_trajectories_are_those_foretold_for_every_number_of_workers) {
  constexpr int32_t kLimit = 20;
  for (const uint32_t threads : {0U, 1U, 2U, 3U, 8U}) {
    DrivenPool driven(
        {.num_envs = kEnvs, .batch_size = kEnvs, .num_threads = threads, .max_episode_steps = kLimit});
    plan_trajectories(driven, threads == 0 ? 0 : 3000);
    Trajectories got(kEnvs);
    for (size_t number = 0; number < kSteps; ++number) {
      for (int32_t env = 0; env < static_cast<int32_t>(kEnvs); ++env) driven.act(env, action_of(env, number));
      // Sometimes in one send, sometimes in several, in another order each time.
      Ids ids = driven.all();
      std::rotate(ids.begin(), ids.begin() + static_cast<int>(number % kEnvs), ids.end());
      const auto cut = ids.begin() + static_cast<int>(number % 3 * 2);
      if (cut != ids.begin()) driven.send(Ids(ids.begin(), cut));
      driven.send(Ids(cut, ids.end()));
      while (driven.pool.num_pending_batches() > 0) keep(driven.recv(), &got);
    }
    check_trajectories(got, kLimit, "sync, threads " + std::to_string(threads));
    CHECK(threads == 0 || driven.pool.ring()->touched() <= 2);
  }
}

TEST(async_trajectories_are_those_foretold_for_every_number_of_workers_and_batch_size) {
  constexpr int32_t kLimit = 20;
  for (const uint32_t batch_size : {1U, 3U, 7U}) {
    for (const uint32_t threads : {0U, 1U, 2U, 3U, 8U}) {
      DrivenPool driven(
          {.num_envs = kEnvs, .batch_size = batch_size, .num_threads = threads, .max_episode_steps = kLimit});
      plan_trajectories(driven, threads == 0 ? 0 : 3000);
      Trajectories got(kEnvs);
      Ids ready = driven.all();
      while (true) {
        Ids ids;
        for (const int32_t env : ready) {
          const size_t number = got[static_cast<size_t>(env)].size();
          if (number == kSteps) continue;
          driven.act(env, action_of(env, number));
          ids.push_back(env);
        }
        if (!ids.empty()) driven.send(ids);
        if (driven.pool.num_in_flight() == 0) break;
        const uint32_t expected = std::min(batch_size, driven.pool.num_in_flight());
        const Received batch = driven.recv();
        CHECK_EQ(batch.rows.size(), expected);
        keep(batch, &got);
        ready = batch.ids();
      }
      check_trajectories(
          got, kLimit, "async, batch " + std::to_string(batch_size) + ", threads " + std::to_string(threads));
      CHECK_EQ(driven.pool.num_pending_batches(), 0);
    }
  }
}

TEST(batch_held_by_the_user_is_not_overwritten_by_later_ones) {
  DrivenPool driven({.num_envs = 3, .batch_size = 2, .num_threads = 2, .spare_blocks = 4});
  std::vector<std::pair<uint32_t, std::vector<FakeRow>>> held;
  driven.send(driven.all());
  for (int round = 0; round < 300; ++round) {
    uint32_t block = 0;
    const Received batch = driven.recv(&block);
    if (driven.pool.ring()->try_hold()) {
      held.emplace_back(block, batch.rows);
    } else {
      driven.pool.ring()->release(block, false);
    }
    driven.send(batch.ids());
  }
  CHECK_EQ(held.size(), 4);
  for (const auto& [block, rows] : held) {
    for (uint32_t row = 0; row < rows.size(); ++row) {
      CHECK_EQ(read_row(driven.pool.arena().row(block, row)), rows[row]);
    }
    driven.pool.ring()->release(block, true);
  }
}

// ---- failures and interrupts ----

TEST(failing_env_spoils_its_own_row_and_nothing_else) {
  for (const uint32_t threads : {0U, 2U}) {
    DrivenPool driven({.num_envs = 3, .batch_size = 3, .num_threads = threads});
    driven.plan(1).outcome = [](Call call, uint64_t number) {
      return call == Call::kStep && number == 0 ? Outcome::kFailed : Outcome::kOk;
    };
    driven.send(driven.all());
    CHECK(!driven.recv().failed);
    driven.send(driven.all());
    const Received batch = driven.recv();
    CHECK(batch.failed);
    for (const FakeRow& row : batch.rows) CHECK_EQ(row.truncated, row.env_id == 1);
    CHECK_EQ(driven.pool.num_in_flight(), 0);
    driven.send(driven.all());
    const Received next = driven.recv();
    CHECK(!next.failed);
    for (const FakeRow& row : next.rows) {
      CHECK_EQ(row.step_type, static_cast<int32_t>(row.env_id == 1 ? kFirst : kMid));
      CHECK_EQ(row.elapsed_step, row.env_id == 1 ? 0 : 2);
    }
  }
}

TEST(interrupt_leaves_the_unstepped_envs_in_flight) {
  DrivenPool driven({.num_envs = 3, .batch_size = 3, .num_threads = 0});
  driven.send(driven.all());
  driven.recv();
  driven.plan(1).outcome = [](Call, uint64_t number) {
    return number == 0 ? Outcome::kInterrupted : Outcome::kOk;
  };
  driven.send(driven.all());
  driven.pool.begin_recv();
  Outcome outcome = Outcome::kOk;
  while (outcome != Outcome::kInterrupted) CHECK(driven.pool.step_one(&outcome));
  CHECK_EQ(driven.pool.num_in_flight(), 3);
  CHECK_EQ(driven.slot(2).state.load(), SlotState::kDue);
  const Received batch = driven.recv();
  CHECK_EQ(batch.ids(), driven.all());
  CHECK(!batch.failed);
  CHECK(batch.rows[1].truncated);
  CHECK_EQ(batch.rows[2].elapsed_step, 1);
  driven.send({1});
  CHECK_EQ(driven.recv().rows[0].step_type, static_cast<int32_t>(kFirst));
}

// ---- waiting ----

TEST(wait_ends_at_its_deadline_and_the_batch_is_still_to_come) {
  DrivenPool driven({.num_envs = 2, .batch_size = 2, .num_threads = 1});
  driven.gate(1).shut();
  driven.send(driven.all());
  driven.pool.begin_recv();
  const auto ready = [&] { return driven.pool.front_ready(); };
  const Deadline deadline = in_milliseconds(10);
  while (driven.pool.wait(ready, deadline) != Wait::kTimedOut) CHECK(!ready());
  CHECK(Clock::now() >= deadline);
  CHECK_EQ(driven.pool.num_in_flight(), 2);
  driven.gate(1).open();
  CHECK_EQ(driven.recv().ids(), driven.all());
}

TEST(wait_does_not_sleep_when_the_batch_was_complete_before) {
  DrivenPool driven({.num_envs = 2, .batch_size = 2, .num_threads = 1});
  driven.send(driven.all());
  driven.pool.begin_recv();
  const auto ready = [&] { return driven.pool.front_ready(); };
  CHECK(check::happens(ready));
  driven.await_idle(1);
  CHECK_EQ(driven.pool.wait(ready, in_milliseconds(check::kPatienceMs)), Wait::kWoken);
  CHECK_EQ(driven.recv().ids(), driven.all());
}

TEST(inline_pool_says_when_nothing_is_due) {
  DrivenPool driven({.num_envs = 2, .batch_size = 2, .num_threads = 0});
  Outcome outcome = Outcome::kFailed;
  CHECK(!driven.pool.step_one(&outcome));
  CHECK_EQ(outcome, Outcome::kFailed);
}

// ---- errands ----

TEST(errands_build_and_close_each_env_once) {
  for (const uint32_t threads : {0U, 1U, 3U}) {
    for (const uint32_t batch_size : {2U, 5U}) {
      DrivenPool driven({.num_envs = 5, .batch_size = batch_size, .num_threads = threads});
      CHECK(!driven.pool.errand_failed());
      for (uint32_t env = 0; env < 5; ++env) CHECK(driven.slot(env).built);
      driven.send(driven.all());
      while (driven.pool.num_in_flight() > 0) driven.recv();
      driven.run_errand(Request::kClose);
      for (uint32_t env = 0; env < 5; ++env) {
        CHECK_EQ(driven.stepper().calls(env, Call::kBuild), 1);
        CHECK_EQ(driven.stepper().calls(env, Call::kClose), 1);
        CHECK(!driven.slot(env).built);
      }
    }
  }
}

TEST(errand_says_that_an_env_failed_and_the_next_errand_forgets_it) {
  DrivenPool driven({.num_envs = 3, .batch_size = 3, .num_threads = 2});
  driven.plan(1).outcome = [](Call call, uint64_t) {
    return call == Call::kBuild ? Outcome::kFailed : Outcome::kOk;
  };
  driven.run_errand(Request::kBuild);
  CHECK(driven.pool.errand_failed());
  CHECK(!driven.slot(1).built);
  driven.run_errand(Request::kClose);
  CHECK(!driven.pool.errand_failed());
}

TEST(errand_passes_by_envs_in_flight) {
  DrivenPool driven({.num_envs = 3, .batch_size = 2, .num_threads = 2});
  driven.gate(0).shut();
  driven.send({0});
  driven.gate(0).await_arrivals(1);
  driven.run_errand(Request::kClose);
  driven.gate(0).open();
  CHECK_EQ(driven.recv().ids(), (Ids{0}));
  CHECK_EQ(driven.stepper().calls(0, Call::kClose), 0);
  CHECK_EQ(driven.stepper().calls(1, Call::kClose), 1);
  CHECK_EQ(driven.stepper().calls(2, Call::kClose), 1);
}

TEST(errand_with_no_idle_env_is_done_at_once) {
  DrivenPool driven({.num_envs = 2, .batch_size = 1, .num_threads = 0});
  driven.send(driven.all());
  driven.run_errand(Request::kClose);
  CHECK_EQ(driven.stepper().calls(0, Call::kClose), 0);
}

// ---- the end ----

// Ends the workers while env 0 is inside a step and the others wait for their turn.
void stop_in_the_middle(DrivenPool& driven) {
  const uint64_t before = driven.gate(0).arrivals();
  driven.gate(0).shut();
  driven.send(driven.all());
  driven.gate(0).await_arrivals(before + 1);
  std::thread stopper([&] { CHECK(driven.pool.stop_workers(in_milliseconds(check::kPatienceMs))); });
  CHECK(check::happens([&] { return driven.pool.arena().words().stop.load(); }));
  driven.gate(0).open();
  stopper.join();
}

TEST(stop_finishes_what_runs_and_leaves_what_is_due) {
  DrivenPool driven({.num_envs = 4, .batch_size = 4, .num_threads = 1});
  stop_in_the_middle(driven);
  CHECK_EQ(driven.slot(0).state.load(), SlotState::kIdle);
  for (const uint32_t env : {1, 2, 3}) CHECK_EQ(driven.slot(env).state.load(), SlotState::kDue);
  driven.pool.drop_everything();
  for (uint32_t env = 0; env < 4; ++env) {
    CHECK_EQ(driven.slot(env).state.load(), SlotState::kIdle);
    CHECK(!driven.pool.in_flight(env));
    CHECK_EQ(driven.stepper().calls(env, Call::kReset), env == 0 ? 1 : 0);
  }
  CHECK_EQ(driven.pool.num_in_flight(), 0);
  CHECK_EQ(refusal([&] { driven.recv(); }).kind, FaultKind::kNothingPendingError);
  CHECK(driven.pool.arena().queue().empty());
}

TEST(close_after_a_stop_closes_envs_that_were_due_running_and_done) {
  DrivenPool driven({.num_envs = 4, .batch_size = 2, .num_threads = 1});
  stop_in_the_middle(driven);
  driven.pool.drop_everything();
  driven.pool.start_workers(1);
  driven.run_errand(Request::kClose);
  for (uint32_t env = 0; env < 4; ++env) CHECK_EQ(driven.stepper().calls(env, Call::kClose), 1);
}

TEST(pool_gives_right_rows_and_loses_no_block_after_everything_was_dropped) {
  for (const uint32_t batch_size : {1U, 2U, 3U, 4U}) {
    DrivenPool driven({.num_envs = 4, .batch_size = batch_size, .num_threads = 1});
    for (int32_t round = 0; round < 10; ++round) {
      stop_in_the_middle(driven);
      driven.pool.drop_everything();
      driven.pool.start_workers(1);
      for (int again = 0; again < 3; ++again) {
        driven.send(driven.all());
        Ids ids;
        while (driven.pool.num_in_flight() > 0) {
          for (const FakeRow& row : driven.recv().rows) {
            CHECK_EQ(row.obs.env, row.env_id);
            ids.push_back(row.env_id);
          }
        }
        CHECK_EQ(sorted(ids), driven.all());
      }
    }
    CHECK(driven.pool.ring()->touched() <= EnvPool::most_in_flight(4, batch_size));
  }
}

TEST(close_while_a_step_hangs_ends_at_its_deadline_and_the_thread_may_come_back) {
  auto engine = fake_engine(3, 3, 5);
  const std::weak_ptr<Engine> watched = engine;
  FakeStepper& stepper = fake_of(*engine);  // kept by the engine, which is leaked
  Arena& arena = engine->arena;
  stepper.gates[1].shut();
  {
    EnvPool pool(engine, {3, 3, 2, -1});
    const int32_t envs[] = {0, 1, 2};
    pool.submit(Request::kReset, envs, 3);
    stepper.gates[1].await_arrivals(1);
    const LeakOnPurpose leak;
    const Deadline deadline = in_milliseconds(20);
    CHECK(!pool.stop_workers(deadline));
    CHECK(Clock::now() >= deadline);
    CHECK_EQ(arena.slot(1).state.load(), SlotState::kRunning);
  }
  engine.reset();
  stepper.gates[1].open();
  CHECK(check::happens([&] { return stepper.sessions.load() == 0; }));
  CHECK_EQ(arena.slot(1).state.load(), SlotState::kIdle);
  CHECK(!watched.expired());
}

TEST(pool_that_is_gone_leaves_its_memory_to_whoever_holds_a_batch) {
  std::shared_ptr<BatchRing> ring;
  std::weak_ptr<BatchRing> watched;
  uint32_t block = 0;
  FakeRow row{};
  {
    DrivenPool driven({.num_envs = 2, .batch_size = 2, .num_threads = 2});
    driven.send(driven.all());
    row = driven.recv(&block).rows[1];
    ring = driven.pool.ring();
    watched = ring;
    CHECK(ring->try_hold());
  }
  CHECK_EQ(read_row(ring->arena().row(block, 1)), row);
  ring->release(block, true);
  ring.reset();
  CHECK(watched.expired());
}

}  // namespace
}  // namespace envpool
