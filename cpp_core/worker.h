// The one worker loop: take a due env, do what its slot asks, publish, until told to stop.
//
// The caller's thread runs serve() itself (inline pools); worker threads run work(). Each env that is taken
// is published exactly once, on every path, so a batch always completes. work() cannot hang on its own
// account: it sleeps at most kIdleMs at a time and looks at `stop` after each env; only an env that does not
// return holds it.
#pragma once

#include <cstdint>
#include <vector>

#include "cpp_core/arena.h"
#include "cpp_core/episode.h"
#include "cpp_core/stepper.h"
#include "cpp_core/worker_life.h"

namespace envpool {

inline constexpr int64_t kIdleMs = 1000;

// What workers share. Kept alive by the pool and by each worker thread.
struct Engine {
  Arena arena;
  std::unique_ptr<Stepper> stepper;
  EpisodeRules rules;
  bool timed;  // note when each env was taken, so that a timeout can say for how long it runs
};

// To be read before the env is published: until then its head cannot be opened for another round.
inline uint64_t round_of(const BatchHead& head) {
  return head.rows_done.load(std::memory_order_relaxed) >> kRoundShift;
}

// Counts one env as done, and wakes the caller when it was the last that the caller waits for. After a death
// the caller looks at the rows instead of the count, and may have opened the head again before the last
// worker has counted: a late count is dropped.
inline void count_done(Arena& arena, BatchHead& head, uint64_t round) {
  uint64_t done = head.rows_done.load(std::memory_order_relaxed);
  do {
    if (done >> kRoundShift != round) return;
    // seq_cst: pairs with the caller, which changes rows_expected and then looks at rows_done.
  } while (!head.rows_done.compare_exchange_weak(done, done + 1, std::memory_order_seq_cst));
  if (static_cast<uint32_t>(done) + 1 >= head.rows_expected.load(std::memory_order_seq_cst)) {
    arena.words().caller.notify(1);
  }
}

inline void publish(Arena& arena, Slot& slot, RowClaim& claim) {
  RowWord& word = claim.word();
  BatchHead& head = arena.head(claim.block());
  const uint64_t round = round_of(head);
  slot.move(SlotEvent::kPublish);
  word.store(published_row(word.load(std::memory_order_relaxed)), std::memory_order_release);
  count_done(arena, head, round);
}

// Builds, closes or applies: requests that fill no row.
inline Outcome run_errand(Engine& engine, Slot& slot, uint32_t env) {
  Outcome outcome = Outcome::kOk;
  switch (slot.request) {
    case Request::kBuild:
      outcome = engine.stepper->build(env);
      slot.built = outcome == Outcome::kOk;
      slot.needs_reset = true;
      break;
    case Request::kClose:
      outcome = engine.stepper->close(env);
      slot.built = false;
      break;
    default:
      outcome = engine.stepper->apply(env);
  }
  BatchHead& errands = engine.arena.words().errands;
  if (outcome == Outcome::kFailed) errands.failed.fetch_add(1, std::memory_order_relaxed);
  const uint64_t round = round_of(errands);
  slot.move(SlotEvent::kPublish);
  count_done(engine.arena, errands, round);
  return outcome;
}

// What one worker keeps from env to env.
struct WorkBench {
  uint64_t ticks = 0;  // when it was done with what came before
  std::vector<std::byte> scratch;

  explicit WorkBench(const Layout& layout)
      : scratch(layout.batch_size < layout.num_envs ? layout.scratch_bytes : 0) {}
};

inline Outcome serve(Engine& engine, uint32_t env, WorkBench* bench) {
  Arena& arena = engine.arena;
  Slot& slot = arena.slot(env);
  if (engine.timed) slot.started_ns.store(Clock::now().time_since_epoch().count(), std::memory_order_relaxed);
  slot.move(SlotEvent::kClaim);
  if (slot.request != Request::kStep && slot.request != Request::kReset) return run_errand(engine, slot, env);
  RowClaim claim(arena, env, bench->scratch.data());
  const Outcome outcome = play(arena, *engine.stepper, engine.rules, env, claim);
  const uint64_t end = read_ticks();
  arena.step_times(env).add(end - bench->ticks);
  bench->ticks = end;
  publish(arena, slot, claim);
  return outcome;
}

// `spin_ns`: how long to stay awake when nothing is due. `life`: this worker's own.
inline void work(Engine& engine, uint32_t which_queue, int64_t spin_ns, WorkerLife& life) {
  const auto session = engine.stepper->open_session();
  const std::atomic<bool>& stop = engine.arena.words().stop;
  EnvQueue queue = engine.arena.queue(which_queue);
  WorkBench bench(engine.arena.layout());
  life.move(WorkerEvent::kStart);
  while (!stop.load(std::memory_order_acquire)) {
    uint32_t env = 0;
    if (!queue.try_pop(&env)) {
      const uint64_t start = read_ticks();
      life.move(WorkerEvent::kRunDry);
      queue.wait(stop, spin_ns, in_milliseconds(kIdleMs));
      life.move(WorkerEvent::kWake);
      engine.arena.idle(which_queue).ticks.fetch_add(read_ticks() - start, std::memory_order_relaxed);
      continue;
    }
    session->enter();
    bench.ticks = read_ticks();
    do {
      serve(engine, env, &bench);
    } while (!stop.load(std::memory_order_acquire) && queue.try_pop(&env));
    session->leave();
  }
  life.move(WorkerEvent::kStop);
}

}  // namespace envpool
