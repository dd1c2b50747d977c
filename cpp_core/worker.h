// The one worker loop: take what is due, serve it, until told to stop. serve() is the engine's.
//
// The caller's thread runs serve() itself (inline pools); worker threads run work(). work() cannot hang on
// its own account: it sleeps at most kIdleMs at a time and looks at `stop` after each order; only an env that
// does not return holds it.
#pragma once

#include <cstdint>

#include "cpp_core/arena.h"
#include "cpp_core/ticks.h"
#include "cpp_core/worker_life.h"

namespace envpool {

inline constexpr int64_t kIdleMs = 1000;

// `spin_ns`: how long to stay awake when nothing is due. `life`: this worker's own.
// An env is taken inside the session only. Where sessions exclude each other (threads that share the GIL), a
// worker that has to wait for its turn holds no env back meanwhile, and finds whatever the others left.
template <typename Engine>
void work(Engine& engine, uint32_t which_queue, int64_t spin_ns, WorkerLife& life) {
  const auto session = engine.open_session();
  const std::atomic<bool>& stop = engine.arena.words().stop;
  EnvQueue queue = engine.arena.queue(which_queue);
  auto bench = engine.bench();
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
    bench.begin();
    for (Order order; !stop.load(std::memory_order_acquire) && engine.take(which_queue, &order);) {
      serve(engine, order, &bench);
    }
    session->leave();
    bench.end(engine.arena.words().caller);  // whoever this wakes may need what the session held
  }
  life.move(WorkerEvent::kStop);
}

}  // namespace envpool
