// A worker process dies at some point of a row's life: the batch completes, what it had not published is
// zeros and truncated, everything else is as if nothing had happened, and its successor goes on.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "cpp_core/env_pool.h"
#include "tests/cpp/check.h"
#include "tests/cpp/child.h"
#include "tests/cpp/driven_pool.h"
#include "tests/cpp/fake_stepper.h"

namespace envpool {
namespace {

// Where the victim stops, in the order it comes by.
enum class Point {
  kNever,
  kBeforePop,  // due, and not taken
  kPopped,     // taken, and nothing shows it
  kRunning,    // inside the env
  kClaimed,    // async: the row is its, and empty
  kPlayed,     // the row is written, not published
  kMoved,      // the slot is idle, the row not published
  kPublished,  // and not counted
  kCounted,
};
constexpr Point kPoints[] = {Point::kBeforePop, Point::kPopped, Point::kRunning,   Point::kClaimed,
                             Point::kPlayed,    Point::kMoved,  Point::kPublished, Point::kCounted};

// What test and children share besides the arena.
struct Stage {
  std::atomic<Point> point{Point::kNever};
  std::atomic<uint32_t> env{0};  // at which the victim stops
  std::atomic<bool> reached{false};
  std::atomic<bool> held{false};  // env 4, of another process, stays inside while this is so
};

class SharedStage {
 public:
  Stage* operator->() const { return stage_; }
  Stage& operator*() const { return *stage_; }

 private:
  MemFile file_{"test-stage", sizeof(Stage)};
  Mapping mapping_{sizeof(Stage), file_.fd()};
  Stage* stage_ = new (mapping_.data()) Stage;
};

[[noreturn]] void stop_here(Stage& stage) {
  stage.reached.store(true);
  while (true) pause();  // until it is killed
}

// work(), except that at the point that the stage says the worker stops for ever.
void work_to_the_point(Engine& engine, uint32_t which_queue, Stage& stage) {
  Arena& arena = engine.arena;
  EnvQueue queue = arena.queue(which_queue);
  WorkBench bench(arena.layout());
  while (!arena.words().stop.load()) {
    Order order;
    if (queue.empty()) {
      queue.wait(arena.words().stop, 0, in_milliseconds(kIdleMs));
      continue;
    }
    const Point point = stage.point.load();
    const auto here = [&](Point now) {
      if (point == now) stop_here(stage);
    };
    here(Point::kBeforePop);
    CHECK(queue.try_pop(&order));
    if (point == Point::kNever || order.env != stage.env.load()) {
      serve(engine, order, &bench);
      if (queue.empty()) bench.tally.flush(arena.words().caller);
      continue;
    }
    here(Point::kPopped);
    Slot& slot = arena.slot(order.env);
    slot.move(SlotEvent::kClaim);
    here(Point::kRunning);
    if (order.request == Request::kApply) {
      CHECK_EQ(engine.stepper->apply(order.env), Outcome::kOk);
      here(Point::kPlayed);
      const uint64_t round = arena.words().errands.round();
      slot.move(SlotEvent::kPublish);
      here(Point::kMoved);
      count_done(arena.words().errands, round, arena.words().caller);
      stop_here(stage);
    }
    RowClaim claim(arena, order, bench.scratch.data());
    if (point == Point::kClaimed) claim.block();
    here(Point::kClaimed);
    CHECK_EQ(play(arena, *engine.stepper, engine.rules, order, claim), Outcome::kOk);
    here(Point::kPlayed);
    BatchHead& head = arena.head(claim.block());
    const uint64_t round = head.round();
    slot.move(SlotEvent::kPublish);
    here(Point::kMoved);
    claim.word().store(published_row(claim.word().load()));
    here(Point::kPublished);
    count_done(head, round, arena.words().caller);
    stop_here(stage);
  }
}

// Queues: {0, 1} the caller's or a third process's, {2, 3} the victim's, {4, 5} another process's.
constexpr uint32_t kNumEnvs = 6, kVictim = 1;

struct Case {
  uint32_t batch_size;
  bool caller_works;
};
constexpr Case kCases[] = {{6, true}, {6, false}, {4, true}, {1, false}};

DrivenOptions options_for(const Case& of, SharedStage& stage) {
  return {.num_envs = kNumEnvs,
          .batch_size = of.batch_size,
          .num_threads = 0,
          .num_processes = of.caller_works ? 2U : 3U,
          .caller_works = of.caller_works,
          .prepare =
              [&stage](FakeStepper& stepper) {
                stepper.plans[4].outcome = [&stage](Call, uint64_t) {
                  CHECK(check::happens([&stage] { return !stage->held.load(); }));
                  return Outcome::kOk;
                };
              },
          .body =
              [&stage](Engine& engine, uint32_t queue) {
                queue == kVictim ? work_to_the_point(engine, queue, *stage)
                                 : work(engine, queue, 0, engine.arena.life(queue));
              }};
}

void arm(SharedStage& stage, Point point, uint32_t env) {
  stage->env.store(env);
  stage->reached.store(false);
  stage->point.store(point);
}

void kill_at_the_point(DrivenPool& driven, SharedStage& stage) {
  CHECK(check::happens([&] { return stage->reached.load(); }));
  driven.kill_and_bury(kVictim);
  stage->point.store(Point::kNever);
}

void revive(DrivenPool& driven) {
  for (const uint32_t env : driven.envs_of(kVictim)) CHECK(!driven.pool.is_built(env));
  driven.start_process(kVictim);
  driven.run_errand(Request::kBuild, driven.envs_of(kVictim));
  CHECK(!driven.pool.errand_failed());
  for (const uint32_t env : driven.envs_of(kVictim)) CHECK(driven.pool.is_built(env));
}

// Everything that is in flight, by env.
std::vector<FakeRow> receive_all(DrivenPool& driven, bool* failed) {
  std::vector<FakeRow> rows(kNumEnvs);
  Ids ids;
  *failed = false;
  while (driven.pool.num_in_flight() > 0) {
    const Received batch = driven.recv();
    *failed = *failed || batch.failed;
    for (const FakeRow& row : batch.rows) {
      ids.push_back(row.env_id);
      rows.at(static_cast<size_t>(row.env_id)) = row;
    }
  }
  CHECK_EQ(sorted(ids), driven.all());
  CHECK_EQ(driven.pool.num_pending_batches(), 0);
  return rows;
}

// `last`: truncated, because its env is gone.
void check_intact(const FakeRow& row, int32_t env, int32_t t, bool last = false) {
  CHECK_EQ(row.obs.env, env);
  CHECK_EQ(row.obs.t, t);
  CHECK_EQ(row.elapsed_step, t);
  CHECK_EQ(row.step_type, static_cast<int32_t>(last ? kLast : t == 0 ? kFirst : kMid));
  CHECK(row.done == last && row.truncated == last && row.trunc == last && !row.terminated);
  for (const uint8_t byte : row.odd) CHECK_EQ(byte, (env * 31 + t) % 251);
}

void check_failed(const FakeRow& row) {
  CHECK_EQ(row.obs, FakeObs{});
  for (const uint8_t byte : row.odd) CHECK_EQ(byte, 0);
  CHECK_EQ(row.reward, 0.0F);
  CHECK(row.truncated && row.done && row.trunc && !row.terminated);
  CHECK_EQ(row.step_type, static_cast<int32_t>(kLast));
}

// `victim_t`: what the victim's envs say at their next request; the others count on.
void check_rounds(DrivenPool& driven, int32_t others_t) {
  for (int32_t round = 0; round < 3; ++round) {
    driven.send(driven.all());
    bool failed = true;
    const auto rows = receive_all(driven, &failed);
    CHECK(!failed);
    for (int32_t env = 0; env < static_cast<int32_t>(kNumEnvs); ++env) {
      const bool victim = driven.pool.arena().layout().queue_of(static_cast<uint32_t>(env)) == kVictim;
      check_intact(rows[static_cast<size_t>(env)], env, victim ? round : others_t + round);
    }
  }
}

void die_in_a_batch(const Case& of, Point point, uint32_t victim) {
  SharedStage stage;
  DrivenPool driven(options_for(of, stage));
  bool failed = true;
  for (int32_t t = 0; t < 2; ++t) {
    driven.send(driven.all());
    receive_all(driven, &failed);
    CHECK(!failed);
  }
  arm(stage, point, victim);
  stage->held.store(true);
  driven.send(driven.all());
  kill_at_the_point(driven, stage);
  // The caller sleeps, for the most part, when the last env is done: it must be woken though the count of
  // rows may be short.
  std::thread opener([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    stage->held.store(false);
  });
  const auto rows = receive_all(driven, &failed);
  opener.join();
  for (int32_t env = 0; env < static_cast<int32_t>(kNumEnvs); ++env) {
    const auto id = static_cast<uint32_t>(env);
    const bool orphan = driven.pool.arena().layout().queue_of(id) == kVictim;
    const bool lost = orphan && !(point != Point::kBeforePop && id < victim) &&
                      !(id == victim && point >= Point::kPublished);
    if (lost) {
      check_failed(rows[id]);
      CHECK(rows[id].elapsed_step == 1 || (id == victim && rows[id].elapsed_step == 2));
    } else {
      check_intact(rows[id], env, 2, orphan);
    }
  }
  CHECK_EQ(failed, !(victim == 3 && point >= Point::kPublished));
  revive(driven);
  check_rounds(driven, 3);
}

void die_in_batches(uint32_t victim) {
  for (const Case& of : kCases) {
    for (const Point point : kPoints) {
      if (point == Point::kClaimed && of.batch_size == kNumEnvs) continue;  // the caller claimed it
      die_in_a_batch(of, point, victim);
    }
  }
}

TEST(worker_that_dies_at_its_first_env_spoils_what_it_had_not_published_and_nothing_else) {
  die_in_batches(2);
}
TEST(worker_that_dies_at_its_second_env_spoils_what_it_had_not_published_and_nothing_else) {
  die_in_batches(3);
}

// The envs that are lost lose one row each, without their worker, and are not lost any more.
void step_lost(DrivenPool& driven, const Ids& lost) {
  for (const uint32_t env : driven.pool.all_envs()) {
    const bool expected = std::count(lost.begin(), lost.end(), static_cast<int32_t>(env)) > 0;
    CHECK_EQ(driven.pool.is_lost(env), expected);
  }
  if (lost.empty()) return;
  driven.send(lost);
  while (driven.pool.num_in_flight() > 0) {
    const Received batch = driven.recv();
    CHECK(batch.failed);
    for (const FakeRow& row : batch.rows) check_failed(row);
  }
  for (const uint32_t env : driven.pool.all_envs()) CHECK(!driven.pool.is_lost(env));
}

TEST(worker_that_dies_idle_costs_each_of_its_envs_one_failed_row_and_its_successor_is_woken) {
  for (const Case& of : kCases) {
    for (const bool revived : {false, true}) {  // when the failed rows come
      SharedStage stage;
      DrivenPool driven(options_for(of, stage));
      bool failed = true;
      for (int round = 0; round < 2; ++round) {
        driven.send(driven.all());
        receive_all(driven, &failed);
      }
      driven.kill_and_bury(kVictim);
      CHECK_EQ(driven.pool.num_in_flight(), 0);
      for (uint32_t env = 0; env < kNumEnvs; ++env) {
        CHECK_EQ(driven.slot(env).state(), SlotState::kIdle);
      }
      if (revived) revive(driven);
      driven.send(driven.all());
      const auto rows = receive_all(driven, &failed);
      CHECK(failed);
      for (const uint32_t env : {2U, 3U}) {
        check_failed(rows[env]);
        CHECK_EQ(rows[env].elapsed_step, 1);  // the step that could not be taken is not counted
        CHECK_EQ(driven.slot(env).episodes.load(), 1);
      }
      for (const int32_t env : {0, 1, 4, 5}) check_intact(rows[static_cast<size_t>(env)], env, 2);
      if (!revived) revive(driven);
      check_rounds(driven, 3);
    }
  }
}

TEST(worker_that_dies_idle_is_no_news_to_envs_that_are_reset_or_were_never_in_an_episode) {
  for (const Case& of : kCases) {
    SharedStage stage;
    DrivenPool driven(options_for(of, stage));
    driven.kill_and_bury(kVictim);
    step_lost(driven, {});
    revive(driven);
    check_rounds(driven, 0);
    driven.kill_and_bury(kVictim);
    revive(driven);
    driven.send(driven.all(), Request::kReset);
    bool failed = true;
    receive_all(driven, &failed);
    CHECK(!failed);
    step_lost(driven, {});
  }
}

TEST(worker_that_dies_again_before_the_loss_is_told_loses_nothing_more) {
  for (const Case& of : kCases) {
    SharedStage stage;
    DrivenPool driven(options_for(of, stage));
    bool failed = true;
    driven.send(driven.all());
    receive_all(driven, &failed);
    for (int round = 0; round < 2; ++round) {
      driven.kill_and_bury(kVictim);
      revive(driven);
    }
    step_lost(driven, {3, 2});
    check_rounds(driven, 1);
  }
}

TEST(worker_that_dies_in_an_errand_fails_it_and_does_not_hold_it_up) {
  for (const uint32_t victim : {2U, 3U}) {
    for (const Point point : {Point::kBeforePop, Point::kPopped, Point::kRunning, Point::kPlayed,
                              Point::kMoved, Point::kCounted}) {
      SharedStage stage;
      DrivenPool driven(options_for(kCases[0], stage));
      bool failed = true;
      driven.send(driven.all());
      receive_all(driven, &failed);
      arm(stage, point, victim);
      stage->held.store(true);
      driven.pool.start_errand(Request::kApply, driven.pool.all_envs());
      kill_at_the_point(driven, stage);
      CHECK(!driven.pool.errand_done());  // env 4 is still at it
      std::thread opener([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        stage->held.store(false);
      });
      driven.finish_errand();
      opener.join();
      // Env 3 done, and its slot says so: all envs of the victim were.
      CHECK_EQ(driven.pool.errand_failed(), !(victim == 3 && point >= Point::kMoved));
      for (uint32_t env = 0; env < kNumEnvs; ++env) {
        CHECK_EQ(driven.slot(env).state(), SlotState::kIdle);
      }
      // An env whose errand failed is told so; one that was done with it lost its episode all the same.
      Ids lost;
      if (victim == 3 && point != Point::kBeforePop) lost.push_back(2);
      if (point >= Point::kMoved) lost.push_back(static_cast<int32_t>(victim));
      step_lost(driven, lost);
      revive(driven);
      check_rounds(driven, 1);
    }
  }
}

TEST(worker_that_dies_again_and_again_costs_no_block_and_no_row) {
  for (const Case& of : kCases) {
    SharedStage stage;
    DrivenPool driven(options_for(of, stage));
    for (int round = 0; round < 12; ++round) {
      const Point point = kPoints[round % 8];
      if (point == Point::kClaimed && of.batch_size == kNumEnvs) continue;
      arm(stage, point, 2);
      driven.send(driven.all());
      kill_at_the_point(driven, stage);
      bool failed = false;
      receive_all(driven, &failed);
      CHECK(failed);
      revive(driven);
    }
    CHECK(driven.pool.ring()->touched() <= Flight::most_batches(kNumEnvs, of.batch_size));
  }
}

TEST(two_workers_that_die_at_once_are_buried_one_after_the_other) {
  for (const Case& of : kCases) {
    SharedStage stage;
    DrivenPool driven(options_for(of, stage));
    arm(stage, Point::kPlayed, 3);
    stage->held.store(true);
    driven.send(driven.all());
    kill_at_the_point(driven, stage);
    driven.kill_and_bury(2);
    stage->held.store(false);
    bool failed = false;
    const auto rows = receive_all(driven, &failed);
    CHECK(failed);
    for (const int32_t env : {0, 1, 2}) check_intact(rows[static_cast<size_t>(env)], env, 0, env == 2);
    check_failed(rows[3]);
    check_failed(rows[4]);
    // Env 5 waited behind env 4, which was held.
    check_failed(rows[5]);
  }
}

// ---- the same, played by hand in one process ----

// A pool of two queues without any worker: the test is both. Nothing is built: the first step is a step.
struct HandPlayed {
  HandPlayed(uint32_t num_envs, uint32_t batch_size, const EpisodeRules& rules = {}) {
    Layout layout = fake_layout(num_envs, batch_size, 2, rules.autoreset == Autoreset::kSameStep);
    layout.set_blocks(Flight::most_batches(num_envs, batch_size) + 2);
    engine = fake_engine(Arena(std::move(layout)), rules);
    pool = std::make_unique<EnvPool>(engine, PoolOptions{num_envs, batch_size, 0, false, 0, -1});
    bench = std::make_unique<WorkBench>(engine->arena.layout());
  }
  void send(const Ids& ids) {
    pool->check_idle(ids.data(), ids.size());
    pool->submit(Request::kStep, ids.data(), static_cast<uint32_t>(ids.size()));
  }
  void serve_next(uint32_t queue) {
    Order order;
    CHECK(engine->arena.queue(queue).try_pop(&order));
    CHECK_EQ(serve(*engine, order, bench.get()), Outcome::kOk);
    bench->tally.flush(engine->arena.words().caller);
  }
  bool ready() {
    pool->begin_recv();
    return pool->front_ready();
  }
  void take() { pool->ring()->release(pool->take_front().block); }

  std::shared_ptr<Engine> engine;
  std::unique_ptr<EnvPool> pool;
  std::unique_ptr<WorkBench> bench;
};

TEST(row_counted_after_its_batch_was_taken_is_not_counted_for_the_next_one) {
  // Worker 0 is held up between publishing its row and counting it; meanwhile worker 1 dies. The caller
  // looks at the rows themselves, and takes the batch.
  for (const uint32_t batch_size : {2U, 1U}) {
    HandPlayed played(2, batch_size);
    Arena& arena = played.engine->arena;
    played.send({0, 1});
    Order order;
    CHECK(arena.queue(0).try_pop(&order));
    Slot& slot = arena.slot(order.env);
    slot.move(SlotEvent::kClaim);
    RowClaim claim(arena, order, played.bench->scratch.data());
    CHECK_EQ(play(arena, *played.engine->stepper, EpisodeRules{}, order, claim), Outcome::kOk);
    BatchHead& head = arena.head(claim.block());
    const uint64_t round = head.round();
    slot.move(SlotEvent::kPublish);
    claim.word().store(published_row(claim.word().load()));
    played.pool->bury(1);
    while (played.pool->num_in_flight() > 0) {
      CHECK(played.ready());
      played.take();
    }
    played.send({0, 1});
    count_done(head, round, arena.words().caller);  // at last
    CHECK(!played.ready());
    played.serve_next(0);
    CHECK_EQ(played.ready(), batch_size == 1);
    played.serve_next(1);
    CHECK(played.ready());
  }
}

TEST(pool_with_a_dead_worker_is_ready_with_the_last_row_of_the_others_and_not_before) {
  HandPlayed played(4, 4);
  played.send({0, 1, 2, 3});
  played.serve_next(1);
  played.pool->bury(1);
  CHECK(!played.ready());
  played.serve_next(0);
  CHECK(!played.ready());
  played.serve_next(0);
  CHECK(played.ready());
}

TEST(worker_that_dies_in_the_row_where_an_episode_ended_and_the_next_began_loses_the_one_that_began) {
  for (const Autoreset mode : {Autoreset::kNextStep, Autoreset::kSameStep, Autoreset::kDisabled}) {
    for (const int32_t length : {1, 2}) {
      HandPlayed played(2, 2, {.autoreset = mode});
      fake_of(*played.engine).plans[1].episode_length = length;
      played.engine->arena.slot(1).built = true;
      played.send({1});
      played.serve_next(1);
      played.pool->bury(1);
      CHECK(played.ready());
      const FakeRow row = read_row(played.engine->arena.row(played.pool->take_front().block, 0));
      CHECK(row.done);
      CHECK_EQ(row.terminated, length == 1);  // else it ends for want of a worker
      if (mode == Autoreset::kSameStep) CHECK_EQ(row.final.t, 1);
      CHECK_EQ(played.pool->is_lost(1), mode == Autoreset::kSameStep && length == 1);
    }
  }
}

TEST(lost_episode_is_told_before_a_reset_is_asked_for_where_autoreset_is_disabled) {
  HandPlayed played(2, 2, {.autoreset = Autoreset::kDisabled});
  played.engine->arena.slot(1).built = true;
  played.pool->bury(1);
  const int32_t env = 1;
  CHECK(played.pool->is_lost(env));
  played.pool->check_begun(&env, 1);
  played.send({env});
  CHECK(played.ready());
  played.take();
  CHECK(contains(refusal([&] { played.pool->check_begun(&env, 1); }).message, "env_id 1: no episode"));
}

TEST(bury_leaves_batches_that_were_complete_as_they_are) {
  HandPlayed played(4, 4);
  played.send({0, 2});
  played.send({3, 1});
  played.serve_next(0);
  played.serve_next(1);
  played.pool->bury(1);
  CHECK(played.ready());
  const ReadyBatch first = played.pool->take_front();
  CHECK(!first.failed);
  check_intact(read_row(played.engine->arena.row(first.block, 0)), 0, 1);
  check_intact(read_row(played.engine->arena.row(first.block, 1)), 2, 1, true);
  CHECK(!played.ready());
  played.serve_next(0);
  CHECK(played.ready());
  const ReadyBatch second = played.pool->take_front();
  CHECK(second.failed);
  check_failed(read_row(played.engine->arena.row(second.block, 0)));
  check_intact(read_row(played.engine->arena.row(second.block, 1)), 1, 1);
}

TEST(take_back_due_makes_idle_what_no_worker_has_taken_in_any_queue) {
  HandPlayed played(4, 4);
  played.send({0, 1, 2, 3});
  played.serve_next(1);
  played.pool->take_back_due();
  for (uint32_t env = 0; env < 4; ++env) {
    CHECK_EQ(played.engine->arena.slot(env).state(), SlotState::kIdle);
  }
  for (const uint32_t queue : {0, 1}) CHECK(played.engine->arena.queue(queue).empty());
  CHECK(!played.ready());  // the rows never come
  played.pool->drop_everything();
  played.send({3, 0});
  played.serve_next(0);
  played.serve_next(1);
  CHECK(played.ready());
}

}  // namespace
}  // namespace envpool
