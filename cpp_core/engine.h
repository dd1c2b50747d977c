// An engine whose envs are stepped one by one, by a stepper: what its workers share, and how one env is
// served.
//
// Each env that is taken is published exactly once, on every path, so a batch always completes.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cpp_core/arena.h"
#include "cpp_core/batch_head.h"
#include "cpp_core/episode.h"
#include "cpp_core/stepper.h"

namespace envpool {

// What one worker keeps from env to env.
struct WorkBench {
  uint64_t ticks = 0;  // when it was done with what came before
  std::vector<std::byte> scratch;
  Tally tally;

  explicit WorkBench(const Layout& layout)
      : scratch(layout.is_async() ? layout.scratch_bytes : 0), tally(layout.is_async()) {}
  // Around a run of envs. What lies before it is no env's time.
  void begin() { ticks = read_ticks(); }
  void end(Park& caller) { tally.flush(caller); }
};

// What workers share. Kept alive by the pool and by each worker thread.
struct Engine {
  Arena arena;
  std::unique_ptr<Stepper> stepper;
  EpisodeRules rules;
  bool timed;  // note when each env was taken, so that a timeout can say for how long it runs

  std::unique_ptr<Stepper::Session> open_session() { return stepper->open_session(); }
  WorkBench bench() const { return WorkBench(arena.layout()); }
  // Threads share one queue; a process has one of its own.
  uint32_t queue_of_thread(uint32_t /*thread*/) const { return 0; }
  bool take(uint32_t queue, Order* order) const { return arena.queue(queue).try_pop(order); }
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

inline Outcome serve(Engine& engine, const Order& order, WorkBench* bench) {
  Arena& arena = engine.arena;
  Slot& slot = arena.slot(order.env);
  bench->tally.turn_to(order.block, arena.words().caller);
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

}  // namespace envpool
