// The rows of one run, as a kernel writes them: a pointer into each leaf's column, moved on from row to row.
//
// The kernel writes its own leaves, the engine the env's id and the length of its episode; all else that a
// row says follows from these, and is written at the end of the run, column by column.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "cpp_core/episode.h"
#include "cpp_core/kernel_abi.h"
#include "cpp_core/layout.h"

namespace envpool {

// Where the columns of a block begin; the block may be a worker's scratch.
struct KernelBlock {
  std::byte* data;
  const size_t* offsets;  // by leaf
  uint32_t row;           // of the run's first row

  template <typename T>
  T* column(uint32_t leaf) const {
    return reinterpret_cast<T*>(data + offsets[leaf]) + row;
  }
};

class KernelColumns {
 public:
  explicit KernelColumns(const Layout& layout, uint32_t num_obs)
      : layout_(layout), first_info_(kKernelFirstObs + num_obs) {
    for (const uint32_t leaf : {kReward, kTerminated, kTruncated}) add(leaf);
    for (uint32_t leaf = kFirstObs; leaf < layout.first_final; ++leaf) add(leaf);
    at_.resize(numbers_.size());
  }

  void start(const KernelBlock& block) {
    for (size_t i = 0; i < at_.size(); ++i) {
      at_[i] =
          reinterpret_cast<unsigned char*>(block.data + block.offsets[numbers_[i]]) + block.row * nbytes_[i];
    }
    block_ = block;
    row_ = 0;
    env_ids_ = block.column<int32_t>(kEnvId);
    elapsed_ = block.column<int32_t>(kElapsedStep);
  }

  // ---- the row that it stands on ----

  unsigned char* const* leaves() const { return at_.data(); }
  bool done() const { return (*at_[kKernelTerminated] | *at_[kKernelTruncated]) != 0; }
  void truncate() { *at_[kKernelTruncated] = 1; }
  void say(uint32_t env, int32_t elapsed) {
    env_ids_[row_] = static_cast<int32_t>(env);
    elapsed_[row_] = elapsed;
  }
  // As an env's first row begins: the kernel writes only the observation.
  void clear_all_but_obs() {
    for (size_t i = 0; i < at_.size(); ++i) {
      if (i < kKernelFirstObs || i >= first_info_) std::memset(at_[i], 0, nbytes_[i]);
    }
  }
  void clear_info() {
    for (size_t i = first_info_; i < at_.size(); ++i) std::memset(at_[i], 0, nbytes_[i]);
  }
  // What the row says is how the episode ends.
  void keep_finals() {
    if (!layout_.has_finals()) return;
    for (size_t i = kKernelFirstObs; i < at_.size(); ++i) std::memcpy(final_of(i), at_[i], nbytes_[i]);
  }
  // The row of an env that failed.
  void clear_as_failed() {
    for (size_t i = 0; i < at_.size(); ++i) {
      std::memset(at_[i], 0, nbytes_[i]);
      if (layout_.has_finals() && i >= kKernelFirstObs) std::memset(final_of(i), 0, nbytes_[i]);
    }
    truncate();
  }

  void advance() {
    ++row_;
    for (size_t i = 0; i < at_.size(); ++i) at_[i] += nbytes_[i];
  }

  // ---- the whole run ----

  // A row of an env that was reset is the only one without a step.
  void derive(uint32_t count) const {
    const auto* terminated = block_.column<uint8_t>(kTerminated);
    const auto* truncated = block_.column<uint8_t>(kTruncated);
    auto* done = block_.column<uint8_t>(kDone);
    auto* trunc = block_.column<uint8_t>(kTrunc);
    auto* discount = block_.column<float>(kDiscount);
    auto* step_type = block_.column<int32_t>(kStepType);
    for (uint32_t i = 0; i < count; ++i) {
      done[i] = terminated[i] | truncated[i];
      trunc[i] = truncated[i] & (terminated[i] ^ 1);
      discount[i] = static_cast<float>(terminated[i] ^ 1);
      const int32_t going_on = elapsed_[i] > 0 ? kMid : kFirst;
      step_type[i] = done[i] != 0 ? static_cast<int32_t>(kLast) : going_on;
    }
  }

 private:
  void add(uint32_t leaf) {
    numbers_.push_back(leaf);
    nbytes_.push_back(static_cast<size_t>(layout_.state[leaf].nbytes));
  }
  void* final_of(size_t i) const {
    return block_.data + block_.offsets[layout_.final_of(numbers_[i])] + (block_.row + row_) * nbytes_[i];
  }

  const Layout& layout_;
  const size_t first_info_;
  std::vector<uint32_t> numbers_;  // of the leaves, in the kernel's order
  std::vector<size_t> nbytes_;
  std::vector<unsigned char*> at_;
  KernelBlock block_{};
  uint32_t row_ = 0;
  int32_t* env_ids_ = nullptr;
  int32_t* elapsed_ = nullptr;
};

}  // namespace envpool
