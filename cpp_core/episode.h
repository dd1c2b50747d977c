// The rules of an episode: when a step is a reset, when it ends, and what the engine's leaves say.
//
//   next step   the step that ends an episode returns its last observation; the next step on that env ignores
//               its action, resets, and returns the first observation with reward 0, both flags false and
//               elapsed_step 0. As in EnvPool, and Gymnasium's default.
//   same step   the step that ends an episode resets too: reward, flags and elapsed_step are the ended
//               episode's, the observation is the next one's first, the last one is in the finals (layout.h).
//   disabled    the step that ends an episode returns its last observation; the caller resets the env before
//               it steps it again (the pool refuses anything else).
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "cpp_core/arena.h"
#include "cpp_core/stepper.h"

namespace envpool {

enum class Autoreset : int32_t { kNextStep, kSameStep, kDisabled };

struct EpisodeRules {
  int32_t max_episode_steps = std::numeric_limits<int32_t>::max();
  Autoreset autoreset = Autoreset::kNextStep;
};

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

// What the row says is how the episode ends.
inline void keep_finals(const Row& row) {
  const Layout& layout = row.layout();
  if (!layout.has_finals()) return;
  for (uint32_t leaf = kFirstObs; leaf < layout.first_final; ++leaf) {
    std::memcpy(row.leaf(layout.final_of(leaf)), row.leaf(leaf),
                static_cast<size_t>(layout.state[leaf].nbytes));
  }
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

// Makes a row the last of its episode, when nothing can come after it. False: it was that already.
inline bool end_episode(Arena& arena, const Row& row, uint32_t env) {
  if (*reinterpret_cast<bool*>(row.leaf(kDone))) return false;
  row.put<bool>(kTruncated, true);
  row.put<bool>(kDone, true);
  row.put<bool>(kTrunc, true);
  row.put<int32_t>(kStepType, kLast);
  keep_finals(row);
  bump<uint64_t>(arena.slot(env).episodes, 1);
  return true;
}

inline Outcome reset_env(Stepper& stepper, Slot& slot, uint32_t env, ResetCause cause, RowClaim& claim,
                         StepFlags* flags) {
  const ResetOrder order{cause, slot.reseed ? &slot.seed : nullptr};
  const Outcome outcome = stepper.reset(env, order, claim, flags);
  if (outcome == Outcome::kOk) slot.reseed = false;
  return outcome;
}

// Resets or steps an env as the order says and fills its row, whatever happens.
inline Outcome play(Arena& arena, Stepper& stepper, const EpisodeRules& rules, const Order& order,
                    RowClaim& claim) {
  const uint32_t env = order.env;
  Slot& slot = arena.slot(env);
  const bool asked = order.request == Request::kReset;
  const bool is_reset = asked || slot.needs_reset;
  StepFlags flags;
  Outcome outcome;
  if (is_reset) {
    slot.elapsed_step = 0;
    outcome =
        reset_env(stepper, slot, env, asked ? ResetCause::kAsked : ResetCause::kAutoreset, claim, &flags);
    flags.terminated = flags.truncated = false;
  } else {
    outcome = stepper.step(env, arena.action(env), claim, &flags);
    if (outcome == Outcome::kOk) {
      ++slot.elapsed_step;
      bump<uint64_t>(slot.steps, 1);
    }
    if (slot.elapsed_step >= rules.max_episode_steps) flags.truncated = true;
  }
  const bool done = flags.terminated || flags.truncated;
  const bool goes_on = done && outcome == Outcome::kOk && rules.autoreset == Autoreset::kSameStep;
  if (goes_on) {
    keep_finals(claim.row());
    StepFlags first;
    outcome = reset_env(stepper, slot, env, ResetCause::kSameStep, claim, &first);
    flags.info = first.info;
  }
  const Row& row = claim.row();
  if (outcome != Outcome::kOk) {
    write_failed_row(arena, row, env);
    claim.settle();
    BatchHead& head = arena.head(claim.block());
    if (outcome == Outcome::kFailed) head.failed.fetch_add(1, std::memory_order_relaxed);
    return outcome;
  }
  if (is_reset) clear_leaf(row, arena.layout(), kReward);
  if (done) bump<uint64_t>(slot.episodes, 1);
  write_engine_leaves(row, env, slot.elapsed_step, done ? kLast : is_reset ? kFirst : kMid, flags);
  slot.needs_reset = done && !goes_on;
  if (goes_on) slot.elapsed_step = 0;
  claim.settle();
  if (flags.info) arena.head(claim.block()).infos.fetch_add(1, std::memory_order_relaxed);
  return outcome;
}

}  // namespace envpool
