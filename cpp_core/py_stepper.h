// Steps Python envs through a module's functions.
//
// build, reset, step, apply and close run with the GIL held, on the thread of whichever worker took the env.
// What an env leaves behind goes to its outbox: an exception as a tuple (hook, elapsed_step, action,
// exception, traceback text or None), undeclared info as a dict, the result of a function in a list of one.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "cpp_core/module_abi.h"
#include "cpp_core/py_gil.h"
#include "cpp_core/py_mailbox.h"
#include "cpp_core/py_random_watch.h"
#include "cpp_core/py_rules.h"
#include "cpp_core/stepper.h"

namespace envpool {

namespace py = pybind11;

class PyStepper final : public Stepper {
 public:
  PyStepper(const EnvpoolModule* module, py::object factory, const Arena& arena,
            std::shared_ptr<const RowRules> rules, std::shared_ptr<Mailbox> inbox,
            std::shared_ptr<Mailbox> outbox, bool keep_options)
      : module_(module),
        factory_(std::move(factory)),
        arena_(arena),
        rules_(std::move(rules)),
        envs_(arena.layout().num_envs),
        inbox_(std::move(inbox)),
        outbox_(std::move(outbox)),
        keep_options_(keep_options) {
    if (rules_->watch_random()) watch_ = std::make_unique<RandomWatch>();
    for (auto& env : envs_) env.kept_actions.resize(static_cast<size_t>(module->num_actions), nullptr);
    for (auto& env : envs_) env.outs.resize(static_cast<size_t>(module->num_obs), nullptr);
    arena_owner_ = py::capsule(new Arena(arena), [](void* kept) { delete static_cast<Arena*>(kept); });
  }
  ~PyStepper() override { release(); }

  // Drops every Python object. With the GIL held, and no worker left.
  void release() {
    for (auto& env : envs_) {
      for (PyObject*& kept : env.kept_actions) Py_CLEAR(kept);
      forget_methods(&env.methods);
      env = PyEnv{};
    }
    inbox_->clear();
    outbox_->clear();
    factory_ = py::object();
    arena_owner_ = py::object();
    rules_.reset();
    watch_.reset();
    interrupt_ = py::object();
  }

  // ---- for the caller ----

  // Set after Outcome::kInterrupted.
  py::object take_interrupt() { return std::exchange(interrupt_, py::object()); }
  // The user's own thread is about to step: a KeyboardInterrupt there is the user's, anywhere else the env's.
  // Relaxed: a worker compares it with itself, and is neither the old nor the new caller.
  // The guard that is returned says how long it stays.
  auto set_caller() {
    caller_.store(std::this_thread::get_id(), std::memory_order_relaxed);
    if (watch_) watch_->caller_comes_or_goes();
    const auto leave = [](RandomWatch* watch) { watch->caller_comes_or_goes(); };
    return std::unique_ptr<RandomWatch, decltype(leave)>(watch_.get(), leave);
  }

  // ---- for workers ----

  std::unique_ptr<Session> open_session() override { return std::make_unique<GilSession>(); }

  Outcome build(uint32_t id) override {
    forget_methods(&envs_[id].methods);
    envs_[id].object = py::object();  // the one before is gone before its successor is there
    PyObject* number = PyLong_FromUnsignedLong(id);
    PyObject* made = number == nullptr
                         ? nullptr
                         : outlive_python([&] { return PyObject_CallOneArg(factory_.ptr(), number); });
    Py_XDECREF(number);
    if (made == nullptr) return keep_failure(id, kInitHook, py::object(), 0);
    envs_[id].object = py::reinterpret_steal<py::object>(made);
    return Outcome::kOk;
  }

  Outcome reset(uint32_t id, const ResetOrder& order, RowClaim& claim, StepFlags* flags) override {
    py::object options, final_info;
    if (!take_options(id, order.cause, &options) ||
        (order.cause == ResetCause::kSameStep && !take_final_info(id, &final_info))) {
      return keep_failure(id, kResetHook, py::object(), claim.elapsed_step());
    }
    if (!envs_[id].object) {  // it could not be built when its worker started, or after it failed
      if (const Outcome built = build(id); built != Outcome::kOk) return built;
      claim.set_built();
    }
    EnvpoolCall call = call_for(id, claim);
    forget_methods(call.methods);  // the user's code may have assigned others by now
    call.options = options.ptr();
    call.seed = order.seed;
    call.observed = kResetMethod;
    const EnvpoolHook failed = run(id, module_->reset, &call, claim);
    if (failed == kNoHook && final_info && !join_final_info(&call, final_info)) {
      Py_CLEAR(call.info);
      return keep_failure(id, kInfoHook, py::object(), claim.elapsed_step());
    }
    return finish(id, failed, call, claim, flags);
  }

  Outcome step(uint32_t id, const std::byte* action, RowClaim& claim, StepFlags* flags) override {
    EnvpoolCall call = call_for(id, claim);
    call.action = reinterpret_cast<const unsigned char*>(action);
    call.action_offsets = arena_.layout().action_offsets.data();
    call.kept_actions = envs_[id].kept_actions.data();
    call.observed = kStepMethod;
    return finish(id, run(id, module_->step, &call, claim), call, claim, flags);
  }

  Outcome apply(uint32_t id) override {
    py::object function;
    if (!take_letter(*inbox_, id, &function)) return keep_failure(id, kApplied, py::object(), 0);
    PyObject* env = envs_[id].object ? envs_[id].object.ptr() : Py_None;
    auto result = py::reinterpret_steal<py::object>(
        outlive_python([&] { return PyObject_CallOneArg(function.ptr(), env); }));
    forget_methods(&envs_[id].methods);
    if (!result) return keep_failure(id, kApplied, py::object(), 0);
    py::list letter;
    letter.append(std::move(result));
    return post(id, std::move(letter)) ? Outcome::kOk : keep_failure(id, kApplied, py::object(), 0);
  }

  Outcome close(uint32_t id) override {
    outbox_->drop(id);  // of a row that nobody received
    arena_.slot(id).untold = kNoHook;
    if (!envs_[id].object) return Outcome::kOk;
    EnvpoolCall call{};
    call.module = module_;
    call.env = envs_[id].object.ptr();
    const EnvpoolHook failed = outlive_python([&] { return module_->close(&call); });
    return failed == kNoHook ? Outcome::kOk : keep_failure(id, failed, py::object(), 0);
  }

 private:
  struct PyEnv {
    py::object object;
    EnvpoolMethods methods{};
    py::object options;  // of its last reset, where they are kept
    std::vector<PyObject*> kept_actions;
    std::vector<PyObject*> outs;
  };

  EnvpoolCall call_for(uint32_t id, RowClaim& claim) {
    EnvpoolCall call{};
    call.module = module_;
    call.env = envs_[id].object.ptr();
    call.methods = &envs_[id].methods;
    call.outs = envs_[id].outs.data();
    call.arena = arena_owner_.ptr();
    call.claim = &claim;
    call.leaf = [](EnvpoolCall* self, int32_t which) {
      return reinterpret_cast<unsigned char*>(
          static_cast<RowClaim*>(self->claim)->row().leaf(static_cast<uint32_t>(which)));
    };
    return call;
  }

  // A reset or a step of the env.
  EnvpoolHook run(uint32_t id, EnvpoolHook (*function)(EnvpoolCall*), EnvpoolCall* call, RowClaim& claim) {
    for (int32_t leaf = 0; leaf < module_->num_info; ++leaf) {  // what the env's info does not have is zero
      std::memset(call->leaf(call, kFirstObs + module_->num_obs + leaf), 0,
                  static_cast<size_t>(module_->info[leaf].nbytes));
    }
    const auto call_env = [&] { return outlive_python([&] { return function(call); }); };
    if (!watch_) return call_env();
    return outlive_python([&] {
      try {
        const RandomWatch::Before before = watch_->before(id, claim.steps());
        const EnvpoolHook failed = call_env();
        if (failed == kNoHook) watch_->after(id, before);
        return failed;
      } catch (py::error_already_set& error) {
        error.restore();
        return call->observed;
      }
    });
  }

  Outcome finish(uint32_t id, EnvpoolHook failed, const EnvpoolCall& call, RowClaim& claim,
                 StepFlags* flags) {
    const py::object action = py::reinterpret_steal<py::object>(call.action_object);
    py::object info = py::reinterpret_steal<py::object>(call.info);
    const auto admitted = [&] { return rules_->admits(claim.steps(), claim.row()); };
    if (failed == kNoHook && !outlive_python(admitted)) failed = call.observed;
    if (failed != kNoHook) return keep_failure(id, failed, action, claim.elapsed_step());
    if (!rules_->keep_infos()) info = py::object();
    flags->terminated = call.terminated != 0;
    flags->truncated = call.truncated != 0;
    flags->info = static_cast<bool>(info);
    if (info && !post(id, std::move(info))) return keep_failure(id, kInfoHook, action, claim.elapsed_step());
    return Outcome::kOk;
  }

  // What the env's reset is given. False with the Python error set.
  bool take_options(uint32_t id, ResetCause cause, py::object* options) {
    py::object& kept = envs_[id].options;
    if (cause == ResetCause::kAsked) {
      if (!take_letter(*inbox_, id, options)) return false;
      if (keep_options_) kept = *options;
    } else {
      *options = kept;
    }
    if (!keep_options_ || !*options) return true;
    *options = py::reinterpret_steal<py::object>(PyDict_Copy(options->ptr()));  // the env may change its own
    return static_cast<bool>(*options);
  }

  // The info that the step of this row left, or an empty dict. False with the Python error set.
  bool take_final_info(uint32_t id, py::object* info) {
    if (!take_letter(*outbox_, id, info)) return false;
    if (!*info) *info = py::dict();
    return true;
  }
  // Puts it into the info of the reset, which may be the env's own dict: into a copy.
  static bool join_final_info(EnvpoolCall* call, const py::object& final_info) {
    PyObject* joined = call->info == nullptr ? PyDict_New() : PyDict_Copy(call->info);
    Py_XSETREF(call->info, joined);
    return joined != nullptr && PyDict_SetItemString(joined, "final_info", final_info.ptr()) == 0;
  }

  // False with the Python error set: the letter cannot be read, or the object not be sent.
  static bool take_letter(Mailbox& mailbox, uint32_t id, py::object* letter) {
    try {
      *letter = mailbox.take(id);
      return true;
    } catch (py::error_already_set& error) {
      error.restore();
      return false;
    }
  }
  bool post(uint32_t id, py::object letter) {
    try {
      outbox_->put(id, std::move(letter));
      return true;
    } catch (py::error_already_set& error) {
      error.restore();
      return false;
    }
  }

  Outcome keep_failure(uint32_t id, EnvpoolHook hook, const py::object& action, int32_t elapsed_step) {
    try {
      py::error_already_set raised;
      py::object exception = raised.value();
      if (raised.trace()) PyException_SetTraceback(exception.ptr(), raised.trace().ptr());
      if (caller_.load(std::memory_order_relaxed) == std::this_thread::get_id() &&
          raised.matches(PyExc_KeyboardInterrupt)) {
        interrupt_ = std::move(exception);
        return Outcome::kInterrupted;
      }
      outbox_->put(id, py::make_tuple(kHookNames[hook], elapsed_step, action ? action : py::none(), exception,
                                      py::none()));
    } catch (const std::exception&) {  // no memory, or no space in the file
      PyErr_Clear();
      arena_.slot(id).untold = static_cast<uint8_t>(hook);
    }
    return Outcome::kFailed;
  }

  const EnvpoolModule* const module_;
  py::object factory_;
  const Arena arena_;
  std::shared_ptr<const RowRules> rules_;
  std::unique_ptr<RandomWatch> watch_;
  py::object arena_owner_;
  std::vector<PyEnv> envs_;
  const std::shared_ptr<Mailbox> inbox_;
  const std::shared_ptr<Mailbox> outbox_;
  const bool keep_options_;
  py::object interrupt_;
  std::atomic<std::thread::id> caller_;
};

}  // namespace envpool
