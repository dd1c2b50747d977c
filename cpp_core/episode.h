// The rules of an episode: when a step is a reset, when it ends, and what the engine's leaves say.
//
// Next-step autoreset, as EnvPool and Gymnasium do it: the step that ends an episode returns its last
// observation; the next step on that env ignores its action, resets, and returns the first observation with
// reward 0, both flags false and elapsed_step 0.
#pragma once

#include <cstdint>
#include <cstring>

#include "cpp_core/arena.h"
#include "cpp_core/stepper.h"

namespace envpool {

enum StepType : int32_t { kFirst = 0, kMid = 1, kLast = 2 };

inline void write_engine_leaves(const Row& row, uint32_t env, int32_t elapsed_step, StepType type,
                                const StepFlags& flags) {
  row.put<int32_t>(kEnvId, static_cast<int32_t>(env));
  row.put<int32_t>(kElapsedStep, elapsed_step);
  row.put<bool>(kTerminated, flags.terminated);
  row.put<bool>(kTruncated, flags.truncated);
  row.put<bool>(kDone, flags.terminated || flags.truncated);
  row.put<bool>(kTrunc, flags.truncated && !flags.terminated);
  row.put<float>(kDiscount, flags.terminated ? 0.0F : 1.0F);
  row.put<int32_t>(kStepType, type);
}

inline void clear_leaf(const Row& row, const Layout& layout, uint32_t leaf) {
  std::memset(row.leaf(leaf), 0, static_cast<size_t>(layout.state[leaf].nbytes));
}

// The row of an env that raised, or whose worker died: zeros, truncated; the env's next step is a reset.
inline void write_failed_row(Arena& arena, const Row& row, uint32_t env) {
  const Layout& layout = arena.layout();
  Slot& slot = arena.slot(env);
  clear_leaf(row, layout, kReward);
  for (uint32_t leaf = kFirstObs; leaf < layout.state.size(); ++leaf) clear_leaf(row, layout, leaf);
  write_engine_leaves(row, env, slot.elapsed_step, kLast, StepFlags{.truncated = true});
  slot.needs_reset = true;
  bump<uint64_t>(slot.episodes, 1);
}

// Makes a row the last of its episode, when nothing can come after it.
inline void end_episode(Arena& arena, const Row& row, uint32_t env) {
  if (*reinterpret_cast<bool*>(row.leaf(kDone))) return;
  row.put<bool>(kTruncated, true);
  row.put<bool>(kDone, true);
  row.put<bool>(kTrunc, true);
  row.put<int32_t>(kStepType, kLast);
  bump<uint64_t>(arena.slot(env).episodes, 1);
}

// Resets or steps `env` as its slot asks and fills its row, whatever happens.
inline Outcome play(Arena& arena, Stepper& stepper, int32_t max_episode_steps, uint32_t env,
                    RowClaim& claim) {
  Slot& slot = arena.slot(env);
  const Layout& layout = arena.layout();
  const bool is_reset = slot.request == Request::kReset || slot.needs_reset;
  StepFlags flags;
  Outcome outcome;
  if (is_reset) {
    slot.elapsed_step = 0;
    outcome = stepper.reset(env, slot.reseed ? &slot.seed : nullptr, claim, &flags);
    if (outcome == Outcome::kOk) slot.reseed = false;
    flags.terminated = flags.truncated = false;
  } else {
    outcome = stepper.step(env, arena.action(env), claim, &flags);
    if (outcome == Outcome::kOk) {
      ++slot.elapsed_step;
      bump<uint64_t>(slot.steps, 1);
    }
    if (slot.elapsed_step >= max_episode_steps) flags.truncated = true;
  }
  const Row row = claim.row();
  if (outcome != Outcome::kOk) {
    write_failed_row(arena, row, env);
    claim.settle();
    BatchHead& head = arena.head(claim.block());
    if (outcome == Outcome::kFailed) head.failed.fetch_add(1, std::memory_order_relaxed);
    return outcome;
  }
  if (is_reset) clear_leaf(row, layout, kReward);
  const bool done = flags.terminated || flags.truncated;
  if (done) bump<uint64_t>(slot.episodes, 1);
  slot.needs_reset = done;
  write_engine_leaves(row, env, slot.elapsed_step, done ? kLast : is_reset ? kFirst : kMid, flags);
  claim.settle();
  if (flags.info) arena.head(claim.block()).infos.fetch_add(1, std::memory_order_relaxed);
  return outcome;
}

}  // namespace envpool
