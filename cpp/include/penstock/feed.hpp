#pragma once

#include <functional>

#include <penstock/executor.hpp>

namespace penstock {

/// Has `portion` called again and again until it returns false, and returns then; what it throws comes out here.
///
/// It is called inside the gate, as a task among those of `executor`: what a portion admits is handled by the same
/// thread right behind it, as long as it is warm in the caches, and before the next portion. The calling thread is
/// outside the gate, and not held up by a step that is slow. When no thread of the executor comes, it does the rest.
void feed(Executor& executor, Gate& gate, std::function<bool()> portion);

}  // namespace penstock
