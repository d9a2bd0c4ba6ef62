#include <http/streaming.hpp>

#include <optional>
#include <string>
#include <utility>

#include <penstock/json_text.hpp>
#include <penstock/oip_json.hpp>

namespace penstock::http {
namespace {

constexpr std::string_view kJson = "application/json";
constexpr const char* kEvents = "text/event-stream; charset=utf-8";

/// From the chunks to the client. Runs inside the gate, one run at a time: each asks for the next.
class Pump final : public std::enable_shared_from_this<Pump> {
 public:
  Pump(std::shared_ptr<Executor> executor, Host& host, Reply&& reply, Ref<Chunks> chunks, ChunkForm form)
      : executor_(std::move(executor)), host_(host), reply_(std::move(reply)), chunks_(std::move(chunks)), form_(form),
        parts_(reply_.takes_parts()) {}

  void start() {
    reply_.on_abandoned([chunks = chunks_] { chunks->cancel(); });
    soon();
  }

 private:
  void soon() {
    executor_->soon([self = shared_from_this()] { self->run(); });
  }

  void run() {
    for (;;) {
      if (opened_ && parts_ && !reply_.has_room([self = shared_from_this()] { self->soon(); })) return;
      std::optional<Chunks::Item> item = chunks_->take();
      if (!item) return chunks_->on_ready([self = shared_from_this()] { self->soon(); });
      if (item->chunk)
        add(*item->chunk);
      else
        return item->failure ? fail(*item->failure) : end();
    }
  }

  void add(const Payload& chunk) {
    Response part = rendered(chunk);
    const bool json = part.content_type == kJson;
    if (form_ == ChunkForm::kEvents)
      part.content_type = kEvents;
    else if (json)
      part.content_type = "application/x-ndjson";
    std::string text;
    if (form_ == ChunkForm::kEvents) {
      text = "data: ";
      if (json)
        text += part.body.bytes();
      else
        append_json_string(text, part.body.bytes());
      text += "\n\n";
    } else {
      text = part.body.bytes();
      if (json) text += '\n';
    }
    send(std::move(part), text);
  }

  void send(Response&& head, std::string_view text) {
    if (!std::exchange(opened_, true)) {
      json_lines_ = head.content_type == "application/x-ndjson";
      head.body = Body();
      if (form_ == ChunkForm::kEvents) head.headers.emplace_back("Cache-Control", "no-cache");
      if (parts_)
        reply_.open(std::move(head));
      else
        whole_ = std::move(head);
    }
    if (parts_)
      reply_.write(text);
    else
      collected_ += text;
  }

  /// The client hears of it where there is a way, and in any case that the answer is not complete.
  void fail(const Failure& failure) {
    std::string text = "{\"error\": ";
    append_json_string(text, failure.step.empty() ? failure.text() : "step '" + failure.step + "': " + failure.text());
    text += "}";
    if (!parts_) return reply_.send(error_response(failure.status, failure.text()));
    if (form_ == ChunkForm::kEvents) return reply_.write("data: " + text + "\n\n", true);
    if (json_lines_) reply_.write(text + "\n");
    reply_.cut();
  }

  void end() {
    if (!opened_) send(Response{200, form_ == ChunkForm::kEvents ? kEvents : "", {}, Body()}, "");
    if (parts_) return reply_.write("", true);
    whole_.body = Body(std::move(collected_));
    reply_.send(std::move(whole_));
  }

  Response rendered(const Payload& chunk) {
    if (const Object* object = chunk.object(); object != nullptr && *object) return host_.render(*object);
    if (const auto tensors = chunk.response()) return {200, std::string(kJson), {}, encode_infer_response(*tensors)};
    if (const Bytes* bytes = chunk.bytes())
      return {200,
              bytes->declared_json ? std::string(kJson) : "application/octet-stream",
              {},
              Body(bytes->data, *bytes->data)};
    return {200, std::string(kJson), {}, std::string("null")};
  }

  const std::shared_ptr<Executor> executor_;
  Host& host_;
  Reply reply_;
  const Ref<Chunks> chunks_;
  const ChunkForm form_;
  const bool parts_;
  bool opened_ = false;
  bool json_lines_ = false;
  Response whole_;
  std::string collected_;
};

}  // namespace

void send_chunks(std::shared_ptr<Executor> executor, Host& host, Reply&& reply, Ref<Chunks> chunks, ChunkForm form) {
  std::make_shared<Pump>(std::move(executor), host, std::move(reply), std::move(chunks), form)->start();
}

}  // namespace penstock::http
