#pragma once

#include "gil.hpp"

namespace penstock::python {

void register_event(py::module_& m);
void register_port(py::module_& m);
void register_chunks(py::module_& m);
void register_plan(py::module_& m);
void register_core(py::module_& m);
void register_server(py::module_& m);
void register_source(py::module_& m);
void register_stats(py::module_& m);
void register_watchdog(py::module_& m);

}  // namespace penstock::python
