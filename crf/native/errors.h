// Error messages of the C interface: one per thread, valid until the next failing call.
#pragma once
#include <string>

namespace segtool {
int fail(const std::string& message);  // stores the message, returns 1
}
