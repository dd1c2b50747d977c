// How fast an env's hooks can be called at all: through methods that were bound beforehand, with what they
// return thrown away. No pool, loop or library that calls them can be faster on one core.
#include <Python.h>

namespace {

bool call(PyObject* hook, PyObject* argument = nullptr) {
  PyObject* result = argument ? PyObject_CallOneArg(hook, argument) : PyObject_CallNoArgs(hook);
  Py_XDECREF(result);
  return result != nullptr;
}

}  // namespace

// Steps all envs `times` times, taking turns with the action batches. Called with the GIL held.
// envs: list of tuples of bound methods: step, reset, done, then the others of a step.
// batches: list of lists with an action per env.
extern "C" PyObject* step_envs(PyObject* envs, PyObject* batches, Py_ssize_t times) {
  for (Py_ssize_t turn = 0; turn < times; ++turn) {
    PyObject* actions = PyList_GET_ITEM(batches, turn % PyList_GET_SIZE(batches));
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(envs); ++i) {
      PyObject* hooks = PyList_GET_ITEM(envs, i);
      if (!call(PyTuple_GET_ITEM(hooks, 0), PyList_GET_ITEM(actions, i))) return nullptr;
      for (Py_ssize_t hook = 3; hook < PyTuple_GET_SIZE(hooks); ++hook) {
        if (!call(PyTuple_GET_ITEM(hooks, hook))) return nullptr;
      }
      PyObject* done = PyObject_CallNoArgs(PyTuple_GET_ITEM(hooks, 2));
      if (done == nullptr) return nullptr;
      const bool over = done == Py_True;
      Py_DECREF(done);
      if (over && !call(PyTuple_GET_ITEM(hooks, 1))) return nullptr;
    }
  }
  Py_RETURN_NONE;
}
