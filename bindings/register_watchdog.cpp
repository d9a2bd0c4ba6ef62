#include <unistd.h>

#include <csignal>
#include <cstring>
#include <optional>

#include <penstock/watchdog.hpp>

#include "register.hpp"

namespace penstock::python {
namespace {

constexpr unsigned kDumpSeconds = 1;

/// Has the stacks written, by a handler of this signal that needs no GIL, and ends the process.
void end_process(int signal, int code) {
  static constexpr char kSaid[] =
      "penstock: no Python code could run any more: a handler holds the interpreter; ending\n";
  [[maybe_unused]] const auto said = write(STDERR_FILENO, kSaid, std::strlen(kSaid));
  kill(getpid(), signal);
  sleep(kDumpSeconds);
  _exit(code);
}

class PyWatchdog {
 public:
  PyWatchdog(double seconds, int signal, int code)
      : dog_(std::in_place, std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds)),
             [signal, code] { end_process(signal, code); }) {}
  void beat() {
    if (dog_) dog_->beat();
  }
  void close() {
    const WithoutGil released;
    dog_.reset();
  }

 private:
  std::optional<Watchdog> dog_;
};

}  // namespace

void register_watchdog(py::module_& m) {
  py::class_<PyWatchdog>(m, "Watchdog", "Ends the process when nobody has called `beat` for so many seconds.")
      .def(py::init<double, int, int>(), py::arg("seconds"), py::arg("signal"), py::arg("code"),
           "`signal` is sent to this process first: its handler writes the stacks.")
      .def("beat", &PyWatchdog::beat)
      .def("close", &PyWatchdog::close);
}

}  // namespace penstock::python
