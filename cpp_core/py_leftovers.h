// What envs leave beside their rows, as Python is told of it.
//
// A failure is a tuple (env_id, row, seed, hook, elapsed_step, action, exception, traceback text or None).
// The caller's thread only, with the GIL, for envs that are idle.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

#include "cpp_core/env_pool.h"
#include "cpp_core/episode.h"
#include "cpp_core/module_abi.h"
#include "cpp_core/py_post.h"
#include "cpp_core/seeds.h"

namespace envpool {

class Leftovers {
 public:
  Leftovers(const Arena& arena, Post* post, const Seeds* seeds)
      : arena_(arena), post_(*post), seeds_(*seeds) {}

  // Whether the letter is a failure; if so it is put on the list.
  bool add_failure(uint32_t env, uint32_t row, const py::object& letter, py::list* failures) const {
    if (!letter || !py::isinstance<py::tuple>(letter)) return false;
    failures->append(py::make_tuple(env, row, seeds_.of(env)) + letter);
    return true;
  }

  // (failures, infos) of a batch: a list of failures in row order; one dict or None per row, or None when no
  // row has info.
  py::object of_batch(const ReadyBatch& batch) {
    py::list failures, infos;
    for (uint32_t row = 0; row < batch.rows; ++row) {
      const uint32_t env = env_of(batch, row);
      py::object letter;
      try {
        letter = post_.take(env);
      } catch (py::error_already_set& error) {
        if (!error.matches(PyExc_Exception)) {  // the user's: Ctrl-C, which may come at any time
          while (++row < batch.rows) post_.drop(env_of(batch, row));
          throw;
        }
        // An info that cannot be made again in this process.
        const int32_t elapsed = arena_.slot(env).elapsed_step;
        write_failed_row(arena_, arena_.row(batch.block, row), env);
        letter = py::make_tuple(kHookNames[kInfoHook], elapsed, py::none(), error.value(), py::none());
      }
      const bool failed = add_failure(env, row, letter, &failures);
      if (batch.infos) infos.append(letter && !failed ? letter : py::none());
    }
    return py::make_tuple(failures, batch.infos ? py::object(infos) : py::none());
  }

 private:
  uint32_t env_of(const ReadyBatch& batch, uint32_t row) const {
    return static_cast<uint32_t>(*reinterpret_cast<int32_t*>(arena_.row(batch.block, row).leaf(kEnvId)));
  }

  Arena arena_;
  Post& post_;
  const Seeds& seeds_;
};

}  // namespace envpool
