// Steps Python envs through a generated module's functions.
//
// build, reset, step and close run with the GIL held, on the thread of whichever worker took the env. What an
// env leaves behind (an exception, undeclared info) stays with it until the caller takes it, which it does
// after receiving the env's row: never while a worker has the env. A session keeps one Python thread state
// per worker thread and attaches it around each run of envs.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#ifdef __GLIBCXX__
#include <cxxabi.h>
#endif

#include "cpp_core/module_abi.h"
#include "cpp_core/stepper.h"

namespace envpool {

namespace py = pybind11;

// One exception in one env, with what is needed to find its cause.
struct Failure {
  EnvpoolHook hook = kNoHook;
  int32_t elapsed_step = 0;
  py::object action;
  py::object exception;
};

// Runs `call`, which enters Python on a worker. Before 3.14, Python unwinds a thread that comes back to it
// after the interpreter has ended; our destructors would touch Python on the way and crash the exit, so such
// a thread sleeps here until the process is gone.
template <typename Call>
auto outlive_python(const Call& call) {
#ifdef __GLIBCXX__
  try {
    return call();
  } catch (const abi::__forced_unwind&) {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
#else
  return call();
#endif
}

class PyStepper final : public Stepper {
 public:
  PyStepper(const EnvpoolModule* module, py::object factory, uint32_t num_envs,
            std::vector<size_t> action_offsets)
      : module_(module),
        factory_(std::move(factory)),
        action_offsets_(std::move(action_offsets)),
        envs_(num_envs) {
    for (auto& env : envs_) env.kept_actions.resize(static_cast<size_t>(module->num_actions), nullptr);
  }
  ~PyStepper() override { release(); }

  // Drops every Python object. With the GIL held, and no worker left.
  void release() {
    for (auto& env : envs_) {
      for (PyObject*& kept : env.kept_actions) Py_CLEAR(kept);
      env = PyEnv{};
    }
    factory_ = py::object();
    interrupt_ = py::object();
  }

  // ---- for the caller, while the env is idle ----

  py::object env(uint32_t id) const { return envs_[id].object; }
  void set_options(uint32_t id, py::object options) { envs_[id].options = std::move(options); }
  Failure take_failure(uint32_t id) { return std::exchange(envs_[id].failure, Failure{}); }
  py::object take_info(uint32_t id) { return std::exchange(envs_[id].info, py::object()); }
  // Set after Outcome::kInterrupted.
  py::object take_interrupt() { return std::exchange(interrupt_, py::object()); }
  // An interrupt belongs to the user only where the user's own thread steps.
  void set_caller_steps(bool caller_steps) { caller_steps_ = caller_steps; }

  // ---- for workers ----

  std::unique_ptr<Session> open_session() override { return std::make_unique<GilSession>(); }

  Outcome build(uint32_t id) override {
    PyObject* number = PyLong_FromUnsignedLong(id);
    PyObject* made = number == nullptr
                         ? nullptr
                         : outlive_python([&] { return PyObject_CallOneArg(factory_.ptr(), number); });
    Py_XDECREF(number);
    if (made == nullptr) return keep_failure(id, kInitHook, py::object(), 0);
    envs_[id].object = py::reinterpret_steal<py::object>(made);
    return Outcome::kOk;
  }

  Outcome reset(uint32_t id, const int64_t* seed, RowClaim& claim, StepFlags* flags) override {
    EnvpoolCall call = call_for(id, claim);
    const py::object options = std::exchange(envs_[id].options, py::object());
    call.options = options.ptr();
    call.seed = seed;
    return finish(id, outlive_python([&] { return module_->reset(&call); }), call, claim, flags);
  }

  Outcome step(uint32_t id, const std::byte* action, RowClaim& claim, StepFlags* flags) override {
    EnvpoolCall call = call_for(id, claim);
    call.action = reinterpret_cast<const unsigned char*>(action);
    call.action_offsets = action_offsets_.data();
    call.kept_actions = envs_[id].kept_actions.data();
    return finish(id, outlive_python([&] { return module_->step(&call); }), call, claim, flags);
  }

  Outcome close(uint32_t id) override {
    envs_[id].failure = {};  // of a row that nobody received
    if (!envs_[id].object) return Outcome::kOk;
    EnvpoolCall call{};
    call.env = envs_[id].object.ptr();
    const EnvpoolHook failed = outlive_python([&] { return module_->close(&call); });
    return failed == kNoHook ? Outcome::kOk : keep_failure(id, failed, py::object(), 0);
  }

 private:
  struct PyEnv {
    py::object object;
    py::object options;
    py::object info;
    Failure failure;
    std::vector<PyObject*> kept_actions;
  };

  class GilSession final : public Session {
   public:
    GilSession() : gil_(PyGILState_Ensure()), thread_(PyEval_SaveThread()) {}
    ~GilSession() override {
      enter();
      PyGILState_Release(gil_);
    }
    void enter() override {
      outlive_python([this] { PyEval_RestoreThread(thread_); });
    }
    void leave() override { thread_ = PyEval_SaveThread(); }

   private:
    PyGILState_STATE gil_;
    PyThreadState* thread_;
  };

  EnvpoolCall call_for(uint32_t id, RowClaim& claim) {
    EnvpoolCall call{};
    call.env = envs_[id].object.ptr();
    call.claim = &claim;
    call.leaf = [](EnvpoolCall* self, int32_t which) {
      return reinterpret_cast<unsigned char*>(
          static_cast<RowClaim*>(self->claim)->row().leaf(static_cast<uint32_t>(which)));
    };
    return call;
  }

  Outcome finish(uint32_t id, EnvpoolHook failed, const EnvpoolCall& call, RowClaim& claim,
                 StepFlags* flags) {
    const py::object action = py::reinterpret_steal<py::object>(call.action_object);
    py::object info = py::reinterpret_steal<py::object>(call.info);
    if (failed != kNoHook) return keep_failure(id, failed, action, claim.elapsed_step());
    flags->terminated = call.terminated != 0;
    flags->truncated = call.truncated != 0;
    flags->info = static_cast<bool>(info);
    envs_[id].info = std::move(info);
    return Outcome::kOk;
  }

  Outcome keep_failure(uint32_t id, EnvpoolHook hook, py::object action, int32_t elapsed_step) {
    py::error_already_set raised;
    py::object exception = raised.value();
    if (raised.trace()) PyException_SetTraceback(exception.ptr(), raised.trace().ptr());
    if (caller_steps_ && raised.matches(PyExc_KeyboardInterrupt)) {
      interrupt_ = std::move(exception);
      return Outcome::kInterrupted;
    }
    envs_[id].failure = {hook, elapsed_step, std::move(action), std::move(exception)};
    return Outcome::kFailed;
  }

  const EnvpoolModule* const module_;
  py::object factory_;
  const std::vector<size_t> action_offsets_;
  std::vector<PyEnv> envs_;
  py::object interrupt_;
  bool caller_steps_ = false;
};

}  // namespace envpool
