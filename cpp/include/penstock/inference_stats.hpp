#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

#include <penstock/sync.hpp>

namespace penstock {

/// What a model has done since it was loaded, as the protocol's statistics tell it. A request is what a
/// caller sends; an execution is one call of the model, for the rows of one or several requests.
///
/// Any thread. Its mutex is a leaf, held for a few additions.
class InferenceStats {
 public:
  struct Timed {
    std::uint64_t count = 0;
    Duration time{};
    void add(Duration taken, std::uint64_t n = 1) {
      count += n;
      time += taken;
    }
  };
  /// The parts of an execution: making of requests what the model gets, the model, making of its results answers.
  struct Phases {
    Duration input{}, infer{}, output{};
  };
  struct Executions {
    Timed input, infer, output;
    void add(const Phases& phases) {
      input.add(phases.input);
      infer.add(phases.infer);
      output.add(phases.output);
    }
  };
  enum class End : std::uint8_t { kSuccess, kFail, kEmpty, kCancel };
  /// Those responses of streams that are the n-th of theirs.
  struct Responses {
    Timed infer, output, success, fail, empty, cancel;
  };
  struct Snapshot {
    std::uint64_t rows = 0;  ///< of the requests that succeeded
    Timed success, fail, queue;
    Executions executions;
    std::map<std::size_t, Executions> sizes;  ///< by rows
    std::map<std::size_t, Responses> responses;
    std::chrono::system_clock::time_point last{};  ///< when a request came last; the epoch if none has
  };
  /// So many sizes, or responses of one stream, are told apart; what is beyond counts as the last.
  static constexpr std::size_t kApart = 1024;

  /// A request has ended that had waited before; `taken` is the time since.
  void request(bool success, std::size_t rows, Duration waited, Duration taken);
  void execution(std::size_t rows, const Phases& phases);
  /// A response of a stream has been made, or could not be.
  void response(std::size_t number, End end, Duration infer, Duration output);
  [[nodiscard]] Snapshot snapshot() const;

 private:
  mutable std::mutex mutex_;  ///< guards the next
  Snapshot done_;
};

}  // namespace penstock
