// The result of anything that can fail inside the native code. Errors are values; nothing here throws.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "../include/touchstone.h"

namespace touchstone {

// A ts_status with its detail text and, for TS_OUT_OF_MEMORY, the bytes required and available.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(ts_status code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status OutOfMemory(std::string message, uint64_t required, uint64_t available) {
    Status status(TS_OUT_OF_MEMORY, std::move(message));
    status.required_ = required;
    status.available_ = available;
    return status;
  }

  bool ok() const { return code_ == TS_OK; }
  ts_status code() const { return code_; }
  const std::string& message() const { return message_; }
  uint64_t required() const { return required_; }
  uint64_t available() const { return available_; }

 private:
  ts_status code_ = TS_OK;
  std::string message_;
  uint64_t required_ = 0;
  uint64_t available_ = 0;
};

// Leaves the enclosing function with the status of `expression` unless it is OK.
#define TS_RETURN_IF_ERROR(expression)                                              \
  do {                                                                              \
    if (::touchstone::Status status_ = (expression); !status_.ok()) return status_; \
  } while (false)

}  // namespace touchstone
