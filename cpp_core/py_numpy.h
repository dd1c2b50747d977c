// NumPy, and only here: is this array what the leaf wants, convert it if not, make one.
//
// Call with the GIL held. The one translation unit that includes this calls import_numpy() first.
#pragma once

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_1_25_API_VERSION
#include <numpy/arrayobject.h>
#include <pybind11/pybind11.h>

#include <array>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "cpp_core/module_abi.h"
#include "cpp_core/py_errors.h"

namespace envpool {

namespace py = pybind11;

inline bool import_numpy() { return _import_array() >= 0; }

inline constexpr std::array<int, kNumDTypes> kNumpyTypes = {
    NPY_BOOL,   NPY_INT8,  NPY_UINT8,  NPY_INT16,   NPY_UINT16,  NPY_INT32,
    NPY_UINT32, NPY_INT64, NPY_UINT64, NPY_FLOAT16, NPY_FLOAT32, NPY_FLOAT64,
};

inline PyArrayObject* as_ndarray(PyObject* object) { return reinterpret_cast<PyArrayObject*>(object); }

// int64 is `long` or `long long` by platform, and NumPy has a type number for each.
inline bool is_dtype(PyArrayObject* array, int32_t dtype) {
  return PyArray_EquivTypenums(PyArray_TYPE(array), kNumpyTypes[dtype]) && PyArray_ISBEHAVED_RO(array);
}

inline bool has_dims(PyArrayObject* array, const EnvpoolLeaf& leaf, int first = 0) {
  if (PyArray_NDIM(array) != leaf.ndim + first) return false;
  for (int i = 0; i < leaf.ndim; ++i) {
    if (PyArray_DIM(array, i + first) != leaf.shape[i]) return false;
  }
  return true;
}

// The dtype of a leaf's arrays, a new reference: text is a str of fixed length there.
inline PyArray_Descr* numpy_dtype(const EnvpoolLeaf& leaf) {
  if (leaf.kind != kText) return PyArray_DescrFromType(kNumpyTypes[leaf.dtype]);
  PyArray_Descr* text = PyArray_DescrNewFromType(NPY_UNICODE);
  if (text != nullptr) PyDataType_SET_ELSIZE(text, static_cast<npy_intp>(leaf.nbytes));
  return text;
}

inline py::object quoted(PyObject* value) { return py::str("{:.80}").format(py::repr(value)); }

inline py::object describe(PyObject* value) {
  if (!PyArray_CheckAnyScalar(value) && !PyArray_Check(value)) return quoted(value);
  py::object array = py::reinterpret_steal<py::object>(PyArray_FROM_O(value));
  if (!array) throw py::error_already_set();
  return py::str("shape {}, dtype {}").format(array.attr("shape"), array.attr("dtype"));
}

// The same of what is no array, and `array`, made of it: what turns out to be no numbers is shown as it is.
inline std::string describe_both(PyObject* value, const py::object& array) {
  PyArrayObject* made = as_ndarray(array.ptr());
  const bool shown = !PyArray_Check(value) && !PyArray_ISNUMBER(made) && !PyArray_ISBOOL(made);
  return py::cast<std::string>(shown ? quoted(value) : describe(array.ptr()));
}

inline std::string wanted(const EnvpoolLeaf& leaf, const std::string& batch = "") {
  std::string shape = shape_text(leaf.shape, leaf.ndim);
  if (leaf.ndim == 1 && !batch.empty()) shape.erase(shape.size() - 2, 1);  // the comma of "(3,)"
  if (!batch.empty()) shape = "(" + batch + (leaf.ndim ? ", " + shape.substr(1) : ",)");
  return "shape " + shape + ", dtype " + std::string(kDTypes[leaf.dtype].name);
}

inline py::object to_array(PyObject* value) {
  py::object array = py::reinterpret_steal<py::object>(PyArray_FromAny(value, nullptr, 0, 0, 0, nullptr));
  if (!array) throw py::error_already_set();
  return array;
}

// The same for a value of `leaf` (`batch`: how many rows); throws `error` when it is ragged.
inline py::object to_array(PyObject* value, const EnvpoolLeaf& leaf, const char* error,
                           const std::string& batch = "") {
  try {
    return to_array(value);
  } catch (py::error_already_set& ragged) {
    if (!ragged.matches(PyExc_ValueError) && !ragged.matches(PyExc_TypeError)) throw;
    raise(error, std::string(leaf.name) + ": expected " + wanted(leaf, batch) +
                     ", found rows of different shapes: " + py::cast<std::string>(quoted(value)));
  }
}

// Whether values of one kind may become another: to float from any number, to int from ints whose values fit,
// to bool from bool.
inline bool may_cast(PyArrayObject* from, int32_t dtype) {
  const auto want = py::reinterpret_steal<py::object>(
      reinterpret_cast<PyObject*>(PyArray_DescrFromType(kNumpyTypes[dtype])));
  const bool ints = dtype >= kInt8 && dtype <= kUInt64;
  if (ints) return PyArray_ISINTEGER(from) || PyArray_ISBOOL(from);
  return PyArray_CanCastArrayTo(from, reinterpret_cast<PyArray_Descr*>(want.ptr()), NPY_SAME_KIND_CASTING);
}

inline std::pair<int64_t, int64_t> int_range(int32_t dtype) {
  const int bits = static_cast<int>(kDTypes[dtype].itemsize) * 8;
  const bool is_unsigned = dtype == kUInt8 || dtype == kUInt16 || dtype == kUInt32 || dtype == kUInt64;
  constexpr int64_t most = std::numeric_limits<int64_t>::max();
  if (is_unsigned) return {0, bits == 64 ? most : (int64_t{1} << bits) - 1};
  return {bits == 64 ? std::numeric_limits<int64_t>::min() : -(int64_t{1} << (bits - 1)),
          bits == 64 ? most : (int64_t{1} << (bits - 1)) - 1};
}

// `array` in the leaf's dtype, C-contiguous, aligned, native: itself when it is that already.
// Throws `error` when the cast would lose what the values mean.
inline py::object cast_to_leaf(py::object array, const EnvpoolLeaf& leaf, const char* error) {
  PyArrayObject* from = as_ndarray(array.ptr());
  if (!may_cast(from, leaf.dtype)) {
    raise(error, std::string(leaf.name) + ": cannot turn dtype " +
                     py::cast<std::string>(py::str(array.attr("dtype"))) + " into " +
                     std::string(kDTypes[leaf.dtype].name) +
                     " without losing what the values mean; cast them yourself");
  }
  const bool ints = leaf.dtype >= kInt8 && leaf.dtype <= kUInt64;
  if (ints && !PyArray_EquivTypenums(PyArray_TYPE(from), kNumpyTypes[leaf.dtype]) && PyArray_SIZE(from) > 0) {
    const auto [low, high] = int_range(leaf.dtype);
    const py::int_ least(array.attr("min")()), most(array.attr("max")());
    if (least < py::int_(low) || (leaf.dtype != kUInt64 && most > py::int_(high))) {
      raise(error, std::string(leaf.name) + ": values from " + py::cast<std::string>(py::str(least)) +
                       " to " + py::cast<std::string>(py::str(most)) + " do not fit in " +
                       std::string(kDTypes[leaf.dtype].name));
    }
  }
  py::object cast = py::reinterpret_steal<py::object>(PyArray_FromArray(
      from, PyArray_DescrFromType(kNumpyTypes[leaf.dtype]), NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST));
  if (!cast) throw py::error_already_set();
  return cast;
}

// What was found where a str, or some of them, are expected.
inline std::string no_text(PyObject* value) {
  return py::cast<std::string>(PyArray_Check(value) ? describe(value) : quoted(value));
}

// Why `value` cannot be in a text leaf, or an empty string.
inline std::string text_fault(PyObject* value, const EnvpoolLeaf& leaf) {
  const std::string expected =
      "expected a str of at most " + std::to_string(leaf.size) + " characters, found ";
  if (!PyUnicode_Check(value)) return expected + no_text(value);
  const Py_ssize_t length = PyUnicode_GET_LENGTH(value);
  if (length > leaf.size) {
    return expected + std::to_string(length) + ": " + no_text(value);
  }
  if (length > 0 && PyUnicode_READ_CHAR(value, length - 1) == 0) {
    return "expected a str that does not end with NUL, which is what the padding looks like";
  }
  return "";
}

// `value` has no text_fault.
inline void write_text(PyObject* value, const EnvpoolLeaf& leaf, void* to) {
  std::memset(to, 0, static_cast<size_t>(leaf.nbytes));
  if (PyUnicode_AsUCS4(value, static_cast<Py_UCS4*>(to), static_cast<Py_ssize_t>(leaf.size), 0) == nullptr) {
    throw py::error_already_set();
  }
}

// EnvpoolHost::array_data
inline const void* array_data(PyObject* value, const EnvpoolLeaf* leaf) {
  if (!PyArray_Check(value) || leaf->kind == kText) return nullptr;
  PyArrayObject* array = as_ndarray(value);
  if (!PyArray_IS_C_CONTIGUOUS(array) || !is_dtype(array, leaf->dtype) || !has_dims(array, *leaf))
    return nullptr;
  return PyArray_DATA(array);
}

// EnvpoolHost::store
inline int store_value(PyObject* value, const EnvpoolLeaf* leaf, void* to) {
  try {
    if (leaf->kind == kText) {
      const std::string fault = text_fault(value, *leaf);
      if (!fault.empty()) raise("SpecError", std::string(leaf->name) + ": " + fault);
      write_text(value, *leaf, to);
      return 0;
    }
    if (PyLong_CheckExact(value) && leaf->dtype == kInt64 && leaf->ndim == 0) {
      int overflow = 0;
      const int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow);
      if (overflow != 0) {
        raise("SpecError", std::string(leaf->name) + ": " + py::cast<std::string>(py::str(value)) +
                               " does not fit in int64");
      }
      std::memcpy(to, &number, sizeof(number));
      return 0;
    }
    py::object array = to_array(value, *leaf, "SpecError");
    if (!has_dims(as_ndarray(array.ptr()), *leaf)) {
      raise("SpecError", std::string(leaf->name) + ": expected " + wanted(*leaf) + ", found " +
                             describe_both(value, array));
    }
    const py::object cast = cast_to_leaf(array, *leaf, "SpecError");
    std::memcpy(to, PyArray_DATA(as_ndarray(cast.ptr())), static_cast<size_t>(leaf->nbytes));
    if (PyArray_Check(value) &&
        !PyArray_EquivTypenums(PyArray_TYPE(as_ndarray(value)), kNumpyTypes[leaf->dtype])) {
      const py::object warn = py::module_::import("envpool_protocol.casts").attr("warn_once");
      warn(leaf->name, py::str(array.attr("dtype")), std::string(kDTypes[leaf->dtype].name));
    }
    return 0;
  } catch (py::error_already_set& error) {
    error.restore();
    return -1;
  }
}

// EnvpoolHost::store_reward
inline int store_reward(PyObject* value, int32_t dtype, void* to) {
  try {
    py::object array = to_array(value);
    if (PyArray_SIZE(as_ndarray(array.ptr())) != 1 || !PyArray_ISNUMBER(as_ndarray(array.ptr())) ||
        PyArray_ISCOMPLEX(as_ndarray(array.ptr()))) {
      raise("SpecError", "reward: expected one number, found " + py::cast<std::string>(describe(value)));
    }
    array = py::reinterpret_steal<py::object>(PyArray_FromArray(as_ndarray(array.ptr()),
                                                                PyArray_DescrFromType(kNumpyTypes[dtype]),
                                                                NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST));
    if (!array) throw py::error_already_set();
    std::memcpy(to, PyArray_DATA(as_ndarray(array.ptr())), kDTypes[dtype].itemsize);
    return 0;
  } catch (py::error_already_set& error) {
    error.restore();
    return -1;
  }
}

// An array of `rows` rows of the leaf (no batch axis when rows < 0) over `data`, or with memory of its own
// when data is null.
inline PyObject* new_array(const EnvpoolLeaf& leaf, npy_intp rows, void* data) {
  npy_intp dims[NPY_MAXDIMS + 1];  // one too many is NumPy's to refuse
  int ndim = 0;
  if (rows >= 0) dims[ndim++] = rows;
  const int axes = leaf.kind == kText ? 0 : leaf.ndim;  // the characters of a text are no axis
  for (int i = 0; i < axes; ++i) dims[ndim++] = leaf.shape[i];
  const int flags = data == nullptr ? 0 : NPY_ARRAY_CARRAY;  // without data, any flag means Fortran order
  PyArray_Descr* dtype = numpy_dtype(leaf);
  if (dtype == nullptr) return nullptr;
  return PyArray_NewFromDescr(&PyArray_Type, dtype, ndim, dims, nullptr, data, flags, nullptr);
}

// EnvpoolHost::make_view
inline PyObject* make_view(const EnvpoolLeaf* leaf, void* data, PyObject* owner) {
  PyObject* view = new_array(*leaf, -1, data);
  if (view == nullptr) return nullptr;
  Py_INCREF(owner);
  if (PyArray_SetBaseObject(as_ndarray(view), owner) < 0) Py_CLEAR(view);
  return view;
}

// EnvpoolHost::make_array
inline PyObject* make_array(PyObject** kept, const EnvpoolLeaf* leaf, const void* from) {
#ifdef Py_GIL_DISABLED
  const bool mine = false;  // a reference count of one does not tell there
#else
  const bool mine = *kept != nullptr && Py_REFCNT(*kept) == 1 && PyArray_ISWRITEABLE(as_ndarray(*kept)) &&
                    array_data(*kept, leaf) != nullptr;
#endif
  if (!mine) {
    Py_CLEAR(*kept);
    *kept = new_array(*leaf, -1, nullptr);
    if (*kept == nullptr) return nullptr;
  }
  std::memcpy(PyArray_DATA(as_ndarray(*kept)), from, static_cast<size_t>(leaf->nbytes));
  Py_INCREF(*kept);
  return *kept;
}

}  // namespace envpool
