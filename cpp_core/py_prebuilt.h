// The prebuilt module: what a generated one is, filled at run time from an env's description.
//
// It walks the tree of a space where generated code has one line per node. A module lives as long as the
// process, as a loaded library does: pools, and the arrays that outlive them, point into it.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cpp_core/py_envs.h"
#include "cpp_core/py_errors.h"
#include "cpp_core/py_hooks.h"

namespace envpool {

namespace py = pybind11;

// One space. A node is a leaf when `leaf` is not negative, else a dict or a tuple of its children.
struct Tree {
  struct Node {
    int32_t leaf;
    bool is_dict;
    std::string place;  // for messages
    std::vector<size_t> children;
    std::vector<PyObject*> keys;  // of the children, in their order
  };

  std::deque<std::string> names;
  std::deque<std::vector<int64_t>> numbers;  // shapes and bounds that the leaves point to
  std::vector<EnvpoolLeaf> leaves;
  std::vector<Node> nodes;
};

struct Prebuilt {
  EnvpoolModule module;  // first: a pointer to it is a pointer to all
  std::string task;
  Tree obs;
  Tree action;
  Tree info;  // leaves only
  std::vector<EnvpoolInfoNode> info_nodes;
};

inline const Prebuilt& prebuilt_of(const EnvpoolCall* call) {
  return *reinterpret_cast<const Prebuilt*>(call->module);
}

inline bool observe_node(EnvpoolCall* call, const Tree& tree, size_t index, PyObject* value) {
  const Tree::Node& node = tree.nodes[index];
  if (node.leaf >= 0) {
    const EnvpoolLeaf& leaf = tree.leaves[static_cast<size_t>(node.leaf)];
    return store_obs(call, value, leaf, node.leaf, static_cast<size_t>(leaf.nbytes));
  }
  if (!has_length(value, static_cast<Py_ssize_t>(node.children.size()), node.place.c_str())) return false;
  for (size_t child = 0; child < node.children.size(); ++child) {
    const Ref inner(member(value, node.keys[child], node.place.c_str()));
    if (!inner || !observe_node(call, tree, node.children[child], inner.get())) return false;
  }
  return true;
}

inline constexpr std::array<PyObject* (*)(EnvpoolCall*, const EnvpoolLeaf&, int32_t), kNumKinds>
    kActionMakers = {array_action, int_action, text_action};

inline PyObject* make_action_leaf(EnvpoolCall* call, const EnvpoolLeaf& leaf, int32_t which) {
  return kActionMakers[leaf.kind](call, leaf, which);
}

using MakeLeaf = PyObject* (*)(EnvpoolCall * call, const EnvpoolLeaf& leaf, int32_t which);

inline PyObject* make_node(EnvpoolCall* call, const Tree& tree, size_t index, MakeLeaf make_leaf) {
  const Tree::Node& node = tree.nodes[index];
  if (node.leaf >= 0) return make_leaf(call, tree.leaves[static_cast<size_t>(node.leaf)], node.leaf);
  Ref made(node.is_dict ? PyDict_New() : PyTuple_New(static_cast<Py_ssize_t>(node.children.size())));
  for (size_t child = 0; made && child < node.children.size(); ++child) {
    Ref value(make_node(call, tree, node.children[child], make_leaf));
    if (!value) return nullptr;
    if (!node.is_dict) {
      PyTuple_SET_ITEM(made.get(), static_cast<Py_ssize_t>(child), value.release());
    } else if (PyDict_SetItem(made.get(), node.keys[child], value.get()) < 0) {
      return nullptr;
    }
  }
  return made.release();
}

// Dicts of lists and numbers, as spec.py's `describe()` makes them; `codes`: dtype name → number.
class PrebuiltReader {
 public:
  explicit PrebuiltReader(py::dict codes) : codes_(std::move(codes)) {}

  int32_t dtype(const py::handle& name) const { return codes_[name].cast<int32_t>(); }

  Tree tree(const py::dict& space, const std::string& side) const {
    Tree tree;
    for (const py::handle leaf : space["leaves"]) {
      tree.leaves.push_back(read_leaf(leaf.cast<py::dict>(), &tree));
    }
    for (const py::handle node : space["nodes"]) {
      tree.nodes.push_back(read_node(node.cast<py::dict>(), space["nodes"].cast<py::list>(), tree, side));
    }
    return tree;
  }

  // The table of a declared info; its leaves go to `leaves`.
  std::vector<EnvpoolInfoNode> info_nodes(const py::dict& info, Tree* leaves) const {
    for (const py::handle leaf : info["leaves"]) {
      leaves->leaves.push_back(read_leaf(leaf.cast<py::dict>(), leaves));
    }
    std::vector<EnvpoolInfoNode> nodes;
    for (const py::handle node : info["table"]) {
      const auto row = node.cast<py::dict>();
      nodes.push_back({py::object(row["key"]).release().ptr(),
                       leaves->names.emplace_back(row["place"].cast<std::string>()).c_str(),
                       row["leaf"].cast<int32_t>(), row["end"].cast<int32_t>()});
    }
    return nodes;
  }

 private:
  static int32_t kind(std::string_view name) {
    const auto found = std::find(kKindNames.begin(), kKindNames.end(), name);
    if (found == kKindNames.end()) raise("SpecError", "no leaf is of the kind " + std::string(name));
    return static_cast<int32_t>(found - kKindNames.begin());
  }

  EnvpoolLeaf read_leaf(const py::dict& from, Tree* tree) const {
    const auto numbers = [&](const char* key) -> const int64_t* {
      const py::object given = from[key];
      if (given.is_none()) return nullptr;
      tree->numbers.push_back(py::isinstance<py::int_>(given) ? std::vector<int64_t>{given.cast<int64_t>()}
                                                              : std::vector<int64_t>(read_list(given)));
      return tree->numbers.back().data();
    };
    const auto text = [&](const char* key) { return from[key].cast<std::string>(); };
    EnvpoolLeaf leaf{};
    leaf.name = tree->names.emplace_back(text("name")).c_str();
    leaf.dtype = dtype(from["dtype"]);
    leaf.kind = kind(text("kind"));
    leaf.ndim = static_cast<int32_t>(py::len(from["shape"]));
    leaf.shape = numbers("shape");
    leaf.size = 1;
    for (int32_t i = 0; i < leaf.ndim; ++i) leaf.size *= leaf.shape[i];
    leaf.nbytes = leaf.size * kDTypes[static_cast<size_t>(leaf.dtype)].itemsize;
    leaf.lows = numbers("low");
    leaf.highs = numbers("high");
    return leaf;
  }

  static std::vector<int64_t> read_list(const py::handle& list) {
    std::vector<int64_t> numbers;
    for (const py::handle number : list) numbers.push_back(number.cast<int64_t>());
    return numbers;
  }

  static Tree::Node read_node(const py::dict& from, const py::list& all, const Tree& before,
                              const std::string& side) {
    Tree::Node node{from["leaf"].cast<int32_t>(), from["kind"].cast<std::string>() == "dict", side, {}, {}};
    if (const auto parent = from["parent"].cast<int64_t>(); parent >= 0) {
      const std::string key = py::cast<std::string>(py::str(from["key"]));
      node.place = before.nodes[static_cast<size_t>(parent)].place + "." + key;
    }
    for (const py::handle child : from["children"]) {
      node.children.push_back(child.cast<size_t>());
      node.keys.push_back(py::object(all[child.cast<size_t>()]["key"]).release().ptr());
    }
    return node;
  }

  py::dict codes_;
};

struct Api {
  const char* name;
  EnvpoolHook (*reset)(EnvpoolCall* call);
  EnvpoolHook (*step)(EnvpoolCall* call);
  EnvpoolHook (*close)(EnvpoolCall* call);
};

inline constexpr Api kApis[] = {
    {"hooks", hooks::reset, hooks::step, hooks::close},
    {"gymnasium", gymnasium::reset, gymnasium::step, gymnasium::close},
    {"gym", gym::reset, gym::step, gym::close},
    {"dm_env", dm_env::reset, dm_env::step, dm_env::close},
};

// The module of an EnvSpec's `describe()`, in the capsule that a generated module has.
inline py::capsule make_prebuilt(const py::dict& spec, const py::dict& codes) {
  const PrebuiltReader reader(codes);
  const auto text = [&](const char* key) { return spec[key].cast<std::string>(); };
  const auto flag = [&](const char* key) { return spec[key].cast<bool>(); };
  const Api* api = nullptr;
  for (const Api& known : kApis) {
    if (text("api") == known.name) api = &known;
  }
  if (api == nullptr) raise("SpecError", "no env has the api " + text("api"));
  auto* made = new Prebuilt{
      {}, text("name"), reader.tree(spec["obs"], "obs"), reader.tree(spec["action"], "action"), {}, {}};
  if (!spec["info"].is_none()) made->info_nodes = reader.info_nodes(spec["info"], &made->info);
  made->module = {
      .abi = ENVPOOL_MODULE_ABI,
      .task = made->task.c_str(),
      .reward_dtype = reader.dtype(spec["reward"]),
      .num_obs = static_cast<int32_t>(made->obs.leaves.size()),
      .num_actions = static_cast<int32_t>(made->action.leaves.size()),
      .obs = made->obs.leaves.data(),
      .actions = made->action.leaves.data(),
      .num_info = static_cast<int32_t>(made->info.leaves.size()),
      .num_info_nodes = static_cast<int32_t>(made->info_nodes.size()),
      .info = made->info.leaves.data(),
      .info_nodes = made->info_nodes.data(),
      .has_truncated = flag("has_truncated"),
      .has_info = flag("has_info"),
      .obs_takes_out = flag("obs_takes_out"),
      .reset_takes_seed = flag("reset_takes_seed"),
      .options_are_env_info = flag("options_are_env_info"),
      .obs_is_pair = flag("obs_is_pair"),
      .observe = [](EnvpoolCall* call,
                    PyObject* obs) { return observe_node(call, prebuilt_of(call).obs, 0, obs); },
      .make_action =
          [](EnvpoolCall* call) { return make_node(call, prebuilt_of(call).action, 0, make_action_leaf); },
      .make_out = [](EnvpoolCall* call) { return make_node(call, prebuilt_of(call).obs, 0, out_array); },
      .reset = api->reset,
      .step = api->step,
      .close = api->close,
  };
  return py::capsule(&made->module, ENVPOOL_MODULE_CAPSULE);
}

}  // namespace envpool
