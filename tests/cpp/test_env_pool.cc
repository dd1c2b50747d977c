// What comes back, in which order, and what is refused. Trajectories and the end have files of their own.
#include <string>
#include <utility>
#include <vector>

#include "cpp_core/env_pool.h"
#include "tests/cpp/check.h"
#include "tests/cpp/driven_pool.h"
#include "tests/cpp/fake_stepper.h"

namespace envpool {
namespace {

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

TEST(sync_batch_is_complete_though_a_worker_of_it_is_at_a_later_one) {
  DrivenPool driven({.num_envs = 3, .batch_size = 3, .num_threads = 2});
  const auto arrive = [&](uint32_t env) { driven.gate(env).await_arrivals(1); };
  for (const uint32_t env : {0U, 1U, 2U}) driven.gate(env).shut();
  driven.send({0, 1}, Request::kReset);
  driven.send({2}, Request::kReset);
  arrive(0);
  arrive(1);
  driven.gate(0).open();
  arrive(2);  // by the worker of env 0, which has not been told of yet
  driven.gate(1).open();
  CHECK_EQ(driven.recv().ids(), Ids({0, 1}));
  driven.gate(2).open();
  CHECK_EQ(driven.recv().ids(), Ids{2});
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

TEST(async_env_that_hangs_with_its_observation_written_does_not_hold_up_a_batch) {
  // A row is claimed by an env that is done: one claimed at the first leaf would be missing in each batch.
  for (const uint32_t batch_size : {1U, 2U, 3U}) {
    DrivenPool driven({.num_envs = 4, .batch_size = batch_size, .num_threads = 4});
    driven.stepper().late_gates[0].shut();
    driven.send(driven.all(), Request::kReset);
    driven.stepper().late_gates[0].await_arrivals(1);
    std::vector<int64_t> t(4, 0);
    for (int round = 0; round < 30; ++round) {
      const Received batch = driven.recv();
      CHECK_EQ(batch.rows.size(), batch_size);
      for (const FakeRow& row : batch.rows) {
        CHECK(row.env_id != 0);
        CHECK_EQ(row.obs.t, t[static_cast<size_t>(row.env_id)]++);
      }
      driven.send(batch.ids());
    }
    driven.stepper().late_gates[0].open();
    bool came = false;
    while (driven.pool.num_in_flight() > 0) {
      for (const FakeRow& row : driven.recv().rows) {
        if (row.env_id != 0) continue;
        came = true;
        CHECK_EQ(row.obs, (FakeObs{0, 0, 0, fake_mix(0, -1)}));
      }
    }
    CHECK(came);
  }
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
        CHECK_EQ(driven.slot(env).state(), env == 2 ? SlotState::kDue : SlotState::kIdle);
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
  const uint32_t limit = Flight::kMostPendingSends + 2;  // the ring's reserve, and its two spare blocks
  CHECK_EQ(Flight::most_batches(40, 40), Flight::kMostPendingSends);
  for (int round = 0; round < 3; ++round) {
    for (uint32_t i = 0; i < limit; ++i) driven.send({static_cast<int32_t>(i)});
    const Refusal refused = refusal([&] { driven.send({39, 38}); });
    CHECK_EQ(refused.kind, FaultKind::kPendingCallError);
    CHECK(contains(refused.message, std::to_string(limit) + " batches are in flight"));
    CHECK_EQ(driven.pool.num_pending_batches(), limit);
    CHECK_EQ(driven.pool.num_in_flight(), limit);
    CHECK(!driven.pool.in_flight(39));
    CHECK_EQ(driven.slot(39).state(), SlotState::kIdle);
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
        if (driven.pool.is_async() || driven.pool.num_pending_batches() < Flight::kMostPendingSends) {
          if (!driven.pool.in_flight(env)) driven.send({id});
        }
      }
      CHECK(driven.pool.num_pending_batches() <= Flight::most_batches(num_envs, batch_size));
      for (uint32_t taken = 0; taken < 1 + round % 3 && driven.pool.num_in_flight() > 0; ++taken) {
        uint32_t block = 0;
        driven.recv(&block);
        if (driven.pool.ring()->try_hold(block)) {
          held.push_back(block);
        } else {
          driven.pool.ring()->release(block);
        }
      }
    }
    CHECK_EQ(held.size(), 3);
    for (const uint32_t block : held) driven.pool.ring()->release(block);
  }
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

// ---- a caller that works ----

TEST(working_caller_steps_what_its_threads_cannot) {
  // The only thread is held inside env 0: the caller does the rest itself, in one go.
  DrivenPool driven({.num_envs = 4, .batch_size = 4, .num_threads = 1, .caller_works = true});
  driven.gate(0).shut();
  driven.send({0});
  driven.gate(0).await_arrivals(1);
  driven.send({3, 1, 2});
  driven.pool.begin_recv();
  Outcome outcome = Outcome::kFailed;
  for (int i = 0; i < 3; ++i) {
    CHECK(driven.pool.step_one(&outcome));
    CHECK_EQ(outcome, Outcome::kOk);
  }
  CHECK(!driven.pool.step_one(&outcome));
  CHECK(!driven.pool.front_ready());
  driven.gate(0).open();
  CHECK_EQ(driven.recv().ids(), (Ids{0}));
  CHECK_EQ(driven.recv().ids(), (Ids{3, 1, 2}));
}

TEST(working_caller_and_threads_step_each_env_once) {
  for (const int64_t spin_ns : {0, 20'000}) {
    DrivenPool driven(
        {.num_envs = 5, .batch_size = 5, .num_threads = 2, .caller_works = true, .spin_ns = spin_ns});
    for (int32_t round = 0; round < 500; ++round) {
      driven.send(driven.all());
      for (const FakeRow& row : driven.recv().rows) CHECK_EQ(row.elapsed_step, round);
    }
    for (uint32_t env = 0; env < 5; ++env) {
      CHECK_EQ(driven.stepper().calls(env, Call::kReset) + driven.stepper().calls(env, Call::kStep), 500);
    }
  }
}

TEST(waiting_caller_that_spins_ends_at_its_deadline_too_and_wakes_for_the_batch) {
  DrivenPool driven({.num_envs = 2, .batch_size = 2, .num_threads = 1, .spin_ns = 100'000});
  driven.gate(1).shut();
  driven.send(driven.all());
  driven.pool.begin_recv();
  const auto ready = [&] { return driven.pool.front_ready(); };
  const Deadline deadline = in_milliseconds(5);
  while (driven.pool.wait(ready, deadline) != Wait::kTimedOut) CHECK(!ready());
  CHECK(Clock::now() >= deadline);
  driven.gate(1).open();
  CHECK_EQ(driven.recv().ids(), driven.all());
}

TEST(inline_pool_says_when_nothing_is_due) {
  DrivenPool driven({.num_envs = 2, .batch_size = 2, .num_threads = 0});
  Outcome outcome = Outcome::kFailed;
  CHECK(!driven.pool.step_one(&outcome));
  CHECK_EQ(outcome, Outcome::kFailed);
}

}  // namespace
}  // namespace envpool
