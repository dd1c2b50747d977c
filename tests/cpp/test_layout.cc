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
      {layout.cells_at, EnvQueue::cells_for(layout.num_envs) * 4, kCacheLine, "cells"},
      {layout.heads_at, layout.num_blocks * sizeof(BatchHead), alignof(BatchHead), "heads"},
      {layout.batch_blocks_at, layout.num_blocks * size_t{4}, kCacheLine, "blocks of batches"},
      {layout.blocks_at, layout.num_blocks * layout.block_bytes, kCacheLine, "blocks"},
  };
  check_parts(arena, layout.total_bytes);
  std::vector<Part> block, action;
  CHECK_EQ(layout.leaf_offsets.size(), layout.state.size());
  for (size_t i = 0; i < layout.state.size(); ++i) {
    const auto bytes = static_cast<size_t>(layout.state[i].nbytes);
    block.push_back({layout.leaf_offsets[i], layout.batch_size * bytes, kCacheLine, layout.state[i].name});
  }
  check_parts(block, layout.block_bytes);
  CHECK_EQ(layout.block_bytes % kCacheLine, 0);  // else the second block is not aligned
  CHECK_EQ(layout.action_offsets.size(), layout.action.size());
  for (size_t i = 0; i < layout.action.size(); ++i) {
    const EnvpoolLeaf& leaf = layout.action[i];
    action.push_back(
        {layout.action_offsets[i], static_cast<size_t>(leaf.nbytes), kDTypes[leaf.dtype].itemsize, "action"});
  }
  check_parts(action, layout.action_bytes);
  CHECK_EQ(layout.action_bytes % kCacheLine, 0);
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
    Layout layout(num_envs, batch_size, state_leaves(draw(1) ? kFloat32 : kFloat64, obs.data(), obs.size()),
                  draw_leaves(4));
    CHECK_EQ(layout.state.size(), kFirstObs + obs.size());
    layout.set_blocks(1 + draw(40));
    check_layout(layout);
  }
}

TEST(layout_survives_an_env_with_no_observation_and_no_action_bytes) {
  const EnvpoolLeaf empty = leaf_of(kFloat32, 0);
  for (size_t count : {0, 1, 3}) {
    const std::vector<EnvpoolLeaf> leaves(count, empty);
    Layout layout(3, 2, state_leaves(kFloat32, leaves.data(), count), leaves);
    layout.set_blocks(3);
    check_layout(layout);
    CHECK_EQ(layout.action_bytes, 0);
  }
}

TEST(layout_of_more_than_four_gigabytes_does_not_wrap) {
  const EnvpoolLeaf image = leaf_of(kUInt8, 3 << 20);
  Layout layout(4096, 4096, state_leaves(kFloat32, &image, 1), {image});
  layout.set_blocks(1000);
  check_layout(layout);
  CHECK(layout.total_bytes > size_t{4096} * 1000 * (3 << 20));
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
