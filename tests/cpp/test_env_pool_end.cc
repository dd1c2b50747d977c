// Building, closing, stopping in the middle, and what is left when an env does not return.
#include <memory>
#include <thread>

#include "cpp_core/env_pool.h"
#include "tests/cpp/check.h"
#include "tests/cpp/driven_pool.h"
#include "tests/cpp/fake_stepper.h"
#include "tests/cpp/leak_on_purpose.h"

namespace envpool {
namespace {

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

TEST(errand_applies_to_the_envs_it_names_once_and_leaves_their_episodes_alone) {
  for (const uint32_t threads : {0U, 2U}) {
    DrivenPool driven({.num_envs = 4, .batch_size = 4, .num_threads = threads});
    driven.plan(2).outcome = [](Call call, uint64_t) {
      return call == Call::kApply ? Outcome::kFailed : Outcome::kOk;
    };
    driven.send(driven.all());
    driven.recv();
    driven.run_errand(Request::kApply, {3, 1});
    CHECK(!driven.pool.errand_failed());
    driven.run_errand(Request::kApply, {2});
    CHECK(driven.pool.errand_failed());
    for (uint32_t env = 0; env < 4; ++env) {
      CHECK_EQ(driven.stepper().calls(env, Call::kApply), env == 0 ? 0 : 1);
      CHECK(driven.slot(env).built);
    }
    driven.send(driven.all());
    for (const FakeRow& row : driven.recv().rows) CHECK_EQ(row.elapsed_step, 1);
  }
}

TEST(errand_to_no_env_is_done_at_once) {
  DrivenPool driven({.num_envs = 2, .batch_size = 2, .num_threads = 1});
  driven.pool.start_errand(Request::kApply, {});
  CHECK(driven.pool.errand_done());
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

TEST(errand_from_before_is_not_taken_for_one_of_its_successor) {
  DrivenPool driven({.num_envs = 2, .batch_size = 2, .num_threads = 2});
  for (const uint32_t env : {0U, 1U}) {
    driven.gate(env).shut();
    driven.plan(env).outcome = [&driven, env](Call call, uint64_t) {
      if (call == Call::kApply) driven.gate(env).pass();
      return Outcome::kOk;
    };
  }
  driven.pool.start_errand(Request::kApply, {0});
  driven.gate(0).await_arrivals(1);
  driven.pool.start_errand(Request::kApply, {1});
  driven.gate(1).await_arrivals(1);
  driven.gate(0).open();
  driven.await_idle(0);
  CHECK(check::happens([&] { return driven.pool.arena().words().errands.complete(); }));
  CHECK(!driven.pool.errand_done());
  driven.gate(1).open();
  driven.finish_errand();
  CHECK_EQ(driven.stepper().calls(1, Call::kApply), 1);
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
  CHECK_EQ(driven.slot(0).state(), SlotState::kIdle);
  for (const uint32_t env : {1, 2, 3}) CHECK_EQ(driven.slot(env).state(), SlotState::kDue);
  driven.pool.drop_everything();
  for (uint32_t env = 0; env < 4; ++env) {
    CHECK_EQ(driven.slot(env).state(), SlotState::kIdle);
    CHECK(!driven.pool.in_flight(env));
    CHECK_EQ(driven.stepper().calls(env, Call::kReset), env == 0 ? 1 : 0);
  }
  CHECK_EQ(driven.pool.num_in_flight(), 0);
  CHECK_EQ(refusal([&] { driven.recv(); }).kind, FaultKind::kNothingPendingError);
  CHECK(driven.pool.arena().queue(0).empty());
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
    CHECK(driven.pool.ring()->touched() <= Flight::most_batches(4, batch_size));
  }
}

TEST(close_while_a_step_hangs_ends_at_its_deadline_and_the_thread_may_come_back) {
  auto engine = fake_engine(3, 3, 5);
  const std::weak_ptr<Engine> watched = engine;
  FakeStepper& stepper = fake_of(*engine);  // kept by the engine, which is leaked
  Arena& arena = engine->arena;
  stepper.gates[1].shut();
  {
    EnvPool pool(engine, {3, 3, 2, false, 0, -1});
    const int32_t envs[] = {0, 1, 2};
    pool.submit(Request::kReset, envs, 3);
    stepper.gates[1].await_arrivals(1);
    const LeakOnPurpose leak;
    const Deadline deadline = in_milliseconds(20);
    CHECK(!pool.stop_workers(deadline));
    CHECK(Clock::now() >= deadline);
    CHECK_EQ(arena.slot(1).state(), SlotState::kRunning);
  }
  engine.reset();
  stepper.gates[1].open();
  CHECK(check::happens([&] { return stepper.sessions.load() == 0; }));
  CHECK_EQ(arena.slot(1).state(), SlotState::kIdle);
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
    CHECK(ring->try_hold(block));
  }
  CHECK_EQ(read_row(ring->arena().row(block, 1)), row);
  ring->release(block);
  ring.reset();
  CHECK(watched.expired());
}

}  // namespace
}  // namespace envpool
