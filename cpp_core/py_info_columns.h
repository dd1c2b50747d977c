// The infos of a batch by key: columns of numbers, as Gymnasium's vector envs have them.
//
// What is no number, or not of one type in all rows, is left to envpool_wrap/infos.py.
#pragma once

#include <cstdint>
#include <vector>

#include "cpp_core/py_numpy.h"

namespace envpool {

class InfoColumns {
 public:
  // `rows`: a dict or None per row.
  explicit InfoColumns(const py::list& rows) : size_(rows.size()) {
    for (size_t row = 0; row < size_; ++row) {
      PyObject* info = PyList_GET_ITEM(rows.ptr(), static_cast<Py_ssize_t>(row));
      if (info == Py_None) continue;
      PyObject *key = nullptr, *value = nullptr;
      size_t expected = 0;  // rows mostly have the same keys in the same order
      for (Py_ssize_t at = 0; PyDict_Next(info, &at, &key, &value); ++expected) {
        column(key, expected).values[row] = value;
      }
    }
  }

  // A list of (key, column or None, mask), in the order in which keys were first seen.
  py::list made() const {
    py::list found;
    for (const Column& column : columns_) {
      const auto key = py::reinterpret_borrow<py::object>(column.key);
      found.append(py::make_tuple(key, numbers(column), mask(column)));
    }
    return found;
  }

 private:
  struct Column {
    PyObject* key;                  // borrowed from a row, as the values are
    std::vector<PyObject*> values;  // per row; null: the row has no such key
  };

  Column& column(PyObject* key, size_t expected) {
    if (expected < columns_.size() && columns_[expected].key == key) return columns_[expected];
    if (PyObject* known = PyDict_GetItemWithError(numbers_of_keys_.ptr(), key); known != nullptr) {
      return columns_[PyLong_AsSize_t(known)];
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    numbers_of_keys_[py::reinterpret_borrow<py::object>(key)] = py::int_(columns_.size());
    columns_.push_back({key, std::vector<PyObject*>(size_, nullptr)});
    return columns_.back();
  }

  // The type of the column that a number goes to, or NPY_NOTYPE. (Gymnasium keeps a NumPy bool as an object.)
  static int type_of(PyObject* value) {
    if (PyFloat_CheckExact(value)) return NPY_DOUBLE;
    if (PyBool_Check(value)) return NPY_BOOL;
    if (PyLong_CheckExact(value)) return NPY_LONG;
    if (!PyArray_IsScalar(value, Number)) return NPY_NOTYPE;
    const auto dtype =
        py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(PyArray_DescrFromScalar(value)));
    if (!dtype) throw py::error_already_set();
    const int type = reinterpret_cast<PyArray_Descr*>(dtype.ptr())->type_num;
    return PyTypeNum_ISNUMBER(type) && type < NPY_USERDEF ? type : NPY_NOTYPE;
  }

  static bool store(PyObject* value, int type, char* to) {
    if (PyArray_IsScalar(value, Generic)) {
      PyArray_ScalarAsCtype(value, to);
    } else if (type == NPY_DOUBLE) {
      *reinterpret_cast<double*>(to) = PyFloat_AS_DOUBLE(value);
    } else if (type == NPY_BOOL) {
      *reinterpret_cast<npy_bool*>(to) = value == Py_True;
    } else {
      int overflow = 0;
      *reinterpret_cast<npy_long*>(to) = PyLong_AsLongAndOverflow(value, &overflow);
      return overflow == 0;
    }
    return true;
  }

  py::object numbers(const Column& column) const {
    int type = NPY_NOTYPE;
    for (PyObject* value : column.values) {
      if (value == nullptr) continue;
      const int its = type_of(value);
      if (its == NPY_NOTYPE || (type != NPY_NOTYPE && its != type)) return py::none();
      type = its;
    }
    auto dims = static_cast<npy_intp>(size_);
    auto array = py::reinterpret_steal<py::object>(PyArray_ZEROS(1, &dims, type, 0));
    if (!array) throw py::error_already_set();
    auto* to = static_cast<char*>(PyArray_DATA(as_ndarray(array.ptr())));
    const auto bytes = static_cast<size_t>(PyArray_ITEMSIZE(as_ndarray(array.ptr())));
    for (size_t row = 0; row < size_; ++row) {
      if (column.values[row] != nullptr && !store(column.values[row], type, to + row * bytes))
        return py::none();
    }
    return array;
  }

  py::object mask(const Column& column) const {
    auto dims = static_cast<npy_intp>(size_);
    auto array = py::reinterpret_steal<py::object>(PyArray_EMPTY(1, &dims, NPY_BOOL, 0));
    if (!array) throw py::error_already_set();
    auto* to = static_cast<npy_bool*>(PyArray_DATA(as_ndarray(array.ptr())));
    for (size_t row = 0; row < size_; ++row) to[row] = column.values[row] != nullptr;
    return array;
  }

  const size_t size_;
  std::vector<Column> columns_;
  py::dict numbers_of_keys_;
};

}  // namespace envpool
