#pragma once

#include <string>

namespace penstock {

/// 32 random hexadecimal digits, as a UUID of version 4 has. Any thread.
std::string make_id();

}  // namespace penstock
