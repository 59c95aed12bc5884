// What all parts of the stand-in share: the state of the one process that uses it.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

typedef uintptr_t Address;
typedef void* Handle;

// The codes of CUresult that the stand-in gives by itself.
enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_FAILED = 719,
};

// One call of a function, alone: what STAND_IN_FAULT asks for, else what `body` gives.
int call(const char* function, const std::function<int()>& body);

// The same for a call that needs a context, which the calling thread must have, and which must not have failed.
int call_in_context(const char* function, const std::function<int()>& body);

// Says on standard error what no program should do, and counts it.
void complain(const std::string& problem);

// Puts work at the end of a stream. It is done as late as it may be: when somebody waits for it.
void enqueue(Handle stream, std::function<void()> work);

// Inside a call: whether so many bytes from an address lie in one memory that is not freed.
bool is_memory(Address at, size_t bytes);

// Inside work: the context has failed, which every later call says.
void break_context(int code, const std::string& problem);
