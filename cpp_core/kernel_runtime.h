// For generated modules with compiled hooks: what the object code of the hooks calls.
//
// Temporary arrays come from an arena of the thread, which is emptied after each call of a kernel: once it
// has grown to what a call needs, nothing is allocated. What was raised is kept by the thread, in one of a
// ring of slots: whoever calls a kernel copies it.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "cpp_core/kernel_abi.h"

namespace envpool::kernel {

class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() {
    drop_overflow();
    std::free(block_);
  }

  void* take(size_t bytes) {
    bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    if (bytes > size_ - used_) return take_overflow(bytes);
    void* taken = block_ + used_;
    used_ += bytes;
    return taken;
  }

  void empty() {
    used_ = 0;
    if (overflow_ != nullptr) grow();
  }

 private:
  struct Overflow {
    Overflow* next;
    size_t bytes;
  };

  static constexpr size_t kAlignment = 64;
  static constexpr size_t kLeast = size_t{1} << 16;

  static unsigned char* allocate(size_t bytes) {
    auto* memory = static_cast<unsigned char*>(std::aligned_alloc(kAlignment, bytes));
    if (memory == nullptr) std::abort();  // hooks have no way to fail here
    return memory;
  }

  void* take_overflow(size_t bytes) {
    if (block_ == nullptr && bytes <= kLeast) {
      block_ = allocate(size_ = kLeast);
      used_ = bytes;
      return block_;
    }
    unsigned char* memory = allocate(bytes + kAlignment);
    overflow_ = new (memory) Overflow{overflow_, bytes};
    return memory + kAlignment;
  }

  // One block for what the last call needed in several.
  void grow() {
    size_t bytes = size_;
    for (Overflow* one = overflow_; one != nullptr; one = one->next) bytes += one->bytes;
    drop_overflow();
    std::free(block_);
    block_ = allocate(size_ = bytes);
  }

  void drop_overflow() {
    while (overflow_ != nullptr) {
      Overflow* next = overflow_->next;
      std::free(overflow_);
      overflow_ = next;
    }
  }

  unsigned char* block_ = nullptr;
  size_t size_ = 0;
  size_t used_ = 0;
  Overflow* overflow_ = nullptr;
};

inline constexpr uint32_t kSlots = 16;  // one call may catch as many on its way, and still end in the last

inline thread_local Arena arena;
inline thread_local EnvpoolRaised raised[kSlots];
inline thread_local uint32_t num_raised;

}  // namespace envpool::kernel

extern "C" {

__attribute__((visibility("hidden"))) void* envpool_kernel_alloc(size_t bytes) {
  return envpool::kernel::arena.take(bytes);
}

__attribute__((visibility("hidden"))) void envpool_kernel_end() { envpool::kernel::arena.empty(); }

// Out of the sight of optimisers, which would make x * x of pow(x, 2): its last bit is another one.
__attribute__((visibility("hidden"))) double envpool_kernel_pow(double base, double exponent) {
  return std::pow(base, exponent);
}

struct EnvpoolSinCos {
  double sin, cos;
};

// Which compilers make one call of.
__attribute__((visibility("hidden"))) EnvpoolSinCos envpool_kernel_sincos(double angle) {
  return {std::sin(angle), std::cos(angle)};
}

__attribute__((visibility("hidden"))) void* envpool_kernel_raise(const char* what) {
  using namespace envpool::kernel;
  EnvpoolRaised& slot = raised[num_raised++ % kSlots];
  slot.what = what;
  slot.num_values = slot.num_lines = 0;
  return &slot;
}

__attribute__((visibility("hidden"))) void envpool_kernel_value(void* of, int64_t value) {
  auto* slot = static_cast<EnvpoolRaised*>(of);
  if (slot->num_values < EnvpoolRaised::kMaxValues) slot->values[slot->num_values++] = value;
}

__attribute__((visibility("hidden"))) void envpool_kernel_trace(void* of, const char* line) {
  auto* slot = static_cast<EnvpoolRaised*>(of);
  if (slot->num_lines < EnvpoolRaised::kMaxLines) slot->lines[slot->num_lines++] = line;
}

// Of Numba's own runtime: new strides for an array without a copy, which an array in C order can have.
__attribute__((visibility("hidden"))) int32_t numba_attempt_nocopy_reshape(
    intptr_t ndim, const intptr_t* shape, const intptr_t* strides, intptr_t new_ndim,
    const intptr_t* new_shape, intptr_t* new_strides, intptr_t itemsize, int32_t fortran) {
  intptr_t step = itemsize;
  for (intptr_t axis = ndim; axis-- > 0; step *= shape[axis]) {
    if (fortran != 0 || (shape[axis] != 1 && strides[axis] != step)) return 0;
  }
  step = itemsize;
  for (intptr_t axis = new_ndim; axis-- > 0; step *= new_shape[axis]) new_strides[axis] = step;
  return 1;
}

}  // extern "C"
