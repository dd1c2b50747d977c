// Into Python and out of it: with the GIL, or attached on free-threaded Python.
//
// Any thread may call these. Whoever comes back to Python waits for the GIL, as long as another holds it; a
// worker that comes back when the interpreter has ended never returns, and is gone with the process.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>

#ifdef __GLIBCXX__
#include <cxxabi.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include "cpp_core/stepper.h"

namespace envpool {

// Runs `call`, which enters Python on a worker. Before 3.14, Python unwinds a thread that comes back to it
// after the interpreter has ended; our destructors would touch Python on the way and crash the exit, so such
// a thread sleeps here until the process is gone. (The runtime binds the reference it catches to nothing.)
template <typename Call>
[[gnu::no_sanitize("undefined")]] auto outlive_python(const Call& call) {
#ifdef __GLIBCXX__
  try {
    return call();
  } catch (const abi::__forced_unwind&) {
#ifdef __SANITIZE_ADDRESS__
    // The frames that were left that way have not taken back their red zones; what is called from here on
    // would lie over them.
    constexpr size_t left = 256 << 10;
    __asan_unpoison_memory_region(static_cast<char*>(__builtin_frame_address(0)) - left, left);
#endif
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
#else
  return call();
#endif
}

// Runs `call`, which must not throw, without the GIL.
template <typename Call>
auto without_gil(const Call& call) {
  PyThreadState* const thread = PyEval_SaveThread();
  const auto result = call();
  outlive_python([thread] { PyEval_RestoreThread(thread); });
  return result;
}

// Keeps one Python thread state for a worker thread, and attaches it around each run of envs.
class GilSession final : public Stepper::Session {
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

}  // namespace envpool
