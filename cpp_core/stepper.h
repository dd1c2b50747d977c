// What a worker steps. A stepper knows how to build, reset, step and close each env of a pool, and nothing of
// queues, batches or episodes.
//
// One env is touched by one worker at a time; different envs may be touched at once. A worker thread opens a
// session, and enters it around each run of envs; what "inside" means (holding the GIL, say) is the stepper's
// affair. The caller's own thread is always inside.
// A stepper never throws: a failure is kept with the env until the caller asks for it, and reported here.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>

#include "cpp_core/arena.h"

namespace envpool {

enum class Outcome : uint8_t {
  kOk,
  kFailed,       // the env raised
  kInterrupted,  // the user interrupted the env in the caller's thread
};

struct StepFlags {
  bool terminated = false;
  bool truncated = false;
  bool info = false;  // the env has undeclared info for this row
};

// Why an env is reset.
enum class ResetCause : uint8_t {
  kAsked,
  kAutoreset,  // its episode ended in the step before, or none has begun
  kSameStep,   // its episode ended in this very row: info that it left is final, and the reset's joins it
};

struct ResetOrder {
  ResetCause cause;
  const int64_t* seed;  // null unless the env must be seeded first
};

// The row that a result goes to. In a synchronous pool the caller chose it. In an asynchronous one the result
// is written to the worker's scratch row, and settle() claims the next free row and copies it there: only an
// env that is done takes a row, so a slow one (in any of its hooks) cannot hold up a batch that others can
// fill.
class RowClaim {
 public:
  // `scratch`: `scratch_bytes` of the layout; null where the row is known.
  RowClaim(Arena& arena, const Order& order, std::byte* scratch)
      : arena_(arena),
        slot_(arena.slot(order.env)),
        env_(order.env),
        block_(order.block),
        index_(order.row),
        row_(block_ == kNoBlock ? Row(scratch, &arena.layout()) : arena.row(block_, index_)) {}

  uint32_t block() {
    claim();
    return block_;
  }
  // Where to write.
  const Row& row() const { return row_; }
  // What was written is the result.
  void settle() {
    if (block_ != kNoBlock) return;
    const Row from = row_;
    claim();
    const Layout& layout = arena_.layout();
    const bool ended = *from.leaf(kDone) != std::byte{0};
    const size_t leaves = ended ? layout.state.size() : layout.first_final;
    for (uint32_t leaf = 0; leaf < leaves; ++leaf) {
      std::memcpy(row_.leaf(leaf), from.leaf(leaf), static_cast<size_t>(layout.state[leaf].nbytes));
    }
  }

  RowWord& word() {
    claim();
    return arena_.row_word(block_, index_);
  }
  // For a row that was claimed by somebody who is gone.
  void set(uint32_t block, uint32_t index) {
    block_ = block;
    index_ = index;
    row_ = arena_.row(block, index);
  }
  int32_t elapsed_step() const { return slot_.elapsed_step; }
  uint64_t steps() const { return slot_.steps.load(std::memory_order_relaxed); }
  void set_built() { slot_.built = true; }

 private:
  void claim() {
    if (block_ != kNoBlock) return;
    // Rows before `next_row` are all taken, and enough rows after it are open for every env in flight: the
    // caller opens batches before it sends. So the walk ends, whoever else claims.
    std::atomic<uint64_t>& next_row = arena_.words().next_row;
    const uint32_t batch_size = arena_.layout().batch_size;
    uint64_t number = next_row.load(std::memory_order_acquire);
    uint32_t block = kNoBlock, index = 0;
    for (;; number = std::max(number + 1, next_row.load(std::memory_order_acquire))) {
      const uint64_t batch = number / batch_size;
      index = static_cast<uint32_t>(number % batch_size);
      block = arena_.block_of_batch(batch).load(std::memory_order_acquire);
      uint64_t expected = free_row(batch);
      if (arena_.row_word(block, index)
              .compare_exchange_strong(expected, claimed_row(batch, env_), std::memory_order_acq_rel)) {
        break;
      }
    }
    set(block, index);
    // acq_rel: whoever reads this sees the batches that were open to this worker.
    for (uint64_t seen = next_row.load(std::memory_order_acquire);
         seen < number + 1 && !next_row.compare_exchange_weak(seen, number + 1, std::memory_order_acq_rel);) {
    }
  }

  Arena& arena_;
  Slot& slot_;
  const uint32_t env_;
  uint32_t block_;
  uint32_t index_;
  Row row_;
};

class Stepper {
 public:
  class Session {
   public:
    virtual ~Session() = default;
    virtual void enter() = 0;
    virtual void leave() = 0;
  };

  virtual ~Stepper() = default;
  virtual std::unique_ptr<Session> open_session() = 0;
  virtual Outcome build(uint32_t env) = 0;
  // Writes the obs leaves.
  virtual Outcome reset(uint32_t env, const ResetOrder& order, RowClaim& claim, StepFlags* flags) = 0;
  // Writes the obs and reward leaves.
  virtual Outcome step(uint32_t env, const std::byte* action, RowClaim& claim, StepFlags* flags) = 0;
  // Calls the function in the env's inbox and puts the result in its outbox.
  virtual Outcome apply(uint32_t env) = 0;
  virtual Outcome close(uint32_t env) = 0;
};

}  // namespace envpool
