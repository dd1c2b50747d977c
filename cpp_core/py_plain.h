// Plain values as bytes: what infos mostly are, many times faster than a pickle.
//
// None, bool, int (of 64 bits), float, str, NumPy's numbers and arrays of them, and lists, tuples and dicts
// (with str keys) of these; exactly these types, since a subclass may carry more. Numbers as they lie in
// memory: the bytes are read on the same machine, moments later. Call with the GIL held; import_numpy() comes
// first.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "cpp_core/py_numpy.h"

namespace envpool {

enum PlainTag : char {
  kPlainNone = 'N',
  kPlainTrue = 'T',
  kPlainFalse = 'F',
  kPlainInt = 'i',
  kPlainFloat = 'f',
  kPlainStr = 's',
  kPlainNumber = 'n',  // NumPy's
  kPlainArray = 'a',
  kPlainList = 'l',
  kPlainTuple = 't',
  kPlainDict = 'd',
};

inline constexpr int kPlainDepth = 16;

// NumPy's numbers and bools, whose type number says all about them.
inline bool is_plain_type(int type) {
  return PyTypeNum_ISBOOL(type) || (PyTypeNum_ISNUMBER(type) && type < NPY_USERDEF);
}

class PlainWriter {
 public:
  explicit PlainWriter(std::string* out) : out_(*out) {}

  // False, without an error: there is something that is not plain.
  bool write(PyObject* value, int depth = 0) {
    if (value == Py_None) return put_tag(kPlainNone);
    if (PyBool_Check(value)) return put_tag(value == Py_True ? kPlainTrue : kPlainFalse);
    if (PyFloat_CheckExact(value)) return put_tag(kPlainFloat) && put(PyFloat_AS_DOUBLE(value));
    if (PyLong_CheckExact(value)) return write_int(value);
    if (PyUnicode_CheckExact(value)) return put_tag(kPlainStr) && write_text(value);
    if (PyArray_CheckExact(value)) return write_array(as_ndarray(value));
    if (PyArray_CheckScalar(value)) return write_number(value);
    if (depth == kPlainDepth) return false;
    if (PyDict_CheckExact(value)) return write_dict(value, depth + 1);
    const bool is_list = PyList_CheckExact(value);
    if (!is_list && !PyTuple_CheckExact(value)) return false;
    put_tag(is_list ? kPlainList : kPlainTuple);
    put(static_cast<int64_t>(PySequence_Fast_GET_SIZE(value)));
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value); ++i) {
      if (!write(PySequence_Fast_GET_ITEM(value, i), depth + 1)) return false;
    }
    return true;
  }

 private:
  bool put_tag(PlainTag tag) {
    out_.push_back(tag);
    return true;
  }
  template <typename T>
  bool put(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return true;
  }

  bool write_int(PyObject* value) {
    int overflow = 0;
    const int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow);
    return overflow == 0 && put_tag(kPlainInt) && put(number);
  }

  bool write_text(PyObject* text) {
    Py_ssize_t length = 0;
    const char* bytes = PyUnicode_AsUTF8AndSize(text, &length);
    if (bytes == nullptr) {  // a lone surrogate
      PyErr_Clear();
      return false;
    }
    put(static_cast<int64_t>(length));
    out_.append(bytes, static_cast<size_t>(length));
    return true;
  }

  bool write_number(PyObject* value) {
    PyArray_Descr* dtype = PyArray_DescrFromScalar(value);
    if (dtype == nullptr) {
      PyErr_Clear();
      return false;
    }
    const auto owned = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(dtype));
    if (!is_plain_type(dtype->type_num) || Py_TYPE(value) != dtype->typeobj) return false;
    put_tag(kPlainNumber);
    put(static_cast<int32_t>(dtype->type_num));
    const size_t at = out_.size();
    out_.resize(at + static_cast<size_t>(PyDataType_ELSIZE(dtype)));
    PyArray_ScalarAsCtype(value, out_.data() + at);
    return true;
  }

  bool write_array(PyArrayObject* array) {
    if (!is_plain_type(PyArray_TYPE(array)) || !PyArray_ISNOTSWAPPED(array) ||
        !PyArray_IS_C_CONTIGUOUS(array)) {
      return false;
    }
    put_tag(kPlainArray);
    put(static_cast<int32_t>(PyArray_TYPE(array)));
    put(static_cast<int32_t>(PyArray_NDIM(array)));
    for (int axis = 0; axis < PyArray_NDIM(array); ++axis)
      put(static_cast<int64_t>(PyArray_DIM(array, axis)));
    out_.append(static_cast<const char*>(PyArray_DATA(array)), static_cast<size_t>(PyArray_NBYTES(array)));
    return true;
  }

  bool write_dict(PyObject* dict, int depth) {
    put_tag(kPlainDict);
    put(static_cast<int64_t>(PyDict_GET_SIZE(dict)));
    PyObject *key = nullptr, *value = nullptr;
    for (Py_ssize_t at = 0; PyDict_Next(dict, &at, &key, &value);) {
      if (!PyUnicode_CheckExact(key) || !write_text(key) || !write(value, depth)) return false;
    }
    return true;
  }

  std::string& out_;
};

class PlainReader {
 public:
  // What a PlainWriter wrote, and nothing else.
  explicit PlainReader(std::string_view bytes) : at_(bytes.data()) {}

  // A new reference, or null with the error set.
  PyObject* read() {
    switch (const char tag = *at_++; tag) {
      case kPlainNone:
        Py_RETURN_NONE;
      case kPlainTrue:
        Py_RETURN_TRUE;
      case kPlainFalse:
        Py_RETURN_FALSE;
      case kPlainInt:
        return PyLong_FromLongLong(take<int64_t>());
      case kPlainFloat:
        return PyFloat_FromDouble(take<double>());
      case kPlainStr:
        return read_text();
      case kPlainNumber:
        return read_number();
      case kPlainArray:
        return read_array();
      case kPlainDict:
        return read_dict();
      default:
        return read_sequence(tag == kPlainList);
    }
  }

 private:
  template <typename T>
  T take() {
    T value;
    std::memcpy(&value, at_, sizeof(value));
    at_ += sizeof(value);
    return value;
  }
  const char* skip(size_t bytes) {
    const char* from = at_;
    at_ += bytes;
    return from;
  }

  PyObject* read_text() {
    const auto length = take<int64_t>();
    return PyUnicode_DecodeUTF8(skip(static_cast<size_t>(length)), static_cast<Py_ssize_t>(length), nullptr);
  }

  PyObject* read_number() {
    const auto dtype = py::reinterpret_steal<py::object>(
        reinterpret_cast<PyObject*>(PyArray_DescrFromType(take<int32_t>())));
    if (!dtype) return nullptr;
    auto* descr = reinterpret_cast<PyArray_Descr*>(dtype.ptr());
    alignas(16) char value[32];  // NumPy reads it as the number that it is
    const auto bytes = static_cast<size_t>(PyDataType_ELSIZE(descr));
    std::memcpy(value, skip(bytes), bytes);
    return PyArray_Scalar(value, descr, nullptr);
  }

  PyObject* read_array() {
    const auto type = take<int32_t>();
    const auto ndim = take<int32_t>();
    npy_intp dims[NPY_MAXDIMS];
    for (int32_t axis = 0; axis < ndim; ++axis) dims[axis] = static_cast<npy_intp>(take<int64_t>());
    PyObject* array = PyArray_SimpleNew(ndim, dims, type);
    if (array == nullptr) return nullptr;
    const auto bytes = static_cast<size_t>(PyArray_NBYTES(as_ndarray(array)));
    std::memcpy(PyArray_DATA(as_ndarray(array)), skip(bytes), bytes);
    return array;
  }

  PyObject* read_dict() {
    auto dict = py::reinterpret_steal<py::object>(PyDict_New());
    for (auto members = take<int64_t>(); members > 0 && dict; --members) {
      PyObject* key = read_text();
      if (key == nullptr) return nullptr;
      PyUnicode_InternInPlace(&key);  // the same object in each info
      const auto owned = py::reinterpret_steal<py::object>(key);
      const auto value = py::reinterpret_steal<py::object>(read());
      if (!value || PyDict_SetItem(dict.ptr(), key, value.ptr()) < 0) return nullptr;
    }
    return dict.release().ptr();
  }

  PyObject* read_sequence(bool is_list) {
    const auto size = static_cast<Py_ssize_t>(take<int64_t>());
    auto items = py::reinterpret_steal<py::object>(is_list ? PyList_New(size) : PyTuple_New(size));
    for (Py_ssize_t i = 0; i < size && items; ++i) {
      PyObject* item = read();
      if (item == nullptr) return nullptr;
      if (is_list) {
        PyList_SET_ITEM(items.ptr(), i, item);
      } else {
        PyTuple_SET_ITEM(items.ptr(), i, item);
      }
    }
    return items.release().ptr();
  }

  const char* at_;
};

}  // namespace envpool
