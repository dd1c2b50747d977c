// Which blocks are free, filling, or held by the user. Lives in the caller's private memory.
//
// acquire() and try_hold() are the caller's; release() may come from any thread, since an array can die
// anywhere. Blocks are reused last-in-first-out, so a pool whose batches are dropped at once stays in cache;
// the ring grows by taking untouched blocks, up to the bound that the arena reserved.
// `reserve` blocks are never lent to the user, so acquire() cannot fail while at most that many batches are
// in flight: past that, a batch is handed out as a private copy. The ring holds the arena: whoever holds the
// ring (each array handed out does) keeps the memory.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <mutex>
#include <vector>

#include "cpp_core/arena.h"
#include "cpp_core/transition.h"

namespace envpool {

enum class BatchState : uint8_t { kFree, kFilling, kHeld };
enum class BatchEvent : uint8_t { kAcquire, kHold, kRelease };

// Every move there is; anything else is a bug in the engine.
inline constexpr Transition<BatchState, BatchEvent> kBatchTransitions[] = {
    {BatchState::kFree, BatchEvent::kAcquire, BatchState::kFilling},
    {BatchState::kFilling, BatchEvent::kHold, BatchState::kHeld},
    {BatchState::kFilling, BatchEvent::kRelease, BatchState::kFree},  // copied out, or dropped
    {BatchState::kHeld, BatchEvent::kRelease, BatchState::kFree},
};

class BatchRing {
 public:
  // A ring for `reserve` batches in flight and, within `bytes`, up to kMostBlocks in all.
  static uint32_t blocks_for(size_t block_bytes, uint32_t reserve, size_t bytes) {
    const size_t fit = bytes / std::max<size_t>(block_bytes, 1);
    return reserve + static_cast<uint32_t>(std::clamp<size_t>(fit, 2, kMostBlocks));
  }
  static constexpr size_t kMostBlocks = 1024;

  BatchRing(const Arena& arena, uint32_t reserve)
      : arena_(arena),
        size_(arena.layout().num_blocks),
        reserve_(reserve),
        states_(size_, BatchState::kFree) {
    free_.reserve(size_);  // release() runs in destructors and must not fail
  }

  const Arena& arena() const { return arena_; }

  bool acquire(uint32_t* block) {
    std::lock_guard lock(mutex_);
    if (free_.empty() && touched_ == size_) return false;
    *block = free_.empty() ? touched_++ : free_.back();
    if (!free_.empty()) free_.pop_back();
    move(*block, BatchEvent::kAcquire);
    return true;
  }

  bool has_room() const {
    std::lock_guard lock(mutex_);
    return !free_.empty() || touched_ < size_;
  }

  // Whether the batch may stay with the user; if so it is held from now on.
  bool try_hold(uint32_t block) {
    std::lock_guard lock(mutex_);
    if (held_ + reserve_ >= size_) return false;
    move(block, BatchEvent::kHold);
    ++held_;
    return true;
  }

  void release(uint32_t block) {
    std::lock_guard lock(mutex_);
    held_ -= states_[block] == BatchState::kHeld ? 1 : 0;
    move(block, BatchEvent::kRelease);
    free_.push_back(block);
  }

  BatchState state(uint32_t block) const {
    std::lock_guard lock(mutex_);
    return states_[block];
  }
  uint32_t held() const { return locked(held_); }
  uint32_t touched() const { return locked(touched_); }
  uint32_t size() const { return size_; }

 private:
  void move(uint32_t block, BatchEvent event) {
    [[maybe_unused]] const bool allowed =
        next_state(kBatchTransitions, states_[block], event, &states_[block]);
    assert(allowed);
  }

  uint32_t locked(const uint32_t& count) const {
    std::lock_guard lock(mutex_);
    return count;
  }

  const Arena arena_;
  const uint32_t size_;
  const uint32_t reserve_;
  mutable std::mutex mutex_;
  std::vector<BatchState> states_;  // by block
  std::vector<uint32_t> free_;
  uint32_t touched_ = 0;
  uint32_t held_ = 0;
};

}  // namespace envpool
