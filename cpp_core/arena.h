// The one mapping that holds slots and ring, and typed access to its parts.
//
// Private memory, or a memfd that worker processes inherit and map too: no name, so nothing is left behind.
// Fresh memory is zero, and zero is the right start for every word in it. Pages cost nothing before they are
// touched, so the ring's whole bound is reserved at once and growing is touching.
// The arena outlives the pool: arrays handed out keep it (batch_ring.h).
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "cpp_core/env_queue.h"
#include "cpp_core/layout.h"
#include "cpp_core/slot.h"

namespace envpool {

class NoMemory final : public std::bad_alloc {
 public:
  explicit NoMemory(size_t bytes)
      : text_("no memory for a pool's batches (" + std::to_string(bytes >> 20) + " MiB)") {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  const std::string text_;
};

class Mapping {
 public:
  // Private memory.
  explicit Mapping(size_t bytes) : bytes_(bytes) {
#ifdef MAP_NORESERVE
    constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
#else
    constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#endif
    map(flags, -1);
  }
  // The file `fd`, shared with every process that maps it; it must have `bytes` bytes.
  Mapping(size_t bytes, int fd) : bytes_(bytes) { map(MAP_SHARED, fd); }
  ~Mapping() { munmap(data_, bytes_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::byte* data() const { return data_; }

 private:
  void map(int flags, int fd) {
    void* at = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (at == MAP_FAILED) throw NoMemory(bytes_);
    data_ = static_cast<std::byte*>(at);
  }

  std::byte* data_;
  size_t bytes_;
};

// One row of a block: what a stepper writes.
class Row {
 public:
  Row(std::byte* block, uint32_t index, const Layout* layout)
      : block_(block), index_(index), layout_(layout), offsets_(layout->leaf_offsets.data()) {}
  // A row on its own, outside the ring: `scratch_bytes` of the layout.
  Row(std::byte* scratch, const Layout* layout)
      : block_(scratch), index_(0), layout_(layout), offsets_(layout->scratch_offsets.data()) {}

  std::byte* leaf(uint32_t which) const {
    return block_ + offsets_[which] + index_ * static_cast<size_t>(layout_->state[which].nbytes);
  }
  std::byte* obs(uint32_t which) const { return leaf(kFirstObs + which); }
  const Layout& layout() const { return *layout_; }
  template <typename T>
  void put(uint32_t which, T value) const {
    *reinterpret_cast<T*>(block_ + offsets_[which] + index_ * sizeof(T)) = value;
  }

 private:
  std::byte* block_;
  uint32_t index_;
  const Layout* layout_;
  const size_t* offsets_;
};

// Copies share the mapping.
class Arena {
 public:
  explicit Arena(Layout layout)
      : layout_(std::move(layout)), mapping_(std::make_shared<Mapping>(layout_.total_bytes)) {}
  Arena(Layout layout, int fd)
      : layout_(std::move(layout)), mapping_(std::make_shared<Mapping>(layout_.total_bytes, fd)) {}

  const Layout& layout() const { return layout_; }
  ArenaWords& words() const { return *at<ArenaWords>(0); }
  Slot& slot(uint32_t env) const { return at<Slot>(layout_.slots_at)[env]; }
  StepTimes& step_times(uint32_t env) const { return at<StepTimes>(layout_.step_times_at)[env]; }
  Idle& idle(uint32_t queue) const { return at<Idle>(layout_.idle_at)[queue]; }
  WorkerLife& life(uint32_t queue) const { return at<WorkerLife>(layout_.lives_at)[queue]; }
  std::byte* action(uint32_t env) const {
    return mapping_->data() + layout_.actions_at + env * layout_.action_bytes;
  }
  BatchHead& head(uint32_t block) const { return at<BatchHead>(layout_.heads_at)[block]; }
  // Async: the block that rows of batch number `batch` go to.
  std::atomic<uint32_t>& block_of_batch(uint64_t batch) const {
    return at<std::atomic<uint32_t>>(layout_.batch_blocks_at)[batch % layout_.num_blocks];
  }
  std::byte* block(uint32_t block) const {
    return mapping_->data() + layout_.blocks_at + block * layout_.block_bytes;
  }
  Row row(uint32_t block_id, uint32_t index) const { return Row(block(block_id), index, &layout_); }
  RowWord& row_word(uint32_t block_id, uint32_t index) const {
    return at<RowWord>(layout_.row_words_at)[static_cast<size_t>(block_id) * layout_.batch_size + index];
  }
  EnvQueue queue(uint32_t which) const {
    const size_t cells = layout_.cells_per_queue();
    return EnvQueue(at<QueueWords>(layout_.queues_at) + which,
                    at<QueueCell>(layout_.cells_at) + which * cells, cells);
  }

 private:
  template <typename T>
  T* at(size_t offset) const {
    return reinterpret_cast<T*>(mapping_->data() + offset);
  }

  Layout layout_;
  std::shared_ptr<Mapping> mapping_;
};

}  // namespace envpool
