// A pool of compiled envs as Python sees it: `_core.KernelPool`, with what `_core.Pool` has for sending and
// receiving.
//
// One thread at a time: a second one gets PendingCallError. The GIL is released while the caller steps its
// share or waits, but for runs so short that releasing it would take longer. No wait is deaf to Ctrl-C: it
// looks at signals every kSliceMs, and between runs. An env's record may be read and written (words,
// set_words, and the array itself) while it is idle.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "cpp_core/kernel_pool.h"
#include "cpp_core/pool_life.h"
#include "cpp_core/py_actions.h"
#include "cpp_core/py_batches.h"
#include "cpp_core/py_driver.h"
#include "cpp_core/py_kernel_engine.h"
#include "cpp_core/py_stats.h"

namespace envpool {

class PyKernelPool {
 public:
  // `records`: an array with one record per env, which the pool writes. `decode`: from the address that a
  // hook left to the exception that it raised.
  PyKernelPool(const py::capsule& module, const py::object& records, py::object decode, EngineShape shape,
               bool checked, uint32_t num_threads, bool caller_works, int32_t thread_affinity_offset,
               size_t ring_bytes)
      : PyKernelPool(open_module(module), module, records, std::move(decode), shape, checked,
                     {shape.num_envs, shape.batch_size, num_threads, caller_works, shape.spin_ns,
                      thread_affinity_offset},
                     ring_bytes) {}

  ~PyKernelPool() {
    if (life_.forked()) {
      pool_.forget_workers();
    } else if (!life_.closed()) {
      const Inside inside(&life_);
      shut(in_milliseconds(kCloseMs));
    }
  }
  PyKernelPool(const PyKernelPool&) = delete;

  static constexpr int64_t kCloseMs = 5000;

  void send(const py::tuple& actions, const py::object& env_id) {
    const Inside inside(&life_);
    send_inside(actions, env_id);
  }

  // As `_core.Pool`'s.
  void refuse_pending() {
    const Inside inside(&life_);
    pool_.refuse_pending();
  }
  py::tuple step(const py::tuple& actions, const py::object& env_id, const View& view,
                 std::optional<double> timeout) {
    const Inside inside(&life_);
    pool_.refuse_pending();
    send_inside(actions, env_id);
    return recv_inside(view, timeout);
  }

  // `seeds`: None, or one item (which may be None) per env id. Compiled hooks take no options.
  void reset(const py::object& env_id, const py::object& seeds, const py::object& options) {
    const Inside inside(&life_);
    if (!options.is_none())
      raise("ActionError", "compiled hooks take no reset options; make the pool with compiled=False");
    const Chosen chosen = idle_envs(env_id);
    pool_.check_room();
    if (!seeds.is_none()) {
      const auto values = py::cast<std::vector<std::optional<int64_t>>>(seeds);
      for (size_t i = 0; i < chosen.envs.size(); ++i) {
        if (values.at(i)) give_seed(static_cast<uint32_t>(chosen.envs[i]), *values.at(i));
      }
    }
    pool_.submit(Request::kReset, chosen.ids, chosen.count());
  }

  // The view's arrays, then None or (failures, None).
  py::tuple recv(const View& view, std::optional<double> timeout) {
    const Inside inside(&life_);
    return recv_inside(view, timeout);
  }

  // False: a hook did not return in time, and its thread was left behind.
  bool close(double timeout) {
    if (closed()) return true;
    const Inside inside(&life_);
    return shut(after(timeout));
  }
  bool closed() const { return life_.closed(); }

  std::optional<int64_t> seed(uint32_t env) const { return seeds_.at(env); }
  void set_seed(uint32_t env, std::optional<int64_t> seed) {
    if (seed) give_seed(env, *seed);
  }
  // The env starts anew: its next step is a reset, with the seed that it had.
  void renew(const std::vector<uint32_t>& envs) {
    const Inside inside(&life_);
    for (const uint32_t env : envs) {
      pool_.engine().envs.flags.at(env) |= KernelEnvs::kNeedsReset;
      if (seeds_[env]) give_seed(env, *seeds_[env]);
    }
  }

  // The ids, of idle envs. Throws kPendingCallError for others.
  std::vector<int32_t> idle(const py::object& env_id) {
    const Inside inside(&life_);
    pool_.refuse_in_flight(env_id.is_none() ? all_envs_ : read_env_ids(env_id));
    return idle_envs(env_id).envs;
  }

  // What idle envs have beside their records: an array of the steps of each one's episode, and one of whether
  // its next step is a reset.
  py::tuple words(const std::vector<int32_t>& ids) const {
    const KernelEnvs& envs = pool_.engine().envs;
    const auto make = [&](const EnvpoolLeaf& leaf) {
      auto array =
          py::reinterpret_steal<py::object>(new_array(leaf, static_cast<npy_intp>(ids.size()), nullptr));
      if (!array) throw py::error_already_set();
      return array;
    };
    const py::object elapsed = make(scalar_leaf("elapsed_step", kInt32)),
                     over = make(scalar_leaf("over", kBool));
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto env = static_cast<uint32_t>(ids[i]);
      static_cast<int32_t*>(PyArray_DATA(as_ndarray(elapsed.ptr())))[i] = envs.elapsed[env].load();
      static_cast<bool*>(PyArray_DATA(as_ndarray(over.ptr())))[i] =
          (envs.flags[env] & KernelEnvs::kNeedsReset) != 0;
    }
    return py::make_tuple(elapsed, over);
  }
  void set_words(const std::vector<int32_t>& ids, const std::vector<int32_t>& elapsed,
                 const std::vector<bool>& over) {
    const Inside inside(&life_);
    for (size_t i = 0; i < ids.size(); ++i) {
      pool_.engine().envs.restore(static_cast<uint32_t>(ids[i]), elapsed.at(i), over.at(i));
    }
  }

  py::dict stats() const {
    const KernelEnvs& envs = pool_.engine().envs;
    py::list steps, episodes;
    for (uint32_t env = 0; env < layout().num_envs; ++env) {
      steps.append(envs.steps(env));
      episodes.append(envs.episodes[env].load(std::memory_order_relaxed));
    }
    py::dict found = pool_counts(pool_, counts_);
    found["steps"] = steps;
    found["episodes"] = episodes;
    found["step_seconds"] = py::list();  // a clock would cost as much as a step
    found["histograms"] = py::list();
    return found;
  }
  View view(const std::vector<std::string>& names) const { return View(layout(), names); }
  uint32_t num_in_flight() const { return pool_.num_in_flight(); }
  size_t num_pending_batches() const { return pool_.num_pending_batches(); }

 private:
  // `ids` is null when they are all envs, in their order.
  struct Chosen {
    const std::vector<int32_t>& envs;
    const int32_t* ids;
    uint32_t count() const { return static_cast<uint32_t>(envs.size()); }
  };

  PyKernelPool(const EnvpoolModule* module, const py::capsule& capsule, const py::object& records,
               py::object decode, EngineShape shape, bool checked, const PoolOptions& options,
               size_t ring_bytes)
      : module_(module),
        decode_(std::move(decode)),
        pool_(make_kernel_engine(module, capsule, records, shape, checked, options, ring_bytes), options),
        seeds_(shape.num_envs),
        all_envs_(shape.num_envs) {
    std::iota(all_envs_.begin(), all_envs_.end(), 0);
  }

  const Layout& layout() const { return pool_.arena().layout(); }

  Chosen idle_envs(const py::object& env_id) {
    const bool all = env_id.is_none();
    if (!all) some_envs_ = read_env_ids(env_id);
    const Chosen chosen{all ? all_envs_ : some_envs_, all ? nullptr : some_envs_.data()};
    pool_.check_idle(chosen.ids, chosen.count());
    return chosen;
  }

  void send_inside(const py::tuple& actions, const py::object& env_id) {
    const Chosen chosen = idle_envs(env_id);
    pool_.check_begun(chosen.ids, chosen.count());
    pool_.check_room();
    const auto batches = read_actions(actions, layout(), chosen.envs);
    write_actions(batches, pool_.arena(), chosen.ids, chosen.count());
    pool_.submit(Request::kStep, chosen.ids, chosen.count());
  }

  py::tuple recv_inside(const View& view, std::optional<double> timeout) {
    pool_.begin_recv();
    drive(timeout);
    const ReadyBatch batch = pool_.take_front();
    auto lent = std::make_unique<Lent>(pool_.ring(), batch.block);
    py::object extra = batch.failed ? failures_of(batch) : py::none();
    return hand_out(std::move(lent), batch, view, std::move(extra), &counts_);
  }

  void give_seed(uint32_t env, int64_t seed) {
    seeds_.at(env) = seed;
    pool_.engine().envs.seeds[env] = seed;
    pool_.engine().envs.flags[env] |= KernelEnvs::kReseed;
  }

  // Until the front batch is there. Throws PoolTimeout, or what a signal handler raises.
  void drive(std::optional<double> timeout) {
    const Stopwatch inside(&counts_.inside_ticks);
    const Deadline deadline = after(timeout.value_or(std::numeric_limits<double>::infinity()));
    const auto ready = [this] { return pool_.front_ready(); };
    if (pool_.serve_short_run() && ready()) return;
    while (!ready()) {
      const Deadline until = std::min(deadline, in_milliseconds(kSliceMs));
      if (without_gil([&] { return drive_until(ready, until); })) return;
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      if (timeout && Clock::now() >= deadline) throw_timeout(*timeout);
    }
  }

  template <typename Ready>
  bool drive_until(const Ready& ready, Deadline until) {
    while (!ready() && Clock::now() < until) {
      if (pool_.caller_works() && pool_.step_one()) continue;
      const Stopwatch waiting(&counts_.waited_ticks);
      pool_.wait(ready, until);
    }
    return ready();
  }

  [[noreturn]] void throw_timeout(double timeout) const {
    raise("PoolTimeout", "no batch within " + py::cast<std::string>(py::str("{:g} s").format(timeout)) +
                             "; " + std::to_string(pool_.num_in_flight()) +
                             " envs are in flight. Nothing is lost: recv() again.");
  }

  py::object failures_of(const ReadyBatch& batch) {
    py::list failures;
    for (const KernelFailure& failure : pool_.take_failures(batch)) {
      const py::object raised = decode_(reinterpret_cast<uintptr_t>(&failure.raised));
      failures.append(py::make_tuple(failure.env, failure.row, seeds_.at(failure.env),
                                     kHookNames[failure.hook], failure.elapsed_step, action_of(failure),
                                     raised, py::none()));
    }
    return py::make_tuple(failures, py::none());
  }

  // What an interpreted env would have been handed; None for a reset.
  py::object action_of(const KernelFailure& failure) const {
    if (!failure.in_step) return py::none();
    std::vector<PyObject*> kept(layout().action.size(), nullptr);
    EnvpoolCall call{};
    call.module = module_;
    call.action = reinterpret_cast<const unsigned char*>(pool_.arena().action(failure.env));
    call.action_offsets = layout().action_offsets.data();
    call.kept_actions = kept.data();
    const auto action = py::reinterpret_steal<py::object>(module_->make_action(&call));
    for (PyObject* array : kept) Py_XDECREF(array);
    if (!action) throw py::error_already_set();
    return action;
  }

  bool shut(Deadline deadline) {
    life_.close();
    return without_gil([&] { return pool_.stop_workers(deadline); });
  }

  const EnvpoolModule* const module_;
  const py::object decode_;
  PoolLife life_;
  KernelPool pool_;
  CallerCounts counts_;
  std::vector<std::optional<int64_t>> seeds_;
  std::vector<int32_t> all_envs_;
  std::vector<int32_t> some_envs_;
};

inline void bind_kernel_pool(py::module_& module) {
  module.def("has_kernel",
             [](const py::capsule& capsule) { return open_module(capsule)->kernel != nullptr; });
  py::class_<PyKernelPool>(module, "KernelPool")
      .def(py::init<const py::capsule&, const py::object&, py::object, EngineShape, bool, uint32_t, bool,
                    int32_t, size_t>(),
           py::kw_only(), py::arg("module"), py::arg("records"), py::arg("decode"), py::arg("shape"),
           py::arg("checked"), py::arg("num_threads"), py::arg("caller_works"),
           py::arg("thread_affinity_offset"), py::arg("ring_bytes"))
      .def("send", &PyKernelPool::send)
      .def("step", &PyKernelPool::step)
      .def("refuse_pending", &PyKernelPool::refuse_pending)
      .def("reset", &PyKernelPool::reset)
      .def("recv", &PyKernelPool::recv)
      .def("close", &PyKernelPool::close)
      .def("seed", &PyKernelPool::seed)
      .def("set_seed", &PyKernelPool::set_seed)
      .def("renew", &PyKernelPool::renew)
      .def("idle", &PyKernelPool::idle)
      .def("words", &PyKernelPool::words)
      .def("set_words", &PyKernelPool::set_words)
      .def("stats", &PyKernelPool::stats)
      .def("view", &PyKernelPool::view)
      .def_property_readonly("closed", &PyKernelPool::closed)
      .def_property_readonly("num_in_flight", &PyKernelPool::num_in_flight)
      .def_property_readonly("num_pending_batches", &PyKernelPool::num_pending_batches);
}

}  // namespace envpool
