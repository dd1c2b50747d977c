// A file in memory without a name: shared with the processes that inherit it, gone with the last of them.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <system_error>

namespace envpool {

class MemFile {
 public:
  // Throws std::system_error: no descriptor or no memory left.
  MemFile(const char* name, size_t bytes) {
#ifdef __linux__
    fd_ = memfd_create(name, MFD_CLOEXEC);
    if (fd_ >= 0 && ftruncate(fd_, static_cast<off_t>(bytes)) == 0) return;
    const int code = errno;
    if (fd_ >= 0) close(fd_);
    throw std::system_error(code, std::generic_category(), "cannot make a file in memory");
#else
    static_cast<void>(name);
    static_cast<void>(bytes);
    throw std::system_error(ENOSYS, std::generic_category(), "worker processes need Linux");
#endif
  }
  ~MemFile() { close(fd_); }
  MemFile(const MemFile&) = delete;
  MemFile& operator=(const MemFile&) = delete;

  int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

}  // namespace envpool
