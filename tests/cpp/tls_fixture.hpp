#pragma once

#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include <netinet/tcp.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "http_fixture.hpp"

namespace penstock::http::testing {

template <auto free>
struct Freed {
  template <class T>
  void operator()(T* object) const {
    free(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Freed<&EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freed<&X509_free>>;

/// A certificate that vouches for itself, and its key, in a folder that goes with it.
class Identity {
 public:
  explicit Identity(std::string_view name) : folder_(std::filesystem::temp_directory_path() / unique(name)) {
    std::filesystem::create_directories(folder_);
    Key key = make_key();
    Certificate certificate(X509_new());
    X509_set_version(certificate.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
    X509_set_pubkey(certificate.get(), key.get());
    X509_NAME* subject = X509_get_subject_name(certificate.get());
    const std::string text(name);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(text.c_str()), -1,
                               -1, 0);
    X509_set_issuer_name(certificate.get(), subject);
    X509_sign(certificate.get(), key.get(), EVP_sha256());
    write(this->certificate(), [&](FILE* file) { PEM_write_X509(file, certificate.get()); });
    write(this->key(),
          [&](FILE* file) { PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr); });
    write(encrypted_key(), [&](FILE* file) {
      const auto* word = reinterpret_cast<const unsigned char*>("word");
      PEM_write_PrivateKey(file, key.get(), EVP_aes_128_cbc(), word, 4, nullptr, nullptr);
    });
  }
  ~Identity() { std::filesystem::remove_all(folder_); }
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;

  [[nodiscard]] std::string folder() const { return folder_; }
  [[nodiscard]] std::string certificate() const { return folder_ / "certificate.pem"; }
  [[nodiscard]] std::string key() const { return folder_ / "key.pem"; }
  [[nodiscard]] std::string encrypted_key() const { return folder_ / "encrypted.pem"; }

 private:
  static std::string unique(std::string_view name) {
    static std::atomic<int> number{0};
    return "penstock-" + std::to_string(::getpid()) + "-" + std::string(name) + "-" + std::to_string(number++);
  }
  static Key make_key() {
    EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nullptr);
    EVP_PKEY* key = nullptr;
    EVP_PKEY_keygen_init(context);
    EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_X9_62_prime256v1);
    EVP_PKEY_keygen(context, &key);
    EVP_PKEY_CTX_free(context);
    return Key(key);
  }
  template <class Write>
  static void write(const std::string& path, Write write) {
    FILE* file = std::fopen(path.c_str(), "w");
    ASSERT_NE(file, nullptr);
    write(file);
    std::fclose(file);
  }

  std::filesystem::path folder_;
};

/// A client that talks in private. It trusts everybody: who the server says it is, is for the test to compare.
class TlsClient {
 public:
  struct Terms {
    std::string_view protocols{};  ///< as ALPN writes them
    int version = 0;               ///< the newest; 0: any
    const Identity* identity = nullptr;
    bool corked = false;  ///< what is sent waits for more, until it is uncorked
  };

  explicit TlsClient(std::uint16_t port) : TlsClient(port, Terms()) {}
  TlsClient(std::uint16_t port, Terms terms) : plain(port), context_(SSL_CTX_new(TLS_client_method())) {
    if (terms.version != 0) {
      SSL_CTX_set_security_level(context_.get(), 0);
      SSL_CTX_set_min_proto_version(context_.get(), terms.version);
      SSL_CTX_set_max_proto_version(context_.get(), terms.version);
    }
    if (terms.identity != nullptr) {
      SSL_CTX_use_certificate_chain_file(context_.get(), terms.identity->certificate().c_str());
      SSL_CTX_use_PrivateKey_file(context_.get(), terms.identity->key().c_str(), SSL_FILETYPE_PEM);
    }
    ssl_.reset(SSL_new(context_.get()));
    if (terms.corked) set_cork(1);
    SSL_set_fd(ssl_.get(), plain.descriptor());
    SSL_set_alpn_protos(ssl_.get(), reinterpret_cast<const unsigned char*>(terms.protocols.data()),
                        static_cast<unsigned>(terms.protocols.size()));
    connected_ = SSL_connect(ssl_.get()) == 1;
    ERR_clear_error();
  }

  void uncork() { set_cork(0); }
  [[nodiscard]] bool connected() const { return connected_; }
  [[nodiscard]] std::string_view protocol() const {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl_.get(), &name, &size);
    return {reinterpret_cast<const char*>(name), size};
  }
  /// The common name that the server shows.
  [[nodiscard]] std::string server() const {
    const Certificate shown(SSL_get_peer_certificate(ssl_.get()));
    char name[64] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(shown.get()), NID_commonName, name, sizeof name);
    return name;
  }

  void send(std::string_view text) {
    if (!text.empty()) SSL_write(ssl_.get(), text.data(), static_cast<int>(text.size()));
  }
  /// What comes until there is `size` of it, or the end.
  std::string read(std::size_t size) {
    while (text_.size() < size && fill()) {
    }
    std::string taken = text_.substr(0, size);
    text_.erase(0, taken.size());
    return taken;
  }
  Client::Answer receive() {
    Client::Answer answer;
    std::size_t end = 0;
    while ((end = text_.find("\r\n\r\n")) == std::string::npos)
      if (!fill()) return answer;
    answer.head = read(end + 4);
    answer.status = std::stoi(answer.head.substr(9, 3));
    const std::size_t field = answer.head.find("Content-Length: ");
    answer.body = read(field == std::string::npos ? 0 : std::stoul(answer.head.substr(field + 16)));
    return answer;
  }
  Client::Answer ask(std::string_view request) {
    send(request);
    return receive();
  }
  /// True once the server has said that nothing more comes, as TLS wants it to be said.
  bool ended() {
    while (text_.empty() && fill()) {
    }
    return text_.empty() && (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
  }

  Client plain;

 private:
  void set_cork(int on) { ::setsockopt(plain.descriptor(), IPPROTO_TCP, TCP_CORK, &on, sizeof on); }
  bool fill() {
    char bytes[65536];
    const int size = SSL_read(ssl_.get(), bytes, sizeof bytes);
    ERR_clear_error();
    if (size <= 0) return false;
    text_.append(bytes, static_cast<std::size_t>(size));
    return true;
  }

  std::unique_ptr<SSL_CTX, Freed<&SSL_CTX_free>> context_;
  std::unique_ptr<SSL, Freed<&SSL_free>> ssl_;
  std::string text_;
  bool connected_ = false;
};

/// HttpTest with TLS.
class TlsTest : public HttpTest {
 protected:
  static void SetUpTestSuite() { ::signal(SIGPIPE, SIG_IGN); }  // for the client; the server's writes raise none
  static std::shared_ptr<const TlsContext> show(const Identity& who, const std::string& client_ca = "") {
    return std::make_shared<const TlsContext>(TlsContext::Files{who.certificate(), who.key(), client_ca});
  }
  void start() {
    options.tls = show(identity, client_ca);
    HttpTest::start();
  }
  TlsClient connect(TlsClient::Terms terms = {}) const { return TlsClient(server->port(), terms); }

  const Identity identity{"server"};
  std::string client_ca;
};

}  // namespace penstock::http::testing
