#pragma once

#include <memory>

#include <penstock/executor.hpp>

#include <http/host.hpp>
#include <http/reply.hpp>

namespace penstock::http {

/// How the chunks of an answer are told apart.
enum class ChunkForm : std::uint8_t {
  kPlain,   ///< texts and bytes as they are, anything else as a line of JSON
  kEvents,  ///< server-sent events, each with JSON
};

/// Sends an answer that comes in chunks, as the client takes them; at once as a whole to a client that
/// cannot have parts. Any thread; returns at once.
void send_chunks(std::shared_ptr<Executor> executor, Host& host, Reply&& reply, Ref<Chunks> chunks, ChunkForm form);

}  // namespace penstock::http
