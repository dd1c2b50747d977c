// Made from cpp_templates/module.cc.jinja for Counting. Edit the template, not this file.
//
// The Python module: the engine's way into env.cc, and the raw classes with EnvPool's interface.
#include <pybind11/pybind11.h>

#include "cpp_core/py_raw.h"

namespace py = pybind11;

extern const EnvpoolModule envpool_module;
bool envpool_plug_in(const EnvpoolHost* engine);

PYBIND11_MODULE(_Counting_wrap, module, py::mod_gil_not_used()) {
  envpool::plug_in(module, envpool_module, envpool_plug_in);
  module.attr("description") = "{\042action_space\042: {\042bounded_above\042: \042AQ==\042, \042bounded_below\042: \042AQ==\042, \042dtype\042: \042float32\042, \042high\042: \042AACAPw==\042, \042low\042: \042AACAvw==\042, \042shape\042: [1], \042space\042: \042Box\042}, \042info_space\042: null, \042library\042: \042gymnasium\042, \042observation_space\042: {\042bounded_above\042: \042AA==\042, \042bounded_below\042: \042AA==\042, \042dtype\042: \042float32\042, \042high\042: \042AACAfw==\042, \042low\042: \042AACA/w==\042, \042shape\042: [3], \042space\042: \042Box\042}, \042spec\042: {\042action\042: {\042leaves\042: [{\042dtype\042: \042float32\042, \042high\042: null, \042kind\042: \042array\042, \042low\042: null, \042name\042: \042action\042, \042shape\042: [1]}], \042nodes\042: [{\042children\042: [], \042index\042: 0, \042key\042: null, \042kind\042: \042leaf\042, \042leaf\042: 0, \042parent\042: -1}]}, \042api\042: \042hooks\042, \042has_info\042: false, \042has_truncated\042: false, \042info\042: null, \042name\042: \042Counting\042, \042obs\042: {\042leaves\042: [{\042dtype\042: \042float32\042, \042high\042: null, \042kind\042: \042array\042, \042low\042: null, \042name\042: \042obs\042, \042shape\042: [3]}], \042nodes\042: [{\042children\042: [], \042index\042: 0, \042key\042: null, \042kind\042: \042leaf\042, \042leaf\042: 0, \042parent\042: -1}]}, \042obs_takes_out\042: false, \042options_are_env_info\042: false, \042reset_takes_options\042: false, \042reset_takes_seed\042: false, \042reward\042: \042float32\042}}";
  envpool::bind_raw(module, "_CountingSpec", "_CountingPool");
}
