// The kernels of KERNELS, a file, as a library. NAMES are those of its kernels, as KERNEL(name) each.

#include "emulator.h"

#include <tuple>
#include <utility>

#define EXPORT extern "C" __attribute__((visibility("default")))

static jmp_buf failed;
static std::string problem;

[[noreturn]] static void fail(const std::string& text) {
    problem = text;
    _longjmp(failed, 1);
}

#include KERNELS

// The arguments are copied, as a launch does it.
template <class... Parameters, size_t... Numbers>
static std::function<void()> bind_each(void (*kernel)(Parameters...), void** places, std::index_sequence<Numbers...>) {
    std::tuple<Parameters...> arguments(*(Parameters*)places[Numbers]...);
    return [=] { std::apply(kernel, arguments); };
}

template <class... Parameters> static std::function<void()> bind(void (*kernel)(Parameters...), void** places) {
    return bind_each(kernel, places, std::index_sequence_for<Parameters...>());
}

EXPORT bool has(const char* name) {
#define KERNEL(kernel) \
    if (!strcmp(name, #kernel)) return true;
    NAMES
#undef KERNEL
    return false;
}

EXPORT std::function<void()>* prepare(const char* name, void** places) {
#define KERNEL(kernel) \
    if (!strcmp(name, #kernel)) return new std::function<void()>(bind(kernel, places));
    NAMES
#undef KERNEL
    return nullptr;
}

// What is wrong, or nothing.
EXPORT const char* run(std::function<void()>* prepared, unsigned blocks_x, unsigned blocks_y, unsigned threads) {
    if (_setjmp(failed)) return problem.c_str();
    kernel = *prepared;
    delete prepared;
    run_grid({blocks_x, blocks_y}, threads, false);
    return nullptr;
}
