#include <http/tls.hpp>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <new>
#include <string_view>

#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

namespace penstock::http {
namespace {

/// Protocols as ALPN writes them: each behind its length.
constexpr std::string_view kBoth = "\x02h2\x08http/1.1";
constexpr std::string_view kHttp2 = kBoth.substr(0, 3);

/// OpenSSL's own socket BIO raises SIGPIPE when the client has gone.
int write_socket(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const auto descriptor = static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
  const ssize_t sent = ::send(descriptor, bytes, static_cast<std::size_t>(size), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

int read_socket(BIO* bio, char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const auto descriptor = static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
  const ssize_t got = ::recv(descriptor, bytes, static_cast<std::size_t>(size), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(got);
}

long control_socket(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

BIO_METHOD* socket_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "penstock");
    if (made == nullptr) throw std::bad_alloc();
    BIO_meth_set_write(made, &write_socket);
    BIO_meth_set_read(made, &read_socket);
    BIO_meth_set_ctrl(made, &control_socket);
    return made;
  }();
  return method;
}

int choose_protocol(SSL* ssl, const unsigned char** chosen, unsigned char* size, const unsigned char* offered,
                    unsigned offered_size, void*) {
  const auto& ours = *static_cast<const std::string_view*>(SSL_get_app_data(ssl));
  unsigned char* found = nullptr;
  const int outcome = SSL_select_next_proto(&found, size, reinterpret_cast<const unsigned char*>(ours.data()),
                                            static_cast<unsigned>(ours.size()), offered, offered_size);
  *chosen = found;
  return outcome == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/// Throws what OpenSSL has against a file.
[[noreturn]] void refuse(const std::string& what, const std::string& path) {
  const unsigned long first = ERR_peek_error();
  ERR_clear_error();
  const char* text = ERR_GET_LIB(first) == ERR_LIB_SSL ? ERR_reason_error_string(first) : nullptr;
  throw TlsError("TLS: the " + what + " " + path +
                 " cannot be used: " + (text != nullptr ? text : "there is none in it, in the form of PEM"));
}

void check_readable(const std::string& what, const std::string& path) {
  errno = 0;
  std::ifstream file(path);
  file.get();  // a folder can be opened
  if (file) return;
  throw TlsError("TLS: the " + what + " " + path +
                 " cannot be read: " + (errno == 0 ? "it is empty" : std::strerror(errno)));
}

void load_certificate(SSL_CTX* context, const std::string& path) {
  check_readable("certificate", path);
  if (SSL_CTX_use_certificate_chain_file(context, path.c_str()) != 1) refuse("certificate", path);
}

void load_key(SSL_CTX* context, const TlsContext::Files& files) {
  check_readable("key", files.key);
  bool encrypted = false;
  const auto asked = [](char*, int, int, void* told) {  // OpenSSL would ask at the terminal
    *static_cast<bool*>(told) = true;
    return -1;
  };
  SSL_CTX_set_default_passwd_cb(context, asked);
  SSL_CTX_set_default_passwd_cb_userdata(context, &encrypted);
  const bool loaded = SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM) == 1;
  SSL_CTX_set_default_passwd_cb_userdata(context, nullptr);
  if (encrypted)
    throw TlsError("TLS: the key " + files.key + " is encrypted; a server has nobody to ask how to read it");
  if (!loaded && ERR_GET_REASON(ERR_peek_error()) != X509_R_KEY_VALUES_MISMATCH) refuse("key", files.key);
  if (!loaded || SSL_CTX_check_private_key(context) != 1)
    throw TlsError("TLS: the key " + files.key + " is not that of the certificate " + files.certificate);
}

void ask_for_certificates(SSL_CTX* context, const std::string& path) {
  check_readable("authority of clients", path);
  STACK_OF(X509_NAME)* names = SSL_load_client_CA_file(path.c_str());
  if (names == nullptr || SSL_CTX_load_verify_locations(context, path.c_str(), nullptr) != 1)
    refuse("authority of clients", path);
  SSL_CTX_set_client_CA_list(context, names);  // takes them over
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
}

}  // namespace

void SslFree::operator()(ssl_ctx_st* context) const noexcept { SSL_CTX_free(context); }
void SslFree::operator()(ssl_st* ssl) const noexcept { SSL_free(ssl); }

TlsContext::TlsContext(const Files& files) : context_(SSL_CTX_new(TLS_server_method())) {
  SSL_CTX* const context = context_.get();
  if (context == nullptr) throw std::bad_alloc();
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  // Of 1.2 only what HTTP/2 allows; of 1.3 there is nothing else.
  if (SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1) throw TlsError("TLS: no cipher is left");
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  // What is written again after the socket was full may lie elsewhere; an idle connection keeps no buffers.
  SSL_CTX_set_mode(context,
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(context, &choose_protocol, nullptr);
  constexpr std::string_view kName = "penstock";
  SSL_CTX_set_session_id_context(context, reinterpret_cast<const unsigned char*>(kName.data()), kName.size());
  ERR_clear_error();
  load_certificate(context, files.certificate);
  load_key(context, files);
  if (!files.client_ca.empty()) ask_for_certificates(context, files.client_ca);
}

Ssl TlsContext::connect(int descriptor, Protocol protocol) const {
  Ssl ssl(SSL_new(context_.get()));
  BIO* const bio = BIO_new(socket_method());
  if (!ssl || bio == nullptr) {
    BIO_free(bio);
    throw std::bad_alloc();
  }
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(descriptor)));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl.get(), bio, bio);  // takes it over
  SSL_set_read_ahead(ssl.get(), 1);
  SSL_set_app_data(ssl.get(), const_cast<std::string_view*>(protocol == Protocol::kHttp2 ? &kHttp2 : &kBoth));
  SSL_set_accept_state(ssl.get());
  return ssl;
}

}  // namespace penstock::http
