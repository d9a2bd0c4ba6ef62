#pragma once

#include <functional>

#include <penstock/executor.hpp>

namespace penstock {

/// Has `turn` called again and again until it returns false; what it throws comes out here. Called outside the gate.
///
/// A turn takes in what there is for the graph: inside the gate, one at a time. Behind it the calling thread handles
/// what is ready, as long as it is warm in its caches; so a turn that has admitted something shall return rather than
/// wait. While a step holds that thread up, threads that are lent to the executor take the turns.
void take_in(Executor& executor, Gate& gate, std::function<bool()> turn);

}  // namespace penstock
