#pragma once

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

namespace penstock::http {

/// Asio's stream socket without the type-erased executor.
using Socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, boost::asio::io_context::executor_type>;

/// How a connection begins. One that begins with HTTP/1.1 may turn out to be HTTP/2 by its first bytes.
enum class Protocol { kHttp1, kHttp2 };

}  // namespace penstock::http
