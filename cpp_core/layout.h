// Where everything lies in an arena: one mapping that holds slots, actions, the queue and the ring of blocks.
//
//   | ArenaWords | slots | step times | actions | queues, their cells, idle times and workers' lives | batch
//   heads | row words | block of each batch | block 0 | block 1 | …
//
// One queue, which all workers share (threads), or one for each worker, with its own envs (processes).
//
// A block holds `batch_size` rows of every state leaf, leaf by leaf, so that each leaf of a batch is one
// contiguous array. Where an episode can end and the next one begin in one row (same-step autoreset), the
// env's own leaves are there twice: the second ones, the finals, hold what the episode ended with. Offsets
// only, no pointers: the same layout serves a private and a shared mapping.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpp_core/batch_head.h"
#include "cpp_core/counters.h"
#include "cpp_core/env_queue.h"
#include "cpp_core/leaf.h"
#include "cpp_core/row_word.h"
#include "cpp_core/slot.h"
#include "cpp_core/worker_life.h"

namespace envpool {

// The leaves that the engine itself writes in every row, before the env's own.
enum EngineLeaf : uint32_t {
  kEnvId,
  kElapsedStep,
  kReward,
  kTerminated,
  kTruncated,
  kDone,
  kTrunc,
  kDiscount,
  kStepType,
  kFirstObs,
};

inline std::vector<EnvpoolLeaf> state_leaves(EnvpoolDType reward, const EnvpoolLeaf* obs, size_t num_obs) {
  std::vector<EnvpoolLeaf> leaves = {
      scalar_leaf("env_id", kInt32),     scalar_leaf("elapsed_step", kInt32),
      scalar_leaf("reward", reward),     scalar_leaf("terminated", kBool),
      scalar_leaf("truncated", kBool),   scalar_leaf("done", kBool),  // either of the two
      scalar_leaf("trunc", kBool),        // EnvPool's: truncated and not terminated
      scalar_leaf("discount", kFloat32),  // dm_env's: 0 where terminated
      scalar_leaf("step_type", kInt32),   // dm_env's: 0 first, 1 mid, 2 last
  };
  leaves.insert(leaves.end(), obs, obs + num_obs);
  return leaves;
}

// Of a leaf in its block. Not a line each: in a small batch all workers write into every line that there is,
// and each of them moves from core to core.
inline constexpr size_t kLeafAlignment = 16;

struct ArenaWords {
  alignas(kCacheLine) std::atomic<bool> stop;
  alignas(kCacheLine) std::atomic<uint64_t> next_row;  // async: rows given out so far, over all batches
  alignas(kCacheLine) Park caller;
  alignas(kCacheLine) BatchHead errands;  // counts builds and closes, which have no row
};

struct Layout {
  uint32_t num_envs;
  uint32_t num_slots;  // as many, or none: engines that keep less of each env (kernel_engine.h)
  uint32_t batch_size;
  uint32_t num_blocks;
  uint32_t num_queues;
  std::vector<EnvpoolLeaf> state;
  std::vector<EnvpoolLeaf> action;
  uint32_t first_final;  // the finals are the state leaves from here on

  std::vector<size_t> leaf_offsets;     // of each state leaf in a block
  std::vector<size_t> scratch_offsets;  // of each state leaf in a block of one row
  std::vector<size_t> action_offsets;   // of each action leaf in one env's action
  size_t action_bytes = 0;
  size_t slots_at = 0, step_times_at = 0, idle_at = 0, lives_at = 0, actions_at = 0, queues_at = 0,
         cells_at = 0, heads_at = 0, row_words_at = 0;
  size_t batch_blocks_at = 0, blocks_at = 0;
  size_t block_bytes = 0;
  size_t scratch_bytes = 0;
  size_t total_bytes = 0;

  Layout(uint32_t envs, uint32_t batch, uint32_t queues, std::vector<EnvpoolLeaf> state_leaves,
         std::vector<EnvpoolLeaf> action_leaves, bool with_finals = false, bool with_slots = true)
      : num_envs(envs),
        num_slots(with_slots ? envs : 0),
        batch_size(batch),
        num_blocks(0),
        num_queues(queues),
        state(std::move(state_leaves)),
        action(std::move(action_leaves)),
        first_final(static_cast<uint32_t>(state.size())) {
    for (uint32_t leaf = kFirstObs; with_finals && leaf < first_final; ++leaf) state.push_back(state[leaf]);
    block_bytes = align_up(place(state, batch, kLeafAlignment, &leaf_offsets), kCacheLine);
    scratch_bytes = place(state, 1, kLeafAlignment, &scratch_offsets);
    action_bytes = place(action, 1, sizeof(int64_t), &action_offsets);
  }

  void set_blocks(uint32_t blocks) {
    num_blocks = blocks;
    size_t at = sizeof(ArenaWords);
    const auto take = [&at](size_t bytes) {
      const size_t start = align_up(at, kCacheLine);
      at = start + bytes;
      return start;
    };
    slots_at = take(num_slots * sizeof(Slot));
    step_times_at = take(num_slots * sizeof(StepTimes));
    actions_at = take(num_envs * action_bytes);
    idle_at = take(num_queues * sizeof(Idle));
    lives_at = take(num_queues * sizeof(WorkerLife));
    queues_at = take(num_queues * sizeof(QueueWords));
    cells_at = take(num_queues * cells_per_queue() * sizeof(QueueCell));
    heads_at = take(num_blocks * sizeof(BatchHead));
    row_words_at = take(num_slots > 0 ? sizeof(RowWord) * num_blocks * batch_size : 0);
    batch_blocks_at = take(num_blocks * sizeof(std::atomic<uint32_t>));
    blocks_at = take(num_blocks * block_bytes);
    total_bytes = at;
  }

  bool is_async() const { return batch_size < num_envs; }
  bool has_finals() const { return first_final < state.size(); }
  // The leaf that holds what an episode ended with, for one of the env's own leaves.
  uint32_t final_of(uint32_t leaf) const { return first_final + leaf - kFirstObs; }

  // Envs are dealt to queues in runs: queue q has envs first_env(q) to first_env(q + 1) - 1.
  uint32_t first_env(uint32_t queue) const {
    return static_cast<uint32_t>(static_cast<uint64_t>(queue) * num_envs / num_queues);
  }
  uint32_t queue_of(uint32_t env) const {
    return static_cast<uint32_t>(((static_cast<uint64_t>(env) + 1) * num_queues - 1) / num_envs);
  }
  // A block of so many rows on its own: where each state leaf starts, and its size in bytes.
  size_t place_rows(size_t rows, std::vector<size_t>* offsets) const {
    return place(state, rows, kLeafAlignment, offsets);
  }
  size_t cells_per_queue() const { return EnvQueue::cells_for((num_envs + num_queues - 1) / num_queues); }

 private:
  static size_t place(const std::vector<EnvpoolLeaf>& leaves, size_t rows, size_t alignment,
                      std::vector<size_t>* offsets) {
    size_t at = 0;
    for (const auto& leaf : leaves) {
      offsets->push_back(at);
      at = align_up(at + rows * static_cast<size_t>(leaf.nbytes), alignment);
    }
    return at;
  }
};

}  // namespace envpool
