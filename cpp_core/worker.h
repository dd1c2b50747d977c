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
#include "cpp_core/batch_head.h"
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

inline void publish(Arena& arena, Slot& slot, RowClaim& claim, Tally* tally) {
  RowWord& word = claim.word();
  BatchHead& head = arena.head(claim.block());
  const uint64_t round = head.round();
  slot.move(SlotEvent::kPublish);
  word.store(published_row(word.load(std::memory_order_relaxed)), std::memory_order_release);
  tally->add(head, round, arena.words().caller);
}

// Builds, closes or applies: requests that fill no row.
inline Outcome run_errand(Engine& engine, const Order& order) {
  const uint32_t env = order.env;
  Slot& slot = engine.arena.slot(env);
  Outcome outcome = Outcome::kOk;
  switch (order.request) {
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
  const uint64_t round = errands.round();
  slot.move(SlotEvent::kPublish);
  count_done(errands, round, engine.arena.words().caller);
  return outcome;
}

// What one worker keeps from env to env.
struct WorkBench {
  uint64_t ticks = 0;  // when it was done with what came before
  std::vector<std::byte> scratch;
  Tally tally;

  explicit WorkBench(const Layout& layout)
      : scratch(layout.is_async() ? layout.scratch_bytes : 0), tally(layout.is_async()) {}
};

inline Outcome serve(Engine& engine, const Order& order, WorkBench* bench) {
  Arena& arena = engine.arena;
  Slot& slot = arena.slot(order.env);
  if (engine.timed) slot.started_ns.store(Clock::now().time_since_epoch().count(), std::memory_order_relaxed);
  slot.move(SlotEvent::kClaim);
  if (order.request != Request::kStep && order.request != Request::kReset) return run_errand(engine, order);
  RowClaim claim(arena, order, bench->scratch.data());
  const Outcome outcome = play(arena, *engine.stepper, engine.rules, order, claim);
  const uint64_t end = read_ticks();
  arena.step_times(order.env).add(end - bench->ticks);
  bench->ticks = end;
  publish(arena, slot, claim, &bench->tally);
  return outcome;
}

// `spin_ns`: how long to stay awake when nothing is due. `life`: this worker's own.
// An env is taken inside the session only. Where sessions exclude each other (threads that share the GIL), a
// worker that has to wait for its turn holds no env back meanwhile, and finds whatever the others left.
inline void work(Engine& engine, uint32_t which_queue, int64_t spin_ns, WorkerLife& life) {
  const auto session = engine.stepper->open_session();
  const std::atomic<bool>& stop = engine.arena.words().stop;
  EnvQueue queue = engine.arena.queue(which_queue);
  WorkBench bench(engine.arena.layout());
  life.move(WorkerEvent::kStart);
  while (!stop.load(std::memory_order_acquire)) {
    if (queue.empty()) {
      const uint64_t start = read_ticks();
      life.move(WorkerEvent::kRunDry);
      queue.wait(stop, spin_ns, in_milliseconds(kIdleMs));
      life.move(WorkerEvent::kWake);
      engine.arena.idle(which_queue).ticks.fetch_add(read_ticks() - start, std::memory_order_relaxed);
      continue;
    }
    session->enter();
    bench.ticks = read_ticks();
    for (Order order; !stop.load(std::memory_order_acquire) && queue.try_pop(&order);) {
      serve(engine, order, &bench);
    }
    session->leave();
    bench.tally.flush(engine.arena.words().caller);  // whoever this wakes may need what the session held
  }
  life.move(WorkerEvent::kStop);
}

}  // namespace envpool
