// The one worker loop: take a due env, do what its slot asks, publish, until told to stop.
//
// The caller's thread runs serve() itself (inline pools); worker threads run work(). Each env that is taken
// is published exactly once, on every path, so a batch always completes. work() cannot hang on its own
// account: it sleeps at most kIdleMs at a time and looks at `stop` after each env; only an env that does not
// return holds it.
#pragma once

#include <cstdint>

#include "cpp_core/arena.h"
#include "cpp_core/episode.h"
#include "cpp_core/stepper.h"

namespace envpool {

inline constexpr int64_t kIdleMs = 1000;

// What workers share. Kept alive by the pool and by each worker thread.
struct Engine {
  Arena arena;
  std::unique_ptr<Stepper> stepper;
  int32_t max_episode_steps;
  bool timed;  // note when each env was taken, so that a timeout can say for how long it runs
};

inline void publish(Arena& arena, Slot& slot, BatchHead& head) {
  slot.move(SlotEvent::kPublish);
  // seq_cst: pairs with the caller, which lowers rows_expected and then looks at rows_done, and releases the
  // row.
  const uint32_t done = head.rows_done.fetch_add(1, std::memory_order_seq_cst) + 1;
  if (done == head.rows_expected.load(std::memory_order_seq_cst)) arena.words().caller.notify(1);
}

inline Outcome serve(Engine& engine, uint32_t env) {
  Arena& arena = engine.arena;
  Slot& slot = arena.slot(env);
  if (engine.timed) slot.started_ns.store(Clock::now().time_since_epoch().count(), std::memory_order_relaxed);
  slot.move(SlotEvent::kClaim);
  if (slot.request == Request::kBuild || slot.request == Request::kClose) {
    const bool build = slot.request == Request::kBuild;
    const Outcome outcome = build ? engine.stepper->build(env) : engine.stepper->close(env);
    slot.built = build && outcome == Outcome::kOk;
    slot.needs_reset = true;
    BatchHead& errands = arena.words().errands;
    if (outcome == Outcome::kFailed) errands.failed.fetch_add(1, std::memory_order_relaxed);
    publish(arena, slot, errands);
    return outcome;
  }
  RowClaim claim(arena, slot);
  const Outcome outcome = play(arena, *engine.stepper, engine.max_episode_steps, env, claim);
  publish(arena, slot, arena.head(claim.block()));
  return outcome;
}

inline void work(Engine& engine) {
  const auto session = engine.stepper->open_session();
  const std::atomic<bool>& stop = engine.arena.words().stop;
  EnvQueue queue = engine.arena.queue();
  while (!stop.load(std::memory_order_acquire)) {
    uint32_t env = 0;
    if (!queue.try_pop(&env)) {
      queue.wait(stop, in_milliseconds(kIdleMs));
      continue;
    }
    session->enter();
    do {
      serve(engine, env);
    } while (!stop.load(std::memory_order_acquire) && queue.try_pop(&env));
    session->leave();
  }
}

}  // namespace envpool
