// Python objects to and from an env, beside its row: options and functions in, exceptions, infos and results
// out.
//
// In one process the object itself is kept (LocalMailbox). Between processes it travels as bytes (py_plain.h,
// or a pickle where that does not do) in a letter file, a memfd that grows (never a pipe, which blocks when
// full), with its place in the env's slot (FileMailbox): one file that the caller writes and all workers
// read, and one per worker that the caller reads. An env has at most one letter in each direction, so each
// env has its own stretch of the file, and a longer letter moves it to a stretch twice as long: the file
// stays within a small multiple of what the letters need. put() is the sender's, before it hands the env
// over; take() the receiver's, while it has the env. With the GIL.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cpp_core/arena.h"
#include "cpp_core/py_errors.h"
#include "cpp_core/py_plain.h"

namespace envpool {

namespace py = pybind11;

class Mailbox {
 public:
  virtual ~Mailbox() = default;
  virtual void put(uint32_t env, py::object object) = 0;
  // An empty object when there is no letter. Throws what reading it raises; it is gone then too.
  virtual py::object take(uint32_t env) = 0;
  virtual void drop(uint32_t env) = 0;
  virtual void clear() {}
};

class LocalMailbox final : public Mailbox {
 public:
  explicit LocalMailbox(uint32_t num_envs) : letters_(num_envs) {}
  void put(uint32_t env, py::object object) override { letters_[env] = std::move(object); }
  py::object take(uint32_t env) override { return std::exchange(letters_[env], py::object()); }
  void drop(uint32_t env) override { letters_[env] = py::object(); }
  void clear() override {
    for (auto& letter : letters_) letter = py::object();
  }

 private:
  std::vector<py::object> letters_;
};

class FileMailbox final : public Mailbox {
 public:
  // `place`: &Slot::inbox or &Slot::outbox.
  FileMailbox(const Arena& arena, int fd, Letter Slot::* place)
      : arena_(arena), fd_(fd), place_(place), stretches_(arena.layout().num_envs) {}

  // A predecessor's letters for these envs that nobody took yet are not written over.
  void spare(uint32_t first_env, uint32_t end_env) {
    for (uint32_t env = first_env; env < end_env; ++env) {
      const Letter& letter = arena_.slot(env).*place_;
      end_ = std::max(end_, letter.offset + letter.length);
    }
  }

  void put(uint32_t env, py::object object) override {
    py::bytes pickle;
    std::string_view bytes = as_plain(object.ptr());
    if (bytes.empty()) {
      pickle = letters().attr("dumps")(object);
      bytes = pickle;
    }
    Stretch& stretch = stretches_[env];
    if (stretch.capacity < bytes.size()) {
      stretch = {end_, std::bit_ceil(bytes.size())};
      end_ += stretch.capacity;
    }
    move_bytes(bytes.size(), [&](size_t done) {
      return pwrite(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(stretch.offset + done));
    });
    arena_.slot(env).*place_ = {stretch.offset, bytes.size()};
  }

  py::object take(uint32_t env) override {
    Letter& letter = arena_.slot(env).*place_;
    if (letter.length == 0) return {};
    const Letter there = std::exchange(letter, Letter{});
    const auto bytes = py::reinterpret_steal<py::object>(
        PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(there.length)));
    if (!bytes) throw py::error_already_set();
    char* const first = PyBytes_AS_STRING(bytes.ptr());
    move_bytes(there.length, [&](size_t done) {
      return pread(fd_, first + done, there.length - done, static_cast<off_t>(there.offset + done));
    });
    if (*first != kPlain) return letters().attr("loads")(bytes);
    auto object = py::reinterpret_steal<py::object>(PlainReader({first + 1, there.length - 1}).read());
    if (!object) throw py::error_already_set();
    return object;
  }

  void drop(uint32_t env) override { arena_.slot(env).*place_ = {}; }

 private:
  struct Stretch {
    uint64_t offset = 0;
    uint64_t capacity = 0;
  };

  static constexpr char kPlain = 1;  // the first byte of a plain letter; that of a pickle is 0x80

  // Empty: it is not plain. (A tuple is a failure, of which letters.py makes a parcel.)
  std::string_view as_plain(PyObject* object) {
    buffer_.assign(1, kPlain);
    try {
      if (PyTuple_Check(object) || !PlainWriter(&buffer_).write(object)) return {};
    } catch (const std::bad_alloc&) {
      PyErr_NoMemory();
      throw py::error_already_set();
    }
    return buffer_;
  }

  static py::module_ letters() { return py::module_::import("envpool_wrap.letters"); }

  template <typename Move>
  static void move_bytes(size_t length, const Move& move) {
    for (size_t done = 0; done < length;) {
      const ssize_t moved = move(done);
      if (moved < 0 && errno == EINTR) continue;
      if (moved <= 0)
        raise("PoolError", std::string("a letter between processes was lost: ") + std::strerror(errno));
      done += static_cast<size_t>(moved);
    }
  }

  const Arena arena_;
  const int fd_;
  Letter Slot::* const place_;
  std::vector<Stretch> stretches_;
  uint64_t end_ = 0;
  std::string buffer_;
};

}  // namespace envpool
