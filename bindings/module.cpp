#include "register.hpp"

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  using namespace penstock::python;
  m.doc() = "penstock's compiled core.";
  register_event(m);
  register_stats(m);
  register_port(m);
  register_chunks(m);
  register_plan(m);
  register_core(m);
  register_server(m);
  register_source(m);
  register_watchdog(m);
}
