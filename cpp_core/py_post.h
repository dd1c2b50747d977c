// The letters of a pool, as the caller sees them: which mailbox serves which env.
//
// Envs that live in this process have their letters here; the others' are in files shared with their worker.
// The caller's thread only, with the GIL, and for an env only while it is idle.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "cpp_core/mem_file.h"
#include "cpp_core/module_abi.h"
#include "cpp_core/py_mailbox.h"

namespace envpool {

// The files that a pool shares with its worker processes.
struct SharedFiles {
  MemFile arena;
  MemFile inbox;                                   // letters of the caller
  std::vector<std::unique_ptr<MemFile>> outboxes;  // letters of each worker process
};

struct Workers {
  uint32_t threads;
  uint32_t processes;
  bool caller_works;

  uint32_t queues() const { return processes == 0 ? 1 : processes + first_process_queue(); }
  uint32_t first_process_queue() const { return caller_works ? 1 : 0; }
};

class Post {
 public:
  // `inbox` and `outbox` are those of this process's stepper; `files` is null without worker processes.
  Post(const Arena& arena, const Workers& workers, const SharedFiles* files,
       std::shared_ptr<LocalMailbox> inbox, std::shared_ptr<LocalMailbox> outbox)
      : arena_(arena),
        workers_(workers),
        inbox_(std::move(inbox)),
        outbox_(std::move(outbox)),
        deaths_(arena.layout().num_envs) {
    if (files == nullptr) return;
    file_inbox_ = std::make_unique<FileMailbox>(arena, files->inbox.fd(), &Slot::inbox);
    for (const auto& file : files->outboxes) {
      file_outboxes_.push_back(std::make_unique<FileMailbox>(arena, file->fd(), &Slot::outbox));
    }
  }

  // Puts a letter, unless it is None, into the inbox of each env: all of them or none.
  void put(const std::vector<int32_t>& envs, const std::vector<py::object>& letters) {
    try {
      for (size_t i = 0; i < envs.size(); ++i) {
        const auto env = static_cast<uint32_t>(envs[i]);
        if (!letters.at(i).is_none()) inbox_of(env).put(env, letters[i]);
      }
    } catch (...) {
      for (const int32_t env : envs) inbox_of(static_cast<uint32_t>(env)).drop(static_cast<uint32_t>(env));
      throw;
    }
  }

  // What the env left, or how its worker died; an empty object when there is neither.
  py::object take(uint32_t env) {
    py::object letter = take_outbox(env);
    return letter ? letter : std::exchange(deaths_[env], py::object());
  }
  py::object take_outbox(uint32_t env) {
    Slot& slot = arena_.slot(env);
    const uint8_t hook = std::exchange(slot.untold, uint8_t{kNoHook});
    return hook == kNoHook ? outbox_of(env).take(env) : untold_failure(hook, slot.elapsed_step);
  }
  void drop(uint32_t env) {
    arena_.slot(env).untold = kNoHook;
    outbox_of(env).drop(env);
    deaths_[env] = py::object();
  }

  // A failure in the name of a worker that died while it had the env, or that lost it.
  void note_death(uint32_t env, py::object failure) { deaths_[env] = std::move(failure); }

  // Before the files are closed; nothing else is called after this.
  void close() {
    file_inbox_.reset();
    file_outboxes_.clear();
  }

 private:
  // A failure of which only the hook is known.
  static py::object untold_failure(uint8_t hook, int32_t elapsed_step) {
    const auto error = py::reinterpret_borrow<py::object>(PyExc_RuntimeError)(
        "its exception could not be brought over: its worker has no memory or no space left for it");
    return py::make_tuple(kHookNames[hook], elapsed_step, py::none(), error, py::none());
  }

  bool is_own(uint32_t env) const {
    return workers_.processes == 0 || (workers_.caller_works && arena_.layout().queue_of(env) == 0);
  }
  Mailbox& inbox_of(uint32_t env) { return is_own(env) ? static_cast<Mailbox&>(*inbox_) : *file_inbox_; }
  Mailbox& outbox_of(uint32_t env) {
    if (is_own(env)) return *outbox_;
    return *file_outboxes_[arena_.layout().queue_of(env) - workers_.first_process_queue()];
  }

  const Arena arena_;
  const Workers workers_;
  const std::shared_ptr<LocalMailbox> inbox_;
  const std::shared_ptr<LocalMailbox> outbox_;
  std::unique_ptr<FileMailbox> file_inbox_;
  std::vector<std::unique_ptr<FileMailbox>> file_outboxes_;
  std::vector<py::object> deaths_;
};

}  // namespace envpool
