#include "cpp_core/leaf.h"
#include "tests/cpp/check.h"

namespace envpool {
namespace {

TEST(align_up_never_goes_down_and_keeps_what_is_aligned) {
  for (size_t bytes = 0; bytes < 300; ++bytes) {
    const size_t up = align_up(bytes, kCacheLine);
    CHECK(up >= bytes);
    CHECK(up < bytes + kCacheLine);
    CHECK_EQ(up % kCacheLine, 0);
  }
}

TEST(shape_text_is_what_python_prints) {
  const int64_t shape[] = {4, 84, 0};
  CHECK_EQ(shape_text(shape, 0), "()");
  CHECK_EQ(shape_text(shape, 1), "(4,)");
  CHECK_EQ(shape_text(shape, 3), "(4, 84, 0)");
}

TEST(dtype_table_follows_the_codes) {
  CHECK_EQ(kDTypes[kBool].name, "bool");
  CHECK_EQ(kDTypes[kUInt8].name, "uint8");
  CHECK_EQ(kDTypes[kInt64].name, "int64");
  CHECK_EQ(kDTypes[kFloat16].name, "float16");
  CHECK_EQ(kDTypes[kFloat64].name, "float64");
  // "int16" says 16 bits: a row of the table that lies about its size would shift every leaf after it.
  for (const DTypeInfo& type : kDTypes) {
    const auto digits = type.name.find_first_of("0123456789");
    const int bits = digits == std::string_view::npos ? 8 : std::stoi(std::string(type.name.substr(digits)));
    CHECK_EQ(type.itemsize * 8, bits);
  }
}

TEST(scalar_leaf_is_one_element_of_its_dtype) {
  const EnvpoolLeaf leaf = scalar_leaf("reward", kFloat64);
  CHECK_EQ(leaf.ndim, 0);
  CHECK_EQ(leaf.size, 1);
  CHECK_EQ(leaf.nbytes, 8);
  CHECK(leaf.lows == nullptr);
}

}  // namespace
}  // namespace envpool
