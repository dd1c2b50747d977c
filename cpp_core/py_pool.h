// The pool as Python sees it: `_core.Pool`.
//
// One thread at a time: a second one, or an env that calls its own pool, gets PendingCallError. The GIL is
// released while waiting, building on threads and joining threads; no wait is deaf to Ctrl-C (py_driver.h).
#pragma once

#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cpp_core/env_pool.h"
#include "cpp_core/pool_life.h"
#include "cpp_core/py_actions.h"
#include "cpp_core/py_batches.h"
#include "cpp_core/py_closing.h"
#include "cpp_core/py_driver.h"
#include "cpp_core/py_engine.h"
#include "cpp_core/py_errands.h"
#include "cpp_core/py_leftovers.h"
#include "cpp_core/py_post.h"
#include "cpp_core/py_process_workers.h"
#include "cpp_core/py_stats.h"
#include "cpp_core/seeds.h"

namespace envpool {

class PyPool {
 public:
  // `module`: the capsule of a generated module. `factory`: env id -> env, called on the workers. Worker
  // processes are started by the owner, between this and build(): see set_processes().
  PyPool(const py::capsule& module, py::object factory, EngineShape shape, std::shared_ptr<RowRules> rules,
         uint32_t num_threads, uint32_t num_processes, bool caller_works, int32_t thread_affinity_offset,
         size_t ring_bytes)
      : PyPool(open_module(module), std::move(factory), shape, std::move(rules),
               {num_threads, num_processes, caller_works}, thread_affinity_offset, ring_bytes) {}

  ~PyPool() {
    if (life_.forked()) {
      pool_.forget_workers();
    } else if (!life_.closed()) {
      const Inside inside(&life_);
      if (shut(in_milliseconds(kCloseMs))) stepper().release();
    }
  }
  PyPool(const PyPool&) = delete;

  static constexpr int64_t kCloseMs = 5000;

  // What a worker process needs to join: the shape as a dict, and (arena, inbox, [outbox of each process]).
  py::dict shape() const { return shape_.to_dict(); }
  py::tuple files() const {
    py::list outboxes;
    for (const auto& outbox : files_->outboxes) outboxes.append(outbox->fd());
    return py::make_tuple(files_->arena.fd(), files_->inbox.fd(), outboxes);
  }
  void set_processes(py::object processes) { processes_.set(std::move(processes)); }

  // Builds every env. Returns the failures, in the order of env ids.
  py::list build() {
    const Inside inside(&life_);
    return errands_.build(pool_.all_envs());
  }

  // Builds envs anew in place of those that failed; the failures of that.
  py::list rebuild(const py::object& env_id) {
    const Inside inside(&life_);
    return errands_.rebuild(idle_envs(env_id));
  }

  void send(const py::tuple& actions, const py::object& env_id) {
    const Inside inside(&life_);
    send_inside(actions, env_id);
  }

  // Throws kPendingCallError when a synchronous pool has a batch that was sent and not received.
  void refuse_pending() {
    const Inside inside(&life_);
    pool_.refuse_pending();
  }

  // send and recv in one call. In a synchronous pool what is pending must be received first: the batch that
  // comes back has to be the one that was sent.
  py::tuple step(const py::tuple& actions, const py::object& env_id, const View& view,
                 std::optional<double> timeout) {
    const Inside inside(&life_);
    pool_.refuse_pending();
    send_inside(actions, env_id);
    return recv_inside(view, timeout);
  }

  // `seeds` and `options`: None, or one item (which may be None) per env id.
  void reset(const py::object& env_id, const py::object& seeds, const py::object& options) {
    const Inside inside(&life_);
    const auto& envs = idle_envs(env_id);
    pool_.check_room();
    errands_.revive(Request::kReset, envs);
    if (!options.is_none()) post_.put(envs, py::cast<std::vector<py::object>>(options));
    if (!seeds.is_none()) {
      const auto values = py::cast<std::vector<std::optional<int64_t>>>(seeds);
      for (size_t i = 0; i < envs.size(); ++i) {
        if (values.at(i)) seeds_.set(static_cast<uint32_t>(envs[i]), values.at(i));
      }
    }
    pool_.submit(Request::kReset, envs.data(), static_cast<uint32_t>(envs.size()));
  }

  // The view's arrays, then None or (failures, infos).
  py::tuple recv(const View& view, std::optional<double> timeout) {
    const Inside inside(&life_);
    return recv_inside(view, timeout);
  }

  // Calls `function(env)` for idle envs, on the worker of each. (results, failures), in the order of the ids.
  py::tuple apply(const py::object& function, const py::object& env_id) {
    const Inside inside(&life_);
    pool_.refuse_in_flight(chosen_envs(env_id));
    return errands_.apply(function, idle_envs(env_id));
  }

  // Closes every env and ends the threads. (True, failures of close hooks), or (False, []) when an env did
  // not return in time and its thread was left behind. Worker processes are told to end; the owner waits for
  // them.
  py::tuple close(double timeout) {
    py::list failures;
    if (closed()) return py::make_tuple(true, failures);
    const Inside inside(&life_);
    const bool all = shut(after(timeout));
    if (all) {
      for (uint32_t env = 0; env < layout().num_envs; ++env) {
        leftovers_.add_failure(env, env, post_.take_outbox(env), &failures);
      }
    }
    const py::object interrupt = stepper().take_interrupt();
    if (all) {
      stepper().release();
      post_.close();
      files_.reset();
    }
    if (interrupt) rethrow(interrupt);
    return py::make_tuple(all, failures);
  }

  bool closed() const { return life_.closed(); }

  std::optional<int64_t> seed(uint32_t id) const { return seeds_.of(id); }
  void set_seed(uint32_t env, std::optional<int64_t> seed) { seeds_.set(env, seed); }

  py::dict stats() const { return stats_of(pool_, counts_); }
  View view(const std::vector<std::string>& names) const { return View(layout(), names); }
  uint32_t num_in_flight() const { return pool_.num_in_flight(); }
  size_t num_pending_batches() const { return pool_.num_pending_batches(); }

 private:
  PyPool(const EnvpoolModule* module, py::object factory, EngineShape shape, std::shared_ptr<RowRules> rules,
         const Workers& workers, int32_t thread_affinity_offset, size_t ring_bytes)
      : workers_(workers),
        inbox_(std::make_shared<LocalMailbox>(shape.num_envs)),
        outbox_(std::make_shared<LocalMailbox>(shape.num_envs)),
        pool_(make_engine(module, std::move(factory), shape, make_arena(module, &shape, ring_bytes),
                          std::move(rules), inbox_, outbox_),
              {shape.num_envs, shape.batch_size, /*num_threads=*/0, workers.caller_works, shape.spin_ns,
               thread_affinity_offset}),
        shape_(shape),
        post_(pool_.arena(), workers_, files_.get(), inbox_, outbox_),
        seeds_(pool_.arena()),
        leftovers_(pool_.arena(), &post_, &seeds_),
        processes_(&pool_, &post_),
        driver_(&pool_, &processes_, workers_, &counts_),
        errands_(&pool_, &post_, &seeds_, &processes_, &driver_, &leftovers_) {
    all_envs_.resize(shape.num_envs);
    std::iota(all_envs_.begin(), all_envs_.end(), 0);
    // They need the GIL to begin, and to end should the system refuse one of them.
    const py::gil_scoped_release release;
    pool_.start_workers(workers_.threads);
  }

  // Settles the shape and makes the memory: shared where there are worker processes.
  Arena make_arena(const EnvpoolModule* module, EngineShape* shape, size_t ring_bytes) {
    shape->num_queues = workers_.queues();
    Layout layout = make_layout(module, *shape, ring_bytes);
    shape->num_blocks = layout.num_blocks;
    if (workers_.processes == 0) return Arena(std::move(layout));
    files_.reset(
        new SharedFiles{MemFile("envpool-arena", layout.total_bytes), MemFile("envpool-inbox", 0), {}});
    for (uint32_t i = 0; i < workers_.processes; ++i) {
      files_->outboxes.push_back(std::make_unique<MemFile>("envpool-outbox", 0));
    }
    const int fd = files_->arena.fd();
    return Arena(std::move(layout), fd);
  }

  const Layout& layout() const { return pool_.arena().layout(); }
  PyStepper& stepper() const { return static_cast<PyStepper&>(pool_.stepper()); }

  const std::vector<int32_t>& chosen_envs(const py::object& env_id) {
    if (env_id.is_none()) return all_envs_;
    some_envs_ = read_env_ids(env_id);
    return some_envs_;
  }

  const std::vector<int32_t>& idle_envs(const py::object& env_id) {
    const auto& envs = chosen_envs(env_id);
    errands_.finish();
    pool_.check_idle(envs.data(), envs.size());
    return envs;
  }

  void send_inside(const py::tuple& actions, const py::object& env_id) {
    const auto& envs = idle_envs(env_id);
    pool_.check_begun(envs.data(), envs.size());
    pool_.check_room();
    const auto batches = read_actions(actions, layout(), envs);
    errands_.revive(Request::kStep, envs);
    write_actions(batches, pool_.arena(), envs.data(), envs.size());
    processes_.note_losses(envs);
    pool_.submit(Request::kStep, envs.data(), static_cast<uint32_t>(envs.size()));
  }

  py::tuple recv_inside(const View& view, std::optional<double> timeout) {
    pool_.begin_recv();
    driver_.drive([this] { return pool_.front_ready(); }, timeout);
    const ReadyBatch batch = pool_.take_front();
    auto lent = std::make_unique<Lent>(pool_.ring(), batch.block);
    py::object extra = batch.failed || batch.infos ? leftovers_.of_batch(batch) : py::none();
    return hand_out(std::move(lent), batch, view, std::move(extra), &counts_);
  }

  bool shut(Deadline deadline) {
    life_.close();
    return Closing(&pool_, &processes_, &driver_, workers_).close(deadline);
  }

  const Workers workers_;
  PoolLife life_;
  std::unique_ptr<SharedFiles> files_;
  const std::shared_ptr<LocalMailbox> inbox_;
  const std::shared_ptr<LocalMailbox> outbox_;
  EnvPool pool_;
  const EngineShape shape_;
  CallerCounts counts_;
  Post post_;
  Seeds seeds_;
  Leftovers leftovers_;
  ProcessWorkers processes_;
  Driver driver_;
  Errands errands_;
  std::vector<int32_t> all_envs_;
  std::vector<int32_t> some_envs_;
};

inline void bind_pool(py::module_& module) {
  module.def("read_env_ids", &read_env_ids);
  py::class_<View>(module, "View");
  py::class_<PyPool>(module, "Pool")
      .def(py::init<const py::capsule&, py::object, EngineShape, std::shared_ptr<RowRules>, uint32_t,
                    uint32_t, bool, int32_t, size_t>(),
           py::kw_only(), py::arg("module"), py::arg("factory"), py::arg("shape"), py::arg("rules"),
           py::arg("num_threads"), py::arg("num_processes"), py::arg("caller_works"),
           py::arg("thread_affinity_offset"), py::arg("ring_bytes"))
      .def("shape", &PyPool::shape)
      .def("files", &PyPool::files)
      .def("set_processes", &PyPool::set_processes)
      .def("build", py::overload_cast<>(&PyPool::build))
      .def("rebuild", &PyPool::rebuild)
      .def("send", &PyPool::send)
      .def("step", &PyPool::step)
      .def("refuse_pending", &PyPool::refuse_pending)
      .def("reset", &PyPool::reset)
      .def("recv", &PyPool::recv)
      .def("apply", &PyPool::apply)
      .def("close", &PyPool::close)
      .def("seed", &PyPool::seed)
      .def("set_seed", &PyPool::set_seed)
      .def("stats", &PyPool::stats)
      .def("view", &PyPool::view)
      .def_property_readonly("closed", &PyPool::closed)
      .def_property_readonly("num_in_flight", &PyPool::num_in_flight)
      .def_property_readonly("num_pending_batches", &PyPool::num_pending_batches);
}

}  // namespace envpool
