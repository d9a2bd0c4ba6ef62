#pragma once

namespace penstock {

/// The host language's global lock, as the core sees it. Host code runs only inside the gate. A build
/// without such a lock gives a gate that lets everybody in.
///
/// Rules: enter only without a core mutex held; never wait for another thread while inside.
class Gate {
 public:
  virtual ~Gate() = default;

  /// Blocks until this thread is inside. Not recursive.
  virtual void enter() = 0;
  virtual void leave() = 0;

  /// Told when a task that computes for long starts (true) or ends (false) inside the gate, so that
  /// the host can hand the gate over more often meanwhile.
  virtual void crowd(bool /*crowded*/) {}
};

}  // namespace penstock
