#include <http/asked.hpp>

#include <utility>
#include <vector>

#include <http2/session.hpp>

namespace penstock::http {
namespace {

struct Undelivered {
  Ref<Asked> asked;
  Answer answer;
  std::optional<Response> rendered;
};

/// What the thread at hand has answered inside the gate and sends when it is outside.
std::vector<Undelivered>& undelivered() {
  static thread_local std::vector<Undelivered> list;
  return list;
}

}  // namespace

void Asked::on_reply(Answer&& answer) {
  // The first chunk does not wait for the second, which this thread may be about to make.
  if (answer.chunks) return deliver(std::move(answer), std::nullopt);
  std::optional<Response> rendered;
  if (const Object* object = answer.body ? answer.body->object() : nullptr; object != nullptr && *object) {
    if (auto tensors = wants_tensors() ? host_.tensors(*object) : nullptr)
      answer.body = Payload(std::move(tensors));
    else
      rendered = host_.render(*object);
  }
  if (executor_->seated()) {
    undelivered().push_back(Undelivered{Ref<Asked>(this), std::move(answer), std::move(rendered)});
    return;
  }
  deliver(std::move(answer), std::move(rendered));
}

void Asked::flush() {
  auto& list = undelivered();
  if (list.empty()) return;
  std::vector<Undelivered> ready;
  ready.swap(list);
  const http2::Cork cork;
  for (Undelivered& one : ready) one.asked->deliver(std::move(one.answer), std::move(one.rendered));
}

}  // namespace penstock::http
