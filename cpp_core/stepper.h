// What a worker steps. A stepper knows how to build, reset, step and close each env of a pool, and nothing of
// queues, batches or episodes.
//
// One env is touched by one worker at a time; different envs may be touched at once. A worker thread opens a
// session, and enters it around each run of envs; what "inside" means (holding the GIL, say) is the stepper's
// affair. The caller's own thread is always inside.
// A stepper never throws: a failure is kept with the env until the caller asks for it, and reported here.
#pragma once

#include <cstdint>
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

// The row that a result goes to. In a synchronous pool the caller chose it; in an asynchronous one the next
// free row is taken when it is first asked for, so that batches fill in the order in which envs finish.
class RowClaim {
 public:
  RowClaim(Arena& arena, const Slot& slot) : arena_(arena), slot_(slot) {}

  uint32_t block() {
    claim();
    return block_;
  }
  Row row() {
    claim();
    return arena_.row(block_, index_);
  }
  int32_t elapsed_step() const { return slot_.elapsed_step; }

 private:
  void claim() {
    if (block_ != kNoBlock) return;
    block_ = slot_.block;
    index_ = slot_.row;
    if (block_ != kNoBlock) return;
    // acq_rel: this sees the blocks assigned before any env that took an earlier row was sent.
    const uint64_t number = arena_.words().next_row.fetch_add(1, std::memory_order_acq_rel);
    const uint32_t batch_size = arena_.layout().batch_size;
    block_ = arena_.block_of_batch(number / batch_size).load(std::memory_order_acquire);
    index_ = static_cast<uint32_t>(number % batch_size);
  }

  Arena& arena_;
  const Slot& slot_;
  uint32_t block_ = kNoBlock;
  uint32_t index_ = 0;
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
  // `seed` is null unless the env must be seeded first. Writes the obs leaves.
  virtual Outcome reset(uint32_t env, const int64_t* seed, RowClaim& claim, StepFlags* flags) = 0;
  // Writes the obs and reward leaves.
  virtual Outcome step(uint32_t env, const std::byte* action, RowClaim& claim, StepFlags* flags) = 0;
  virtual Outcome close(uint32_t env) = 0;
};

}  // namespace envpool
