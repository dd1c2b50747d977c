// What a dead worker process leaves undone is done here, by the caller, in its name.
//
// The caller's thread, once the process is known to be gone: it writes no word any more.
#pragma once

#include <cstdint>
#include <vector>

#include "cpp_core/engine.h"
#include "cpp_core/flight.h"

namespace envpool {

class Burial {
 public:
  // `bench`: the caller's own.
  Burial(Arena& arena, Flight* flight, WorkBench* bench) : arena_(arena), flight_(*flight), bench_(*bench) {}

  // The rows of the process that served `queue` are failed, or the last of their episodes where it did finish
  // them; its errands are failed; its envs that were idle in an episode are lost. None is built any more.
  // Returns the envs whose row or errand failed.
  std::vector<uint32_t> bury(uint32_t queue) {
    arena_.life(queue).move(WorkerEvent::kDie);
    arena_.queue(queue).bury_taker();
    for (Batch& batch : flight_.batches) {
      batch.recount = true;
      arena_.head(batch.block).wake_at_every_count();
    }
    arena_.words().errands.wake_at_every_count();
    std::vector<uint32_t> failed;
    const Layout& layout = arena_.layout();
    for (uint32_t env = layout.first_env(queue); env < layout.first_env(queue + 1); ++env) {
      Slot& slot = arena_.slot(env);
      const bool in_episode = slot.built && !slot.needs_reset;
      slot.built = false;
      slot.needs_reset = true;
      slot.inbox = {};
      if (flight_.has(env)) {
        if (fail_row_of(env, in_episode)) failed.push_back(env);
      } else if (slot.state() != SlotState::kIdle) {
        slot.drop_outbox();
        arena_.words().errands.failed.fetch_add(1, std::memory_order_relaxed);
        slot.move(SlotEvent::kBury);
        slot.move(SlotEvent::kPublish);
        failed.push_back(env);
      } else if (in_episode) {
        flight_.lost[env] = true;
      }
    }
    return failed;
  }

  // The step of an env that is lost.
  void fail_lost(const Order& order) {
    flight_.lost[order.env] = false;
    arena_.slot(order.env).move(SlotEvent::kSend);
    arena_.slot(order.env).move(SlotEvent::kClaim);
    RowClaim claim(arena_, order, bench_.scratch.data());
    publish_failed(order.env, claim);
  }

  // How many rows are there, whoever counted them.
  uint32_t published(const Batch& batch) const {
    uint32_t count = 0;
    for (uint32_t i = 0; i < rows_of(batch); ++i) {
      count += is_published(arena_.row_word(batch.block, i).load(std::memory_order_acquire)) ? 1 : 0;
    }
    return count;
  }

 private:
  // An asynchronous batch has its rows open, however few are expected.
  uint32_t rows_of(const Batch& batch) const {
    return arena_.layout().is_async() ? arena_.layout().batch_size : batch.rows;
  }

  // Fills the row of an env in flight. False: that was published in time. It is the last of its episode then,
  // unless that ended in it and the next one began: that one is lost.
  bool fail_row_of(uint32_t env, bool in_episode) {
    RowClaim claim(arena_, {env, Request::kStep}, bench_.scratch.data());
    for (const Batch& batch : flight_.batches) {
      for (uint32_t i = 0; i < rows_of(batch); ++i) {
        const uint64_t word = arena_.row_word(batch.block, i).load(std::memory_order_acquire);
        if (!is_row_of(word, env)) continue;
        if (is_published(word)) {
          const bool ends_here = end_episode(arena_, arena_.row(batch.block, i), env);
          flight_.lost[env] = in_episode && !ends_here;
          return false;
        }
        claim.set(batch.block, i);
      }
    }
    arena_.slot(env).drop_outbox();
    arena_.slot(env).move(SlotEvent::kBury);
    publish_failed(env, claim);
    return true;
  }

  void publish_failed(uint32_t env, RowClaim& claim) {
    write_failed_row(arena_, claim.row(), env);
    claim.settle();
    arena_.head(claim.block()).failed.fetch_add(1, std::memory_order_relaxed);
    publish(arena_, arena_.slot(env), claim, &bench_.tally);
    bench_.tally.flush(arena_.words().caller);
  }

  Arena& arena_;
  Flight& flight_;
  WorkBench& bench_;
};

}  // namespace envpool
