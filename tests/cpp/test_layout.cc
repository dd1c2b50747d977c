#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "cpp_core/layout.h"
#include "tests/cpp/check.h"

namespace envpool {
namespace {

struct Part {
  size_t start, bytes, alignment;
  std::string name;
};

void check_parts(std::vector<Part> parts, size_t end) {
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) {
    return std::pair(a.start, a.start + a.bytes) < std::pair(b.start, b.start + b.bytes);
  });
  size_t at = 0;
  for (const Part& part : parts) {
    if (part.start < at || part.start % part.alignment != 0 || part.start + part.bytes > end) {
      check::fail(__FILE__, __LINE__,
                  part.name + " lies at " + std::to_string(part.start) + ", after " + std::to_string(at));
    }
    at = part.start + part.bytes;
  }
}

EnvpoolLeaf leaf_of(EnvpoolDType dtype, int64_t size) {
  static constexpr int64_t shape[] = {0};
  return {"leaf", dtype, kArray, 1, shape, size, size * kDTypes[dtype].itemsize, nullptr, nullptr};
}

void check_layout(const Layout& layout) {
  std::vector<Part> arena = {
      {0, sizeof(ArenaWords), kCacheLine, "words"},
      {layout.slots_at, layout.num_envs * sizeof(Slot), alignof(Slot), "slots"},
      {layout.actions_at, layout.num_envs * layout.action_bytes, kCacheLine, "actions"},
      {layout.step_times_at, layout.num_envs * sizeof(StepTimes), alignof(StepTimes), "step times"},
      {layout.idle_at, layout.num_queues * sizeof(Idle), alignof(Idle), "idle times"},
      {layout.lives_at, layout.num_queues * sizeof(WorkerLife), alignof(WorkerLife), "workers' lives"},
      {layout.queues_at, layout.num_queues * sizeof(QueueWords), alignof(QueueWords), "queues"},
      {layout.cells_at, layout.num_queues * layout.cells_per_queue() * sizeof(QueueCell), kCacheLine,
       "cells"},
      {layout.heads_at, layout.num_blocks * sizeof(BatchHead), alignof(BatchHead), "heads"},
      {layout.row_words_at, size_t{layout.num_blocks} * layout.batch_size * 8, kCacheLine, "row words"},
      {layout.batch_blocks_at, layout.num_blocks * size_t{4}, kCacheLine, "blocks of batches"},
      {layout.blocks_at, layout.num_blocks * layout.block_bytes, kCacheLine, "blocks"},
  };
  check_parts(arena, layout.total_bytes);
  std::vector<Part> block, scratch, action;
  CHECK_EQ(layout.leaf_offsets.size(), layout.state.size());
  for (size_t i = 0; i < layout.state.size(); ++i) {
    const auto bytes = static_cast<size_t>(layout.state[i].nbytes);
    block.push_back(
        {layout.leaf_offsets[i], layout.batch_size * bytes, kLeafAlignment, layout.state[i].name});
    scratch.push_back({layout.scratch_offsets[i], bytes, kLeafAlignment, layout.state[i].name});
  }
  check_parts(block, layout.block_bytes);
  check_parts(scratch, layout.scratch_bytes);
  CHECK_EQ(layout.block_bytes % kCacheLine, 0);  // else the second block is not aligned
  CHECK_EQ(layout.action_offsets.size(), layout.action.size());
  for (size_t i = 0; i < layout.action.size(); ++i) {
    const EnvpoolLeaf& leaf = layout.action[i];
    action.push_back(
        {layout.action_offsets[i], static_cast<size_t>(leaf.nbytes), kDTypes[leaf.dtype].itemsize, "action"});
  }
  check_parts(action, layout.action_bytes);
  CHECK_EQ(layout.action_bytes % sizeof(int64_t), 0);
}

TEST(layout_parts_are_aligned_and_do_not_overlap_whatever_the_sizes) {
  std::mt19937 random(1);
  const auto draw = [&random](uint32_t most) { return static_cast<uint32_t>(random() % (most + 1)); };
  const auto draw_leaves = [&](uint32_t most) {
    std::vector<EnvpoolLeaf> leaves;
    for (uint32_t i = draw(most); i > 0; --i) {
      const int64_t size = draw(3) == 0 ? 0 : draw(2) == 0 ? 84 * 84 * 4 : draw(130);
      leaves.push_back(leaf_of(static_cast<EnvpoolDType>(draw(kNumDTypes - 1)), size));
    }
    return leaves;
  };
  for (int i = 0; i < 3000; ++i) {
    const uint32_t num_envs = 1 + (draw(4) == 0 ? draw(5000) : draw(20));
    const uint32_t batch_size = 1 + draw(num_envs - 1);
    const auto obs = draw_leaves(6);
    const uint32_t queues = 1 + draw(draw(3) == 0 ? 70 : 4);
    Layout layout(num_envs, batch_size, queues,
                  state_leaves(draw(1) ? kFloat32 : kFloat64, obs.data(), obs.size()), draw_leaves(4));
    CHECK_EQ(layout.state.size(), kFirstObs + obs.size());
    layout.set_blocks(1 + draw(40));
    check_layout(layout);
  }
}

TEST(layout_survives_an_env_with_no_observation_and_no_action_bytes) {
  const EnvpoolLeaf empty = leaf_of(kFloat32, 0);
  for (size_t count : {0, 1, 3}) {
    const std::vector<EnvpoolLeaf> leaves(count, empty);
    Layout layout(3, 2, 2, state_leaves(kFloat32, leaves.data(), count), leaves);
    layout.set_blocks(3);
    check_layout(layout);
    CHECK_EQ(layout.action_bytes, 0);
  }
}

TEST(layout_of_more_than_four_gigabytes_does_not_wrap) {
  const EnvpoolLeaf image = leaf_of(kUInt8, 3 << 20);
  Layout layout(4096, 4096, 3, state_leaves(kFloat32, &image, 1), {image});
  layout.set_blocks(1000);
  check_layout(layout);
  CHECK(layout.total_bytes > size_t{4096} * 1000 * (3 << 20));
}

TEST(layout_env_belongs_to_the_one_queue_whose_run_it_is_in_and_has_a_cell_there) {
  for (uint32_t num_envs = 1; num_envs <= 130; ++num_envs) {
    for (uint32_t queues = 1; queues <= 66; ++queues) {
      const Layout layout(num_envs, num_envs, queues, {}, {});
      CHECK_EQ(layout.first_env(0), 0);
      CHECK_EQ(layout.first_env(queues), num_envs);
      uint32_t fewest = num_envs, most = 0;
      for (uint32_t queue = 0; queue < queues; ++queue) {
        const uint32_t first = layout.first_env(queue), end = layout.first_env(queue + 1);
        CHECK(first <= end);
        CHECK(end - first <= layout.cells_per_queue());
        for (uint32_t env = first; env < end; ++env) CHECK_EQ(layout.queue_of(env), queue);
        fewest = std::min(fewest, end - first);
        most = std::max(most, end - first);
      }
      CHECK(most - fewest <= 1);  // no worker is dealt more than its share
    }
  }
}

TEST(layout_deals_a_million_envs_without_overflow) {
  for (const uint32_t num_envs : {1'000'003U, UINT32_MAX / 2}) {
    for (const uint32_t queues : {1U, 3U, 64U, 1000U}) {
      const Layout layout(num_envs, 1, queues, {}, {});
      for (uint32_t queue = 0; queue < queues; ++queue) {
        CHECK_EQ(layout.queue_of(layout.first_env(queue)), queue);
        CHECK_EQ(layout.queue_of(layout.first_env(queue + 1) - 1), queue);
      }
    }
  }
}

TEST(layout_engine_leaves_stand_where_their_numbers_say) {
  const auto leaves = state_leaves(kFloat64, nullptr, 0);
  const std::pair<EngineLeaf, std::string> expected[] = {
      {kEnvId, "env_id"},          {kElapsedStep, "elapsed_step"}, {kReward, "reward"},
      {kTerminated, "terminated"}, {kTruncated, "truncated"},      {kDone, "done"},
      {kTrunc, "trunc"},           {kDiscount, "discount"},        {kStepType, "step_type"}};
  CHECK_EQ(leaves.size(), kFirstObs);
  for (const auto& [number, name] : expected) CHECK_EQ(leaves[number].name, name);
  CHECK_EQ(leaves[kReward].nbytes, 8);
}

}  // namespace
}  // namespace envpool
