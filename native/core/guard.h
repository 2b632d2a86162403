// What every function of the ABI does around its work: exceptions become statuses, statuses fill the caller's ts_error,
// and one call at a time runs on a context.
#pragma once

#include <cstdio>
#include <exception>
#include <mutex>
#include <new>
#include <string>

#include "context.h"

namespace touchstone {

inline void FillError(const Status& status, ts_error* error) {
  if (error == nullptr) return;
  error->status = status.code();
  error->required_bytes = status.required();
  error->available_bytes = status.available();
  std::snprintf(error->message, sizeof error->message, "%s", status.message().c_str());
}

inline Status Invalid(const std::string& text) { return Status(TS_INVALID_ARGUMENT, text); }

// A struct that the caller describes by its size.
template <class T>
Status CheckStruct(const char* name, const T* value) {
  if (value == nullptr) return Invalid(std::string(name) + " is NULL");
  if (value->struct_size != sizeof(T)) {
    return Invalid(std::string(name) + ".struct_size is " + std::to_string(value->struct_size) +
                   ", this library expects " + std::to_string(sizeof(T)));
  }
  return Status();
}

template <class T>
Status CheckNotNull(const char* name, const T* value) {
  return value != nullptr ? Status() : Invalid(std::string(name) + " is NULL");
}

// Runs work() -> Status and reports its outcome.
template <class Work>
ts_status Guard(ts_error* error, const Work& work) noexcept {
  if (error != nullptr && error->struct_size != sizeof(ts_error)) return TS_INVALID_ARGUMENT;
  try {
    Status status;
    try {
      status = work();
    } catch (const std::bad_alloc&) {
      status = Status(TS_OUT_OF_MEMORY, "the host has no memory left");
    } catch (const std::exception& exception) {
      status = Status(TS_INTERNAL, std::string("an unexpected exception: ") + exception.what());
    }
    FillError(status, error);
    return status.code();
  } catch (...) {
    if (error != nullptr) *error = {sizeof(ts_error), TS_INTERNAL, 0, 0, "an unexpected exception"};
    return TS_INTERNAL;
  }
}

// Like Guard, while no other call runs on the context.
template <class Work>
ts_status GuardLocked(Context* context, ts_error* error, const Work& work) noexcept {
  return Guard(error, [&]() -> Status {
    const std::unique_lock<std::mutex> lock(context->mutex, std::try_to_lock);
    if (!lock.owns_lock()) return Status(TS_BUSY, "another call is running on this context; wait for it");
    return work();
  });
}

// Guard for a function whose handle may be NULL.
template <class Work>
ts_status GuardHandle(const char* name, const void* handle, ts_error* error, const Work& work) noexcept {
  if (handle == nullptr) {
    return Guard(error, [&] { return Invalid(std::string(name) + " is NULL"); });
  }
  return work();
}

}  // namespace touchstone
