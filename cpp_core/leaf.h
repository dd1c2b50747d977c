// A leaf: one named array of an env's state or action, and where it lies in a block of rows.
//
// EnvpoolLeaf is plain C: generated modules fill it, the engine reads it (module_abi.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

extern "C" {

// Codes are part of the module ABI and of spec.py's table: append, never renumber.
enum EnvpoolDType : int32_t {
  kBool,
  kInt8,
  kUInt8,
  kInt16,
  kUInt16,
  kInt32,
  kUInt32,
  kInt64,
  kUInt64,
  kFloat16,
  kFloat32,
  kFloat64,
};

enum EnvpoolKind : int32_t {
  kArray,     // a NumPy array on the Python side
  kDiscrete,  // an int on the Python side, between low and high
  kText,      // a str of at most `size` characters: UCS4 (kUInt32), padded with zeros
};

struct EnvpoolLeaf {
  const char* name;
  int32_t dtype;
  int32_t kind;
  int32_t ndim;
  const int64_t* shape;
  int64_t size;          // elements of one row
  int64_t nbytes;        // bytes of one row
  const int64_t* lows;   // size bounds for what is counted (Discrete, MultiDiscrete, MultiBinary), else null
  const int64_t* highs;  // inclusive
};

}  // extern "C"

namespace envpool {

inline constexpr size_t kCacheLine = 64;
inline constexpr size_t kNumDTypes = 12;
inline constexpr size_t kNumKinds = 3;
inline constexpr std::array<std::string_view, kNumKinds> kKindNames = {"array", "discrete", "text"};

struct DTypeInfo {
  std::string_view name;
  uint32_t itemsize;
};

inline constexpr std::array<DTypeInfo, kNumDTypes> kDTypes = {{
    {"bool", 1},
    {"int8", 1},
    {"uint8", 1},
    {"int16", 2},
    {"uint16", 2},
    {"int32", 4},
    {"uint32", 4},
    {"int64", 8},
    {"uint64", 8},
    {"float16", 2},
    {"float32", 4},
    {"float64", 8},
}};

constexpr size_t align_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

// The characters of a text leaf before its padding. `text` need not be aligned.
inline int64_t text_length(const EnvpoolLeaf& leaf, const void* text) {
  const auto* bytes = static_cast<const unsigned char*>(text);
  for (int64_t length = leaf.size; length > 0; --length) {
    uint32_t last = 0;
    std::memcpy(&last, bytes + static_cast<size_t>(length - 1) * sizeof(last), sizeof(last));
    if (last != 0) return length;
  }
  return 0;
}

// "(4, 84)" as Python prints a shape.
inline std::string shape_text(const int64_t* shape, int32_t ndim) {
  std::string text = "(";
  for (int32_t i = 0; i < ndim; ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + (ndim == 1 ? ",)" : ")");
}

// A leaf without dimensions, for what the engine itself writes in every row.
constexpr EnvpoolLeaf scalar_leaf(const char* name, EnvpoolDType dtype) {
  return {name, dtype, kArray, 0, nullptr, 1, kDTypes[dtype].itemsize, nullptr, nullptr};
}

}  // namespace envpool
