// An engine that steps the envs of a compiled class: arena, records and kernel put together.
//
// With the GIL.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "cpp_core/kernel_pool.h"
#include "cpp_core/py_engine.h"
#include "cpp_core/py_numpy.h"

namespace envpool {

// `records`: an array with one record per env. `shape`: its queues and blocks are settled here.
inline std::shared_ptr<KernelEngine> make_kernel_engine(const EnvpoolModule* module,
                                                        const py::capsule& capsule, const py::object& records,
                                                        EngineShape shape, bool checked,
                                                        const PoolOptions& options, size_t ring_bytes) {
  const EnvpoolKernel* kernel = checked ? module->checked_kernel : module->kernel;
  if (kernel == nullptr) raise("BuildError", std::string(module->task) + " has no compiled hooks");
  PyArrayObject* array = as_ndarray(records.ptr());
  const auto itemsize = static_cast<uint64_t>(PyArray_ITEMSIZE(array));
  if (itemsize != kernel->state_bytes || PyArray_SIZE(array) != static_cast<npy_intp>(shape.num_envs) ||
      !PyArray_IS_C_CONTIGUOUS(array)) {
    raise("BuildError", "the state of " + std::string(module->task) + " takes " +
                            std::to_string(kernel->state_bytes) + " bytes in the compiled module, " +
                            std::to_string(itemsize) + " here; generate it again");
  }
  shape.num_queues =
      KernelEngine::num_queues(shape.batch_size < shape.num_envs, options.num_threads, options.caller_works);
  shape.num_blocks = 0;
  // Let go with the GIL: by the pool, whose workers have ended by then. A hung one keeps it for ever.
  auto keeper = std::make_shared<py::tuple>(py::make_tuple(capsule, records));
  return std::make_shared<KernelEngine>(Arena(make_layout(module, shape, ring_bytes, /*with_slots=*/false)),
                                        kernel, static_cast<unsigned char*>(PyArray_DATA(array)),
                                        std::move(keeper),
                                        EpisodeRules{shape.max_episode_steps, shape.autoreset},
                                        static_cast<uint32_t>(module->num_obs), options.caller_works);
}

}  // namespace envpool
