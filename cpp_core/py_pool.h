// The pool as Python sees it: `_core.Pool`.
//
// One thread at a time: a second one, or an env that calls its own pool, gets PendingCallError. The GIL is
// released while waiting, building on threads and joining threads. Every wait looks at signals each kSliceMs
// at the latest, so Ctrl-C works.
#pragma once

#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cpp_core/env_pool.h"
#include "cpp_core/forks.h"
#include "cpp_core/py_actions.h"
#include "cpp_core/py_batches.h"
#include "cpp_core/py_engine.h"
#include "cpp_core/py_post.h"
#include "cpp_core/py_stats.h"

namespace envpool {

inline constexpr int64_t kSliceMs = 50;

class PyPool {
 public:
  // `module`: the capsule of a generated module. `factory`: env id -> env, called on the workers. Worker
  // processes are started by the owner, between this and build(): see set_processes().
  PyPool(const py::capsule& module, py::object factory, EngineShape shape, uint32_t num_threads,
         uint32_t num_processes, bool caller_works, int32_t thread_affinity_offset, size_t ring_bytes)
      : PyPool(open_module(module), std::move(factory), shape, {num_threads, num_processes, caller_works},
               thread_affinity_offset, ring_bytes) {}

  ~PyPool() {
    if (forked()) {
      pool_.forget_workers();
    } else if (!closed_ && shut(in_milliseconds(kCloseMs))) {
      stepper().release();
    }
  }
  PyPool(const PyPool&) = delete;

  static constexpr int64_t kCloseMs = 5000;

  // Builds envs anew in place of those that failed; the failures of that.
  py::list rebuild(const py::object& env_id) {
    const Inside inside(this);
    std::vector<uint32_t> envs;
    for (const int32_t env : idle_envs(env_id)) {
      if (pool_.is_built(static_cast<uint32_t>(env))) envs.push_back(static_cast<uint32_t>(env));
    }
    run_errand(Request::kClose, envs, [](uint32_t, const py::object&) {});
    revive(chosen_envs(env_id));  // a worker may have died while it closed them
    std::erase_if(envs, [this](uint32_t env) { return pool_.is_built(env); });
    for (const uint32_t env : envs) pool_.arena().slot(env).reseed = seeds_[env].has_value();
    return build(envs);
  }

  // What a worker process needs to join: the shape as a dict, and (arena, inbox, [outbox of each process]).
  py::dict shape() const { return shape_.to_dict(); }
  py::tuple files() const {
    py::list outboxes;
    for (const auto& outbox : files_->outboxes) outboxes.append(outbox->fd());
    return py::make_tuple(files_->arena.fd(), files_->inbox.fd(), outboxes);
  }
  // `processes`: envpool_wrap.processes.Processes, or something with its start() and died().
  void set_processes(py::object processes) { processes_ = std::move(processes); }

  // Builds every env. Returns the failures, in the order of env ids.
  py::list build() {
    const Inside inside(this);
    return build(pool_.all_envs());
  }

  void send(const py::tuple& actions, const py::object& env_id) {
    const Inside inside(this);
    const auto& envs = idle_envs(env_id);
    pool_.check_room();
    const auto batches = read_actions(actions, layout(), envs);
    revive(envs);
    write_actions(batches, pool_.arena(), envs);
    pool_.submit(Request::kStep, envs.data(), static_cast<uint32_t>(envs.size()));
  }

  // Throws kPendingCallError when a synchronous pool has a batch that was sent and not received.
  void refuse_pending() const {
    refuse_fork();
    if (pool_.num_pending_batches() > 0 && !pool_.is_async()) {
      throw Fault(FaultKind::kPendingCallError, std::to_string(pool_.num_pending_batches()) +
                                                    " sent batch(es) not received yet; recv() first");
    }
  }

  // send and recv in one call. In a synchronous pool what is pending must be received first: the batch that
  // comes back has to be the one that was sent.
  py::tuple step(const py::tuple& actions, const py::object& env_id, const View& view,
                 std::optional<double> timeout) {
    refuse_pending();
    send(actions, env_id);
    return recv(view, timeout);
  }

  // `seeds` and `options`: None, or one item (which may be None) per env id.
  void reset(const py::object& env_id, const py::object& seeds, const py::object& options) {
    const Inside inside(this);
    const auto& envs = idle_envs(env_id);
    pool_.check_room();
    revive(envs);
    if (!options.is_none()) post_.put(envs, py::cast<std::vector<py::object>>(options));
    if (!seeds.is_none()) {
      const auto values = py::cast<std::vector<std::optional<int64_t>>>(seeds);
      for (size_t i = 0; i < envs.size(); ++i) {
        if (values.at(i)) set_seed(static_cast<uint32_t>(envs[i]), values.at(i));
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
    counts_.private_copies += copied ? 1 : 0;
    ++counts_.batches;
    counts_.rows += batch.rows;
    PyTuple_SET_ITEM(arrays.ptr(), PyTuple_GET_SIZE(arrays.ptr()) - 1, extra.release().ptr());
    return arrays;
  }

  // Calls `function(env)` for idle envs, on the worker of each. (results, failures), in the order of the ids.
  py::tuple apply(const py::object& function, const py::object& env_id) {
    const Inside inside(this);
    std::vector<uint32_t> envs;
    for (const int32_t env : chosen_envs(env_id)) {
      if (env >= 0 && static_cast<uint32_t>(env) < layout().num_envs &&
          pool_.in_flight(static_cast<uint32_t>(env))) {
        throw Fault(FaultKind::kPendingCallError,
                    "env " + std::to_string(env) + " is in flight; recv() its result first");
      }
    }
    for (const int32_t env : idle_envs(env_id)) envs.push_back(static_cast<uint32_t>(env));
    revive(chosen_envs(env_id));
    post_.put(chosen_envs(env_id), std::vector<py::object>(envs.size(), function));
    py::list results;
    py::list failures = run_errand(Request::kApply, envs, [&](uint32_t env, const py::object& letter) {
      results.append(py::reinterpret_borrow<py::list>(letter)[0]);
      static_cast<void>(env);
    });
    return py::make_tuple(results, failures);
  }

  // Closes every env and ends the threads. (True, failures of close hooks), or (False, []) when an env did
  // not return in time and its thread was left behind. Worker processes are told to end; the owner waits for
  // them.
  py::tuple close(double timeout) {
    py::list failures;
    if (closed_) return py::make_tuple(true, failures);
    const Inside inside(this);
    const bool all = shut(after(timeout));
    if (all) {
      for (uint32_t env = 0; env < layout().num_envs; ++env)
        add_failure(env, env, post_.take_outbox(env), &failures);
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

  bool closed() const { return closed_; }

  // The worker process of `queue` is dead: its envs in flight fail with `error`.
  void bury(uint32_t queue, const py::object& error) {
    for (uint32_t env = layout().first_env(queue); env < layout().first_env(queue + 1); ++env) {
      const auto elapsed = pool_.arena().slot(env).elapsed_step;
      post_.note_death(env, py::make_tuple("worker", elapsed, py::none(), error, py::str(error)));
    }
    dead_queues_.push_back(queue);
    pool_.bury(queue);
  }

  std::optional<int64_t> seed(uint32_t id) const { return seeds_.at(id); }

  py::dict stats() const { return stats_of(pool_, counts_); }
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
      pool->refuse_fork();  // first: a thread that was inside may not be in this process
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

  PyPool(const EnvpoolModule* module, py::object factory, EngineShape shape, const Workers& workers,
         int32_t thread_affinity_offset, size_t ring_bytes)
      : workers_(workers),
        inbox_(std::make_shared<LocalMailbox>(shape.num_envs)),
        outbox_(std::make_shared<LocalMailbox>(shape.num_envs)),
        pool_(make_engine(module, std::move(factory), shape, make_arena(module, &shape, ring_bytes), inbox_,
                          outbox_),
              {shape.num_envs, shape.batch_size, workers.threads, workers.caller_works, shape.spin_ns,
               thread_affinity_offset}),
        shape_(shape),
        post_(pool_.arena(), workers_, files_.get(), inbox_, outbox_),
        seeds_(shape.num_envs) {
    all_envs_.resize(shape.num_envs);
    std::iota(all_envs_.begin(), all_envs_.end(), 0);
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

  void refuse_fork() const {
    if (!forked()) return;
    throw Fault(FaultKind::kForkedPoolError,
                "this pool was made before a fork and its workers are not in this process; make a new one");
  }
  bool forked() const { return Forks::counts().generation != generation_; }

  const Layout& layout() const { return pool_.arena().layout(); }
  PyStepper& stepper() const { return static_cast<PyStepper&>(pool_.stepper()); }

  static Deadline after(double seconds) {
    constexpr double most = 1e8;  // a few years: Clock counts in nanoseconds
    return Clock::now() + std::chrono::duration_cast<Clock::duration>(
                              std::chrono::duration<double>(std::min(seconds, most)));
  }

  const std::vector<int32_t>& chosen_envs(const py::object& env_id) {
    if (env_id.is_none()) return all_envs_;
    some_envs_ = read_env_ids(env_id);
    return some_envs_;
  }

  const std::vector<int32_t>& idle_envs(const py::object& env_id) {
    const auto& envs = chosen_envs(env_id);
    finish_errand();
    pool_.check_idle(envs.data(), envs.size());
    return envs;
  }

  // Builds envs; the failures, in the order of `envs`.
  py::list build(const std::vector<uint32_t>& envs) {
    return run_errand(Request::kBuild, envs, [](uint32_t, const py::object&) {});
  }

  // The rest of an errand that was interrupted, or whose letters could not all be read: nobody asks for it.
  void finish_errand() {
    if (errand_.empty()) return;
    drive([this] { return pool_.errand_done(); }, std::nullopt);
    for (const uint32_t env : errand_) post_.drop_outbox(env);
    errand_.clear();
  }

  // Runs an errand to its end, and gives the letter of each env that has one and did not fail to `take`.
  template <typename Take>
  py::list run_errand(Request request, const std::vector<uint32_t>& envs, const Take& take) {
    errand_ = envs;
    pool_.start_errand(request, envs);
    drive([this] { return pool_.errand_done(); }, std::nullopt);
    py::list failures;
    for (const uint32_t env : envs) {
      const py::object letter =
          pool_.errand_failed() || request == Request::kApply ? post_.take(env) : py::object();
      if (letter && !add_failure(env, env, letter, &failures)) take(env, letter);
    }
    errand_.clear();
    return failures;
  }

  // Starts the worker processes again that died and that serve any of `envs`, and builds their envs.
  void revive(const std::vector<int32_t>& envs) {
    if (dead_queues_.empty()) return;
    py::list queues;
    std::vector<uint32_t> lost;
    std::vector<uint32_t> still_dead;
    for (const uint32_t queue : dead_queues_) {
      const bool wanted = std::any_of(envs.begin(), envs.end(), [&](int32_t env) {
        return layout().queue_of(static_cast<uint32_t>(env)) == queue;
      });
      if (!wanted) {
        still_dead.push_back(queue);
        continue;
      }
      queues.append(queue);
      for (uint32_t env = layout().first_env(queue); env < layout().first_env(queue + 1); ++env)
        lost.push_back(env);
    }
    if (lost.empty()) return;
    processes_.attr("start")(queues);
    dead_queues_ = still_dead;
    for (const uint32_t env : lost) {
      post_.note_death(env, py::object());
      pool_.arena().slot(env).reseed = seeds_[env].has_value();
    }
    const py::list failures = build(lost);
    if (!failures.empty()) py::module_::import("envpool_wrap.failures").attr("raise_failures")(failures);
  }

  // Steps what is the caller's, and waits for the others, until `ready`.
  template <typename Ready>
  void drive(const Ready& ready, std::optional<double> timeout) {
    const Deadline deadline = after(timeout.value_or(std::numeric_limits<double>::infinity()));
    const Stopwatch inside(&counts_.inside_ticks);
    stepper().set_caller();
    // Also when there is no need to wait: in an asynchronous pool the others may be quick enough for ever.
    if (Clock::now() >= next_look_) look_around();
    pool_.begin_steps();
    while (!ready()) {
      Outcome outcome = Outcome::kOk;
      if (pool_.caller_works() && pool_.step_one(&outcome)) {
        if (outcome == Outcome::kInterrupted) rethrow(stepper().take_interrupt());
      } else if (workers_.threads + workers_.processes == 0) {
        raise("PoolError", "nothing is due, and yet the batch is not complete");
      } else {
        wait_a_while(ready, std::min(deadline, in_milliseconds(kSliceMs)));
        if (!ready()) look_around();
        pool_.begin_steps();
      }
      if (timeout && Clock::now() >= deadline && !ready()) throw_timeout(*timeout);
    }
  }

  // Between two slices of waiting: signals, and worker processes that died.
  void look_around() {
    next_look_ = in_milliseconds(kSliceMs);
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (processes_ && !processes_.is_none()) look_for_dead();
  }
  void look_for_dead() {
    const auto died = py::cast<py::dict>(processes_.attr("died")());
    for (const auto& [queue, error] : died) {
      bury(py::cast<uint32_t>(queue), py::reinterpret_borrow<py::object>(error));
    }
  }

  template <typename Ready>
  void wait_a_while(const Ready& ready, Deadline until) {
    const Stopwatch waiting(&counts_.waited_ticks);
    without_gil([&] { return pool_.wait(ready, until); });
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
      const SlotState state = slot.state.load(std::memory_order_acquire);
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

  // Whether the letter is a failure; if so it is put on the list.
  bool add_failure(uint32_t env, uint32_t row, const py::object& letter, py::list* failures) {
    if (!letter || !py::isinstance<py::tuple>(letter)) return false;
    failures->append(py::make_tuple(env, row, seeds_[env]) + letter);
    return true;
  }

  // (failures, infos): a list of failures in row order; one dict or None per row, or None when no row has
  // info.
  py::object leftovers(const ReadyBatch& batch) {
    py::list failures, infos;
    for (uint32_t row = 0; row < batch.rows; ++row) {
      const auto env = static_cast<uint32_t>(
          *reinterpret_cast<int32_t*>(pool_.arena().row(batch.block, row).leaf(kEnvId)));
      py::object letter;
      try {
        letter = post_.take(env);
      } catch (py::error_already_set& error) {  // an info that cannot be made again in this process
        const int32_t elapsed = pool_.arena().slot(env).elapsed_step;
        write_failed_row(pool_.arena(), pool_.arena().row(batch.block, row), env);
        letter = py::make_tuple(kHookNames[kInfoHook], elapsed, py::none(), error.value(), py::none());
      }
      const bool failed = add_failure(env, row, letter, &failures);
      if (batch.infos) infos.append(letter && !failed ? letter : py::none());
    }
    return py::make_tuple(failures, batch.infos ? py::object(infos) : py::none());
  }

  // Drops what is due, lets running envs finish, closes every env, ends the workers.
  bool shut(Deadline deadline) {
    closed_ = true;
    if (!stop(deadline)) return false;
    if (processes_) look_for_dead();
    pool_.take_back_due();
    // Half of the time, so that one hung env leaves the others time to be closed.
    const Deadline patience = Clock::now() + (deadline - Clock::now()) / 2;
    while (Clock::now() < patience && any_busy()) {
      {
        py::gil_scoped_release release;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      if (processes_) look_for_dead();
    }
    pool_.drop_everything();
    if (workers_.threads > 0) pool_.start_workers(1);
    std::vector<uint32_t> envs;
    for (const uint32_t env : pool_.all_envs()) {
      if (pool_.is_built(env) && !pool_.is_busy(env)) envs.push_back(env);
    }
    pool_.start_errand(Request::kClose, envs);
    const auto done = [this] { return pool_.errand_done(); };
    Outcome outcome = Outcome::kOk;
    while (!done() && Clock::now() < deadline) {
      if (pool_.caller_works() && pool_.step_one(&outcome)) continue;
      if (workers_.threads + workers_.processes == 0) break;
      wait_a_while(done, std::min(deadline, in_milliseconds(kSliceMs)));
      if (processes_) look_for_dead();
    }
    const bool all = stop(deadline) && done();
    pool_.stop_processes();
    return all || workers_.threads == 0;
  }

  bool any_busy() const {
    const auto envs = pool_.all_envs();
    return std::any_of(envs.begin(), envs.end(), [this](uint32_t env) { return pool_.is_busy(env); });
  }

  bool stop(Deadline deadline) {
    return without_gil([&] { return pool_.stop_workers(deadline); });
  }

  const Workers workers_;
  const uint32_t generation_ = Forks::counts().generation;
  std::unique_ptr<SharedFiles> files_;
  const std::shared_ptr<LocalMailbox> inbox_;
  const std::shared_ptr<LocalMailbox> outbox_;
  EnvPool pool_;
  const EngineShape shape_;
  Post post_;
  py::object processes_;
  std::vector<uint32_t> errand_;  // the envs of one that is not over, or whose letters are not all taken
  Deadline next_look_{};
  std::vector<uint32_t> dead_queues_;
  std::vector<std::optional<int64_t>> seeds_;
  std::vector<int32_t> all_envs_;
  std::vector<int32_t> some_envs_;
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
  bool closed_ = false;
  CallerCounts counts_;
};

inline void bind_pool(py::module_& module) {
  module.def("read_env_ids", &read_env_ids);
  py::class_<View>(module, "View");
  py::class_<PyPool>(module, "Pool")
      .def(py::init<const py::capsule&, py::object, EngineShape, uint32_t, uint32_t, bool, int32_t, size_t>(),
           py::kw_only(), py::arg("module"), py::arg("factory"), py::arg("shape"), py::arg("num_threads"),
           py::arg("num_processes"), py::arg("caller_works"), py::arg("thread_affinity_offset"),
           py::arg("ring_bytes"))
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
