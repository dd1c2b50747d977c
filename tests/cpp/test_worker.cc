#include <atomic>
#include <memory>
#include <thread>
#include <utility>

#include "cpp_core/worker.h"
#include "tests/cpp/check.h"
#include "tests/cpp/fake_stepper.h"

namespace envpool {
namespace {

const Order& due(Engine& engine, const Order& order) {
  engine.arena.slot(order.env).move(SlotEvent::kSend);
  return order;
}

Outcome serve_alone(Engine& engine, const Order& order, WorkBench* bench) {
  const Outcome outcome = serve(engine, due(engine, order), bench);
  bench->tally.flush(engine.arena.words().caller);
  return outcome;
}

TEST(serve_publishes_once_whatever_the_outcome) {
  for (const Outcome outcome : {Outcome::kOk, Outcome::kFailed, Outcome::kInterrupted}) {
    for (const Request request : {Request::kReset, Request::kStep}) {
      const auto engine = fake_engine(2, 2, 2);
      WorkBench bench(engine->arena.layout());
      fake_of(*engine).plans[1].outcome = [outcome](Call, uint64_t) { return outcome; };
      engine->arena.head(0).rows_expected.store(2);
      CHECK_EQ(serve_alone(*engine, {1, request, 0, 1}, &bench), outcome);
      CHECK_EQ(engine->arena.head(0).rows_done.load(), 1);
      CHECK_EQ(engine->arena.slot(1).state(), SlotState::kIdle);
      CHECK_EQ(engine->arena.row(0, 1).leaf(kEnvId)[0], std::byte{1});
    }
  }
}

TEST(serve_of_errands_says_what_is_built_and_takes_no_row) {
  const auto engine = fake_engine(3, 2, 2);
  WorkBench bench(engine->arena.layout());
  Arena& arena = engine->arena;
  arena.words().errands.rows_expected.store(3);
  fake_of(*engine).plans[1].outcome = [](Call call, uint64_t) {
    return call == Call::kBuild ? Outcome::kFailed : Outcome::kOk;
  };
  for (uint32_t env = 0; env < 3; ++env) {
    CHECK_EQ(serve(*engine, due(*engine, {env, Request::kBuild}), &bench),
             env == 1 ? Outcome::kFailed : Outcome::kOk);
    CHECK_EQ(arena.slot(env).built, env != 1);
    CHECK(arena.slot(env).needs_reset);
  }
  CHECK_EQ(arena.words().errands.rows_done.load(), 3);
  CHECK_EQ(arena.words().errands.failed.load(), 1);
  CHECK_EQ(arena.words().next_row.load(), 0);
  CHECK_EQ(serve(*engine, due(*engine, {0, Request::kClose}), &bench), Outcome::kOk);
  CHECK(!arena.slot(0).built);
  CHECK_EQ(fake_of(*engine).calls(0, Call::kClose), 1);
}

TEST(serve_notes_the_start_only_for_pools_that_ask) {
  const auto engine = fake_engine(2, 2, 2);
  WorkBench bench(engine->arena.layout());
  Slot& slot = engine->arena.slot(0);
  serve_alone(*engine, {0, Request::kStep, 0, 0}, &bench);
  CHECK_EQ(slot.started_ns.load(), 0);
  engine->timed = true;
  const auto before = Clock::now().time_since_epoch().count();
  serve_alone(*engine, {0, Request::kStep, 0, 0}, &bench);
  CHECK(slot.started_ns.load() >= before);
}

TEST(publish_wakes_the_caller_with_the_last_row_and_not_before) {
  const auto engine = fake_engine(2, 2, 2);
  WorkBench bench(engine->arena.layout());
  Arena& arena = engine->arena;
  arena.head(0).rows_expected.store(2);
  const uint32_t ticket = arena.words().caller.prepare();
  serve_alone(*engine, {0, Request::kStep, 0, 0}, &bench);
  CHECK_EQ(arena.words().caller.prepare(), ticket);
  arena.words().caller.cancel();
  serve_alone(*engine, {1, Request::kStep, 0, 1}, &bench);
  CHECK_EQ(arena.words().caller.sleep(ticket, in_milliseconds(check::kPatienceMs)), Wait::kWoken);
}

TEST(work_takes_envs_of_its_own_queue_only) {
  Layout layout = fake_layout(4, 4, 2);
  layout.set_blocks(2);
  const auto engine = fake_engine(Arena(std::move(layout)));
  Arena& arena = engine->arena;
  arena.head(0).rows_expected.store(4);
  std::thread worker([&engine] { work(*engine, 1, 0, engine->arena.life(1)); });
  for (uint32_t env = 0; env < 4; ++env) {
    arena.queue(env / 2).push(&due(*engine, {env, Request::kStep, 0, env}), 1);
  }
  CHECK(check::happens([&] { return arena.head(0).rows_done.load() == 2; }));
  arena.words().stop.store(true, std::memory_order_seq_cst);
  arena.queue(1).wake_all();
  worker.join();
  for (uint32_t env = 0; env < 4; ++env) {
    CHECK_EQ(arena.slot(env).state(), env < 2 ? SlotState::kDue : SlotState::kIdle);
  }
}

TEST(work_leaves_its_session_before_it_sleeps_and_before_it_ends) {
  const auto engine = fake_engine(2, 2, 2);
  FakeStepper& stepper = fake_of(*engine);
  Arena& arena = engine->arena;
  arena.head(0).rows_expected.store(2);
  std::atomic<int32_t> entered{-1};
  stepper.plans[0].outcome = [&](Call, uint64_t) {
    entered.store(stepper.inside.load());
    return Outcome::kOk;
  };
  std::thread worker([&engine] { work(*engine, 0, 0, engine->arena.life(0)); });
  const Order orders[] = {{0, Request::kStep, 0, 0}, {1, Request::kStep, 0, 1}};
  for (const Order& order : orders) due(*engine, order);
  arena.queue(0).push(orders, 2);
  CHECK(check::happens([&] { return arena.head(0).rows_done.load() == 2; }));
  CHECK_EQ(entered.load(), 1);
  CHECK(check::happens([&] { return stepper.inside.load() == 0; }));
  CHECK_EQ(stepper.sessions.load(), 1);
  arena.words().stop.store(true, std::memory_order_seq_cst);
  arena.queue(0).wake_all();
  worker.join();
  CHECK_EQ(stepper.sessions.load(), 0);
}

TEST(work_enters_its_session_once_for_all_that_is_due) {
  const auto engine = fake_engine(4, 4, 2);
  Arena& arena = engine->arena;
  arena.head(0).rows_expected.store(4);
  for (uint32_t env = 0; env < 4; ++env) {
    arena.queue(0).push(&due(*engine, {env, Request::kStep, 0, env}), 1);
  }
  std::thread worker([&engine] { work(*engine, 0, 0, engine->arena.life(0)); });
  CHECK(check::happens([&] { return arena.head(0).rows_done.load() == 4; }));
  arena.words().stop.store(true, std::memory_order_seq_cst);
  arena.queue(0).wake_all();
  worker.join();
  CHECK_EQ(fake_of(*engine).entries.load(), 1);
}

TEST(work_holds_no_env_while_it_waits_for_its_session) {
  const auto engine = fake_engine(2, 2, 2);
  FakeStepper& stepper = fake_of(*engine);
  Arena& arena = engine->arena;
  arena.head(0).rows_expected.store(2);
  stepper.session_gate.shut();
  std::thread worker([&engine] { work(*engine, 0, 0, engine->arena.life(0)); });
  const Order orders[] = {{0, Request::kStep, 0, 0}, {1, Request::kStep, 0, 1}};
  for (const Order& order : orders) due(*engine, order);
  arena.queue(0).push(orders, 2);
  stepper.session_gate.await_arrivals(1);
  WorkBench bench(arena.layout());
  for (Order order; arena.queue(0).try_pop(&order);) serve(*engine, order, &bench);
  CHECK_EQ(arena.head(0).rows_done.load(), 2);  // by the other one who was there
  arena.words().stop.store(true, std::memory_order_seq_cst);
  stepper.session_gate.open();
  arena.queue(0).wake_all();
  worker.join();
}

TEST(work_takes_no_further_env_once_it_is_told_to_stop) {
  const auto engine = fake_engine(2, 2, 2);
  FakeStepper& stepper = fake_of(*engine);
  Arena& arena = engine->arena;
  arena.head(0).rows_expected.store(2);
  stepper.gates[0].shut();
  const Order orders[] = {{0, Request::kStep, 0, 0}, {1, Request::kStep, 0, 1}};
  for (const Order& order : orders) due(*engine, order);
  arena.queue(0).push(orders, 2);
  std::thread worker([&engine] { work(*engine, 0, 0, engine->arena.life(0)); });
  stepper.gates[0].await_arrivals(1);
  arena.words().stop.store(true, std::memory_order_seq_cst);
  stepper.gates[0].open();
  worker.join();
  CHECK_EQ(arena.head(0).rows_done.load(), 1);  // what it had taken, it finished
  CHECK_EQ(arena.slot(1).state(), SlotState::kDue);
  CHECK_EQ(stepper.inside.load(), 0);
}

}  // namespace
}  // namespace envpool
