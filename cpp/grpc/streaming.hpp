#pragma once

#include <memory>

#include <grpc/pending.hpp>

namespace penstock::grpc {

/// Answers message `number` of a stream in parts, each sent when it is there and the client has taken
/// those before it. Any thread.
void send_chunks(std::shared_ptr<Executor> executor, http::Host& host, Ref<Answered> to, std::uint64_t number,
                 Ref<Chunks> chunks, Wanted wanted);

}  // namespace penstock::grpc
