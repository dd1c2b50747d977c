// The pool as Python sees it: `_core.Pool`.
//
// One thread at a time: a second one, or an env that calls its own pool, gets PendingCallError. The GIL is
// released while waiting, building on threads and joining threads. Every wait looks at signals each kSliceMs
// at the latest, so Ctrl-C works.
#pragma once

#include <pybind11/stl.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cpp_core/env_pool.h"
#include "cpp_core/py_actions.h"
#include "cpp_core/py_batches.h"
#include "cpp_core/py_stepper.h"

namespace envpool {

inline constexpr int64_t kSliceMs = 100;

class PyPool {
 public:
  // `module`: the capsule of a generated module. `factory`: env id -> env, called on the workers.
  PyPool(const py::capsule& module, py::object factory, uint32_t num_envs, uint32_t batch_size,
         uint32_t num_threads, std::optional<int32_t> max_episode_steps, int32_t thread_affinity_offset,
         size_t ring_bytes, bool timed)
      : PyPool(open(module), std::move(factory),
               PoolOptions{num_envs, batch_size, num_threads, thread_affinity_offset},
               max_episode_steps.value_or(std::numeric_limits<int32_t>::max()), ring_bytes, timed) {}

  ~PyPool() {
    if (!closed_ && shut(in_milliseconds(kCloseMs))) stepper().release();
  }
  PyPool(const PyPool&) = delete;

  static constexpr int64_t kCloseMs = 5000;

  // Builds every env. Returns the failures, in the order of env ids.
  py::list build() {
    const Inside inside(this);
    pool_.start_errand(Request::kBuild);
    drive([this] { return pool_.errand_done(); }, std::nullopt);
    py::list failures;
    if (!pool_.errand_failed()) return failures;
    for (uint32_t env = 0; env < layout().num_envs; ++env) add_failure(env, env, &failures);
    return failures;
  }

  void send(const py::tuple& actions, const py::object& env_id) {
    const Inside inside(this);
    const auto& envs = idle_envs(env_id);
    const auto batches = read_actions(actions, layout(), envs);
    write_actions(batches, pool_.arena(), envs);
    pool_.submit(Request::kStep, envs.data(), static_cast<uint32_t>(envs.size()));
  }

  // send and recv in one call. In a synchronous pool what is pending must be received first: the batch that
  // comes back has to be the one that was sent.
  py::tuple step(const py::tuple& actions, const py::object& env_id, const View& view,
                 std::optional<double> timeout) {
    if (pool_.num_pending_batches() > 0 && !pool_.is_async()) {
      throw Fault(FaultKind::kPendingCallError, std::to_string(pool_.num_pending_batches()) +
                                                    " sent batch(es) not received yet; recv() first");
    }
    send(actions, env_id);
    return recv(view, timeout);
  }

  // `seeds` and `options`: None, or one item (which may be None) per env id.
  void reset(const py::object& env_id, const py::object& seeds, const py::object& options) {
    const Inside inside(this);
    const auto& envs = idle_envs(env_id);
    if (!seeds.is_none()) {
      const auto values = py::cast<std::vector<std::optional<int64_t>>>(seeds);
      for (size_t i = 0; i < envs.size(); ++i) {
        if (values.at(i)) set_seed(static_cast<uint32_t>(envs[i]), values.at(i));
      }
    }
    if (!options.is_none()) {
      const auto values = py::cast<std::vector<py::object>>(options);
      for (size_t i = 0; i < envs.size(); ++i) {
        stepper().set_options(static_cast<uint32_t>(envs[i]),
                              values.at(i).is_none() ? py::object() : values.at(i));
      }
    }
    pool_.submit(Request::kReset, envs.data(), static_cast<uint32_t>(envs.size()));
  }

  // The view's arrays, then None or (failures, infos).
  py::tuple recv(const View& view, std::optional<double> timeout) {
    const Inside inside(this);
    pool_.begin_recv();
    drive([this] { return pool_.front_ready(); }, timeout);
    const ReadyBatch batch = pool_.take_front();
    // The envs are idle now and keep what they left; the block may be copied and freed below.
    py::object extra = batch.failed || batch.infos ? leftovers(batch) : py::none();
    bool copied = false;
    py::tuple arrays = hand_out(pool_.ring(), batch, view, 1, &copied);
    private_copies_ += copied ? 1 : 0;
    PyTuple_SET_ITEM(arrays.ptr(), PyTuple_GET_SIZE(arrays.ptr()) - 1, extra.release().ptr());
    return arrays;
  }

  // Closes every env and ends the workers. (True, failures of close hooks), or (False, []) when an env did
  // not return in time and its thread was left behind.
  py::tuple close(double timeout) {
    py::list failures;
    if (closed_) return py::make_tuple(true, failures);
    const Inside inside(this);
    const bool all = shut(after(timeout));
    if (all) {
      for (uint32_t env = 0; env < layout().num_envs; ++env) add_failure(env, env, &failures);
    }
    const py::object interrupt = stepper().take_interrupt();
    if (all) stepper().release();
    if (interrupt) rethrow(interrupt);
    return py::make_tuple(all, failures);
  }

  bool closed() const { return closed_; }

  // The env itself, for attribute access while it is idle.
  py::object env(uint32_t id) {
    const Inside inside(this);
    if (pool_.in_flight(id)) {
      throw Fault(FaultKind::kPendingCallError,
                  "env " + std::to_string(id) + " is in flight; recv() its result first");
    }
    return stepper().env(id);
  }

  std::optional<int64_t> seed(uint32_t id) const { return seeds_.at(id); }

  py::dict stats() const {
    py::list steps, episodes;
    for (uint32_t env = 0; env < layout().num_envs; ++env) {
      steps.append(pool_.arena().slot(env).steps);
      episodes.append(pool_.arena().slot(env).episodes);
    }
    py::dict stats;
    stats["steps"] = steps;
    stats["episodes"] = episodes;
    stats["in_flight"] = pool_.num_in_flight();
    stats["batches_held"] = pool_.ring()->held();
    stats["batches_touched"] = pool_.ring()->touched();
    stats["batches_bound"] = pool_.ring()->size();
    stats["private_copies"] = private_copies_;
    return stats;
  }

  View view(const std::vector<std::string>& names) const { return View(layout(), names); }
  uint32_t num_in_flight() const { return pool_.num_in_flight(); }
  size_t num_pending_batches() const { return pool_.num_pending_batches(); }

  void set_seed(uint32_t env, std::optional<int64_t> seed) {
    seeds_.at(env) = seed;
    Slot& slot = pool_.arena().slot(env);
    slot.reseed = seed.has_value();
    slot.seed = seed.value_or(0);
  }

 private:
  // Refuses a second caller, a closed pool, and nothing else.
  class Inside {
   public:
    explicit Inside(PyPool* pool) : pool_(pool) {
      if (pool->busy_.test_and_set(std::memory_order_acquire)) {
        throw Fault(FaultKind::kPendingCallError,
                    "another call is inside this pool (another thread, or an env that uses its own pool); "
                    "one at a time");
      }
      if (pool->closed_) {
        pool->busy_.clear(std::memory_order_release);
        throw Fault(FaultKind::kPoolClosedError, "this pool is closed; make a new one");
      }
    }
    ~Inside() { pool_->busy_.clear(std::memory_order_release); }
    Inside(const Inside&) = delete;

   private:
    PyPool* pool_;
  };

  static const EnvpoolModule* open(const py::capsule& capsule) {
    const auto* module =
        static_cast<const EnvpoolModule*>(PyCapsule_GetPointer(capsule.ptr(), ENVPOOL_MODULE_CAPSULE));
    if (module == nullptr) throw py::error_already_set();
    if (module->abi == ENVPOOL_MODULE_ABI) return module;
    raise("BuildError", "the generated module speaks version " + std::to_string(module->abi) +
                            " of the module interface, this engine version " +
                            std::to_string(ENVPOOL_MODULE_ABI) + "; generate it again");
  }

  PyPool(const EnvpoolModule* module, py::object factory, const PoolOptions& options,
         int32_t max_episode_steps, size_t ring_bytes, bool timed)
      : pool_(make_engine(module, std::move(factory), options, max_episode_steps, ring_bytes, timed),
              options),
        seeds_(options.num_envs) {
    stepper().set_caller_steps(pool_.is_inline());
    all_envs_.resize(options.num_envs);
    for (uint32_t env = 0; env < options.num_envs; ++env) all_envs_[env] = static_cast<int32_t>(env);
  }

  static std::shared_ptr<Engine> make_engine(const EnvpoolModule* module, py::object factory,
                                             const PoolOptions& options, int32_t max_episode_steps,
                                             size_t ring_bytes, bool timed) {
    const auto reward = static_cast<EnvpoolDType>(module->reward_dtype);
    Layout layout(options.num_envs, options.batch_size,
                  state_leaves(reward, module->obs, static_cast<size_t>(module->num_obs)),
                  {module->actions, module->actions + module->num_actions});
    const uint32_t reserve = EnvPool::most_in_flight(options.num_envs, options.batch_size);
    layout.set_blocks(BatchRing::blocks_for(layout.block_bytes, reserve, ring_bytes));
    auto stepper =
        std::make_unique<PyStepper>(module, std::move(factory), options.num_envs, layout.action_offsets);
    return std::shared_ptr<Engine>(
        new Engine{Arena(std::move(layout)), std::move(stepper), max_episode_steps, timed});
  }

  const Layout& layout() const { return pool_.arena().layout(); }
  PyStepper& stepper() const { return static_cast<PyStepper&>(pool_.stepper()); }

  static Deadline after(double seconds) {
    constexpr double most = 1e8;  // a few years: Clock counts in nanoseconds
    return Clock::now() + std::chrono::duration_cast<Clock::duration>(
                              std::chrono::duration<double>(std::min(seconds, most)));
  }

  const std::vector<int32_t>& idle_envs(const py::object& env_id) {
    if (!env_id.is_none()) some_envs_ = read_env_ids(env_id);
    const auto& envs = env_id.is_none() ? all_envs_ : some_envs_;
    pool_.check_idle(envs.data(), envs.size());
    return envs;
  }

  // Steps (inline) or waits (threads) until `ready`.
  template <typename Ready>
  void drive(const Ready& ready, std::optional<double> timeout) {
    const Deadline deadline = after(timeout.value_or(std::numeric_limits<double>::infinity()));
    while (!ready()) {
      if (pool_.is_inline()) {
        Outcome outcome = Outcome::kOk;
        if (!pool_.step_one(&outcome))
          raise("PoolError", "nothing is due, and yet the batch is not complete");
        if (outcome == Outcome::kInterrupted) rethrow(stepper().take_interrupt());
      } else {
        wait_a_while(ready, std::min(deadline, in_milliseconds(kSliceMs)));
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      }
      if (timeout && Clock::now() >= deadline && !ready()) throw_timeout(*timeout);
    }
  }

  template <typename Ready>
  void wait_a_while(const Ready& ready, Deadline until) {
    py::gil_scoped_release release;
    pool_.wait(ready, until);
  }

  [[noreturn]] static void rethrow(const py::object& interrupt) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(interrupt.ptr())), interrupt.ptr());
    throw py::error_already_set();
  }

  [[noreturn]] void throw_timeout(double timeout) {
    std::string running;
    uint32_t waiting = 0;
    const auto now = Clock::now().time_since_epoch().count();
    for (uint32_t env = 0; env < layout().num_envs; ++env) {
      const Slot& slot = pool_.arena().slot(env);
      const SlotState state = slot.state.load(std::memory_order_relaxed);
      waiting += state == SlotState::kDue ? 1 : 0;
      if (state != SlotState::kRunning) continue;
      const double seconds =
          static_cast<double>(now - slot.started_ns.load(std::memory_order_relaxed)) * 1e-9;
      running += (running.empty() ? "" : ", ") + std::string("env ") + std::to_string(env) + " for " +
                 py::cast<std::string>(py::str("{:.1f} s").format(seconds));
    }
    raise("PoolTimeout", "no batch within " + py::cast<std::string>(py::str("{:g} s").format(timeout)) +
                             "; still running: " + (running.empty() ? "none" : running) +
                             "; waiting for a worker: " + std::to_string(waiting) +
                             ". Nothing is lost: recv() again.");
  }

  void add_failure(uint32_t env, uint32_t row, py::list* failures) {
    const Failure failure = stepper().take_failure(env);
    if (failure.hook == kNoHook) return;
    failures->append(py::make_tuple(env, row, kHookNames[failure.hook], seeds_[env], failure.elapsed_step,
                                    failure.action ? failure.action : py::none(), failure.exception));
  }

  // (failures, infos): a list of failures in row order; one dict or None per row, or None when no row has
  // info.
  py::object leftovers(const ReadyBatch& batch) {
    py::list failures, infos;
    for (uint32_t row = 0; row < batch.rows; ++row) {
      const auto env = static_cast<uint32_t>(
          *reinterpret_cast<int32_t*>(pool_.arena().row(batch.block, row).leaf(kEnvId)));
      if (batch.failed) add_failure(env, row, &failures);
      if (!batch.infos) continue;
      py::object info = stepper().take_info(env);
      infos.append(info ? info : py::none());
    }
    return py::make_tuple(failures, batch.infos ? py::object(infos) : py::none());
  }

  // Lets running envs finish, drops what is due, closes every env, ends the workers.
  bool shut(Deadline deadline) {
    closed_ = true;
    if (!stop(deadline)) return false;
    pool_.drop_everything();
    if (!pool_.is_inline()) pool_.start_workers(1);
    pool_.start_errand(Request::kClose);
    Outcome outcome = Outcome::kOk;
    const auto done = [this] { return pool_.errand_done(); };
    while (!done() && Clock::now() < deadline) {
      if (!pool_.is_inline()) {
        wait_a_while(done, deadline);
      } else if (!pool_.step_one(&outcome)) {
        break;
      }
    }
    return stop(deadline) && done();
  }

  bool stop(Deadline deadline) {
    py::gil_scoped_release release;
    return pool_.stop_workers(deadline);
  }

  EnvPool pool_;
  std::vector<std::optional<int64_t>> seeds_;
  std::vector<int32_t> all_envs_;
  std::vector<int32_t> some_envs_;
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
  bool closed_ = false;
  uint64_t private_copies_ = 0;
};

inline void bind_pool(py::module_& module) {
  module.def("read_env_ids", &read_env_ids);
  py::class_<View>(module, "View");
  py::class_<PyPool>(module, "Pool")
      .def(py::init<const py::capsule&, py::object, uint32_t, uint32_t, uint32_t, std::optional<int32_t>,
                    int32_t, size_t, bool>(),
           py::kw_only(), py::arg("module"), py::arg("factory"), py::arg("num_envs"), py::arg("batch_size"),
           py::arg("num_threads"), py::arg("max_episode_steps"), py::arg("thread_affinity_offset"),
           py::arg("ring_bytes"), py::arg("timed"))
      .def("build", &PyPool::build)
      .def("send", &PyPool::send)
      .def("step", &PyPool::step)
      .def("reset", &PyPool::reset)
      .def("recv", &PyPool::recv)
      .def("close", &PyPool::close)
      .def("env", &PyPool::env)
      .def("seed", &PyPool::seed)
      .def("set_seed", &PyPool::set_seed)
      .def("stats", &PyPool::stats)
      .def("view", &PyPool::view)
      .def_property_readonly("closed", &PyPool::closed)
      .def_property_readonly("num_in_flight", &PyPool::num_in_flight)
      .def_property_readonly("num_pending_batches", &PyPool::num_pending_batches);
}

}  // namespace envpool
