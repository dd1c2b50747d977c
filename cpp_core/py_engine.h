// An engine that steps Python envs: arena, stepper and mailboxes put together, in the caller or in a worker.
//
// Both sides build the same layout from the same numbers (EngineShape travels as a dict) and the same module.
#pragma once

#include <pybind11/native_enum.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "cpp_core/env_pool.h"
#include "cpp_core/py_stepper.h"

namespace envpool {

struct EngineShape {
  uint32_t num_envs;
  uint32_t batch_size;
  uint32_t num_queues;
  uint32_t num_blocks;
  int32_t max_episode_steps;
  Autoreset autoreset;
  bool keep_options;  // an autoreset gives the env the options of its last reset again
  bool timed;
  int64_t spin_ns;

  py::dict to_dict() const {
    using namespace py::literals;
    return py::dict("num_envs"_a = num_envs, "batch_size"_a = batch_size, "num_queues"_a = num_queues,
                    "num_blocks"_a = num_blocks, "max_episode_steps"_a = max_episode_steps,
                    "autoreset"_a = py::cast(autoreset), "keep_options"_a = keep_options, "timed"_a = timed,
                    "spin_ns"_a = spin_ns);
  }
};

inline const EnvpoolModule* open_module(const py::capsule& capsule) {
  const auto* module =
      static_cast<const EnvpoolModule*>(PyCapsule_GetPointer(capsule.ptr(), ENVPOOL_MODULE_CAPSULE));
  if (module == nullptr) throw py::error_already_set();
  if (module->abi == ENVPOOL_MODULE_ABI) return module;
  raise("BuildError", "the generated module speaks version " + std::to_string(module->abi) +
                          " of the module interface, this engine version " +
                          std::to_string(ENVPOOL_MODULE_ABI) + "; generate it again");
}

// With num_blocks 0, as many as fit in `ring_bytes`.
inline Layout make_layout(const EnvpoolModule* module, const EngineShape& shape, size_t ring_bytes,
                          bool with_slots = true) {
  const auto reward = static_cast<EnvpoolDType>(module->reward_dtype);
  std::vector<EnvpoolLeaf> state = state_leaves(reward, module->obs, static_cast<size_t>(module->num_obs));
  state.insert(state.end(), module->info, module->info + module->num_info);
  Layout layout(shape.num_envs, shape.batch_size, shape.num_queues, std::move(state),
                {module->actions, module->actions + module->num_actions},
                shape.autoreset == Autoreset::kSameStep, with_slots);
  const uint32_t reserve = Flight::most_batches(shape.num_envs, shape.batch_size);
  layout.set_blocks(shape.num_blocks > 0 ? shape.num_blocks
                                         : BatchRing::blocks_for(layout.block_bytes, reserve, ring_bytes));
  return layout;
}

// The caller's engine: its own envs' letters stay in this process.
inline std::shared_ptr<Engine> make_engine(const EnvpoolModule* module, py::object factory,
                                           const EngineShape& shape, const Arena& arena,
                                           std::shared_ptr<const RowRules> row_rules,
                                           std::shared_ptr<Mailbox> inbox, std::shared_ptr<Mailbox> outbox) {
  auto stepper = std::make_unique<PyStepper>(module, std::move(factory), arena, std::move(row_rules),
                                             std::move(inbox), std::move(outbox), shape.keep_options);
  const EpisodeRules rules{shape.max_episode_steps, shape.autoreset};
  return std::shared_ptr<Engine>(new Engine{arena, std::move(stepper), rules, shape.timed});
}

// The engine of the process that serves `queue`: the caller's arena, and letters in files.
inline std::shared_ptr<Engine> make_shared_engine(const EnvpoolModule* module, py::object factory,
                                                  const EngineShape& shape,
                                                  std::shared_ptr<const RowRules> row_rules, int arena_fd,
                                                  int inbox_fd, int outbox_fd, uint32_t queue) {
  const Arena arena(make_layout(module, shape, 0), arena_fd);
  auto inbox = std::make_shared<FileMailbox>(arena, inbox_fd, &Slot::inbox);
  auto outbox = std::make_shared<FileMailbox>(arena, outbox_fd, &Slot::outbox);
  outbox->spare(arena.layout().first_env(queue), arena.layout().first_env(queue + 1));
  return make_engine(module, std::move(factory), shape, arena, std::move(row_rules), std::move(inbox),
                     std::move(outbox));
}

inline void bind_engine(py::module_& module) {
  bind_rules(module);
  py::native_enum<Autoreset>(module, "Autoreset", "enum.Enum")
      .value("next_step", Autoreset::kNextStep)
      .value("same_step", Autoreset::kSameStep)
      .value("disabled", Autoreset::kDisabled)
      .finalize();
  py::class_<EngineShape>(module, "EngineShape")
      .def(py::init<uint32_t, uint32_t, uint32_t, uint32_t, int32_t, Autoreset, bool, bool, int64_t>(),
           py::kw_only(), py::arg("num_envs"), py::arg("batch_size"), py::arg("num_queues"),
           py::arg("num_blocks"), py::arg("max_episode_steps"), py::arg("autoreset"), py::arg("keep_options"),
           py::arg("timed"), py::arg("spin_ns"))
      .def("to_dict", &EngineShape::to_dict);
}

}  // namespace envpool
