// From a finished block to NumPy arrays, without a copy.
//
// Lent has the block from the moment that the batch is taken, so that it is free again however that ends. The
// arrays of the batch share a capsule that holds it; when the last array dies the block is free again (from
// whatever thread drops it). The capsule holds the ring, and the ring the memory, so arrays outlive the pool.
// When the user already holds as many batches as the ring lends, the batch is copied out instead.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cpp_core/batch_ring.h"
#include "cpp_core/forks.h"
#include "cpp_core/py_numpy.h"
#include "cpp_core/py_stats.h"

namespace envpool {

// Which state leaves a face wants, in its order. "final_obs" is the final of "obs".
struct View {
  std::vector<uint32_t> leaves;

  View(const Layout& layout, const std::vector<std::string>& names) {
    for (const auto& name : names) leaves.push_back(find(layout, name));
  }

 private:
  static uint32_t find(const Layout& layout, const std::string& name) {
    constexpr std::string_view prefix = "final_";
    if (layout.has_finals() && name.starts_with(prefix)) {
      return layout.final_of(find(layout, name.substr(prefix.size())));
    }
    for (uint32_t leaf = 0; leaf < layout.state.size(); ++leaf) {
      if (name == layout.state[leaf].name) return leaf;
    }
    raise("SpecError", "no state leaf is called '" + name + "'");
  }
};

// A block that is in use until this dies.
class Lent {
 public:
  Lent(std::shared_ptr<BatchRing> ring, uint32_t block) : ring_(std::move(ring)), block_(block) {}
  ~Lent() {
    const Forks& forks = Forks::counts();
    const bool forked = forks.made != forks_made_ || forks.generation != generation_;
    if (!forked) ring_->release(block_);
  }

  BatchRing& ring() const { return *ring_; }

  static py::object capsule(std::unique_ptr<Lent> lent) {
    auto made = py::reinterpret_steal<py::object>(PyCapsule_New(lent.get(), nullptr, [](PyObject* self) {
      delete static_cast<Lent*>(PyCapsule_GetPointer(self, nullptr));
    }));
    if (!made) throw py::error_already_set();
    lent.release();
    return made;
  }

 private:
  std::shared_ptr<BatchRing> ring_;
  uint32_t block_;
  // A block held during a fork is not recycled: the other process may still read it, where memory is shared.
  const uint32_t forks_made_ = Forks::counts().made;
  const uint32_t generation_ = Forks::counts().generation;
};

// The batch as a tuple of arrays, one per leaf of the view, and `extra` as its last item. When the arrays are
// private copies, the block is free again.
inline py::tuple hand_out(std::unique_ptr<Lent> lent, const ReadyBatch& batch, const View& view,
                          py::object extra, CallerCounts* counts) {
  const Arena& arena = lent->ring().arena();
  const Layout& layout = arena.layout();
  const bool copied = !lent->ring().try_hold(batch.block);
  py::object base;
  if (!copied) base = Lent::capsule(std::move(lent));
  py::tuple arrays(view.leaves.size() + 1);
  for (size_t i = 0; i < view.leaves.size(); ++i) {
    const EnvpoolLeaf& leaf = layout.state[view.leaves[i]];
    std::byte* data = arena.block(batch.block) + layout.leaf_offsets[view.leaves[i]];
    PyObject* array = new_array(leaf, batch.rows, copied ? nullptr : data);
    if (array == nullptr) throw py::error_already_set();
    PyTuple_SET_ITEM(arrays.ptr(), static_cast<Py_ssize_t>(i), array);
    if (copied) {
      std::memcpy(PyArray_DATA(as_ndarray(array)), data, batch.rows * static_cast<size_t>(leaf.nbytes));
    } else if (PyArray_SetBaseObject(as_ndarray(array), py::object(base).release().ptr()) < 0) {
      throw py::error_already_set();
    }
  }
  PyTuple_SET_ITEM(arrays.ptr(), static_cast<Py_ssize_t>(view.leaves.size()), extra.release().ptr());
  counts->private_copies += copied ? 1 : 0;
  ++counts->batches;
  counts->rows += batch.rows;
  return arrays;
}

}  // namespace envpool
