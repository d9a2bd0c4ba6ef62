#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include <penstock/failure.hpp>
#include <penstock/payload.hpp>
#include <penstock/ref.hpp>

namespace penstock {

/// An answer that comes in chunks: from the step that makes them, past the steps between, to a reader.
///
/// One chunk is under way at a time, so they stay in order; the maker goes on when it is over and the
/// reader has not fallen behind. Thread-safe; actions are called with nothing locked, on any thread,
/// and must not block.
class Chunks : public RefCounted {
 public:
  using Action = std::function<void()>;
  static constexpr std::size_t kAhead = 16;  ///< chunks that wait for the reader before the maker pauses

  explicit Chunks(std::string step) : maker(std::move(step)) {}
  const std::string maker;  ///< the step that makes them

  // The maker's side.
  /// Has `resume` called once: when the next chunk is wanted, or none is any more (`over`).
  void next(Action resume);
  [[nodiscard]] bool over() const;
  /// The maker makes no more: it all ends with the chunks that are under way.
  void no_more();
  void begin_chunk();
  void chunk_over();

  // The responder's side.
  void push(Payload&& chunk);
  void fail(Failure&& failure);
  void end();

  // The reader's side.
  struct Item {
    std::optional<Payload> chunk;
    std::optional<Failure> failure;  ///< and with neither, the end
  };
  /// What comes next, if it is there.
  std::optional<Item> take();
  /// Has `ready` called once, when `take` gives something.
  void on_ready(Action ready);
  /// Nobody reads any more.
  void cancel();

 private:
  Action resumable();  ///< with the mutex held
  Action readable();   ///< with the mutex held

  mutable std::mutex mutex_;  ///< a leaf; guards all below
  std::deque<Payload> waiting_;
  std::optional<Failure> failure_;
  std::size_t under_way_ = 0;
  bool made_ = false;
  bool ended_ = false;
  bool cancelled_ = false;
  Action resume_, ready_;
};

/// One chunk on its way: over when the last event that carries it has ended.
class Chunk : public RefCounted {
 public:
  explicit Chunk(Ref<Chunks> all) : chunks(std::move(all)) { chunks->begin_chunk(); }
  ~Chunk() { chunks->chunk_over(); }
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;
  const Ref<Chunks> chunks;
};

}  // namespace penstock
