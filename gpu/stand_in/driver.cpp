// libcuda: devices that are memory of this process, whose kernels run on the CPU.
//
// Work on a stream is done at the latest moment that CUDA allows: when the host waits for it, or when another stream does
// that the host waits for. So a wait that is missing shows as numbers that are not there. Each memory ends at a page that
// nobody may touch, and one that was freed is never used again, so that what reaches beyond it ends as on a device:
// CUDA_ERROR_ILLEGAL_ADDRESS, then and ever after. Memory begins as NaN.

#include "device.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

// What the environment asks for.

static size_t number_of(const char* variable, size_t otherwise) {
    const char* text = getenv(variable);
    return text && *text ? strtoull(text, nullptr, 10) : otherwise;
}

static const size_t DEVICES = number_of("STAND_IN_DEVICES", 1);
static const size_t CAPABILITY = number_of("STAND_IN_CAPABILITY", 90);
static const size_t ROOM = number_of("STAND_IN_MEMORY", (size_t)4 << 30);

// FUNCTION:CALL:CODE, several with commas between: that call of the function, counted from 1, gives the code.
struct Fault {
    std::string function;
    size_t call;
    int code;
};

static std::vector<Fault> read_faults() {
    std::vector<Fault> faults;
    const char* text = getenv("STAND_IN_FAULT");
    std::stringstream all(text ? text : "");
    for (std::string one; std::getline(all, one, ',');) {
        size_t first = one.find(':'), second = one.find(':', first + 1);
        faults.push_back({one.substr(0, first), std::stoul(one.substr(first + 1)), std::stoi(one.substr(second + 1))});
    }
    return faults;
}

static const std::vector<Fault> faults = read_faults();

// The state.

struct Stream {
    std::deque<std::function<void()>> waiting;
    size_t done = 0;
};

struct Event {
    Stream* stream = nullptr;
    size_t at = 0;
};

struct Allocation {
    size_t bytes;
    char* mapping;
    size_t mapped;
};

struct Module {
    void* library;
    bool (*has)(const char*);
    std::function<void()>* (*prepare)(const char*, void**);
    const char* (*run)(std::function<void()>*, unsigned, unsigned, unsigned);
};

struct Function {
    Module* module;
    std::string name;
};

static std::recursive_mutex turn;
static std::map<std::string, size_t> calls;
static std::map<Address, Allocation> memories;
static std::map<Address, size_t> pinned;
static std::map<std::pair<size_t, Handle>, Stream> streams;
static std::set<Event*> events;
static std::set<Module*> modules;
static std::map<std::pair<Module*, std::string>, Function> functions;
static size_t used = 0, peak = 0, contexts = 0, waits = 0, complaints = 0;
static int broken = 0;
static thread_local Handle current = nullptr;

// For each thread, the number of its default stream.
static size_t number_of_thread() {
    static size_t threads = 0;
    static thread_local size_t own = 0;
    if (!own) own = ++threads;
    return own;
}

static Stream* stream_of(Handle handle) {
    // CU_STREAM_PER_THREAD is another stream for each thread that names it.
    bool is_own = handle == (Handle)2;
    return &streams[{is_own ? number_of_thread() : 0, handle}];
}

void complain(const std::string& problem) {
    complaints++;
    fprintf(stderr, "stand-in: %s\n", problem.c_str());
}

void break_context(int code, const std::string& problem) {
    if (!broken) complain(problem);
    broken = broken ? broken : code;
}

// Codes after which a context is of no use, as CUDA has it.
static bool is_lasting(int code) { return code == 46 || code == 214 || code == 220 || (code >= 700 && code < 720 && code != 701) || code == 999; }

int call(const char* function, const std::function<int()>& body) {
    std::lock_guard<std::recursive_mutex> guard(turn);
    size_t number = ++calls[function];
    for (const Fault& fault : faults)
        if (fault.function == function && fault.call == number) {
            if (is_lasting(fault.code)) broken = fault.code;
            return fault.code;
        }
    return body();
}

int call_in_context(const char* function, const std::function<int()>& body) {
    return call(function, [&]() -> int {
        if (broken) return broken;
        if (!current) {
            complain(std::string(function) + " in a thread without a context");
            return INVALID_CONTEXT;
        }
        return body();
    });
}

// Work, and addresses that it must not touch.

static thread_local sigjmp_buf* landing = nullptr;
static thread_local Address touched;
static struct sigaction others[NSIG];

static void on_fault(int signal, siginfo_t* information, void* context) {
    if (landing) {
        touched = (Address)information->si_addr;
        siglongjmp(*landing, signal);
    }
    const struct sigaction& other = others[signal];
    if (other.sa_flags & SA_SIGINFO) return other.sa_sigaction(signal, information, context);
    if (other.sa_handler != SIG_DFL && other.sa_handler != SIG_IGN) return other.sa_handler(signal);
    sigaction(signal, &other, nullptr);
}

static void watch_faults() {
    static bool is_watched = false;
    if (is_watched) return;
    is_watched = true;
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) sigaction(signal, &action, &others[signal]);
}

static void do_work(const std::function<void()>& work) {
    if (broken) return;
    watch_faults();
    sigjmp_buf here, *before = landing;
    int signal = sigsetjmp(here, 1);
    if (!signal) {
        landing = &here;
        work();
    }
    landing = before;
    if (signal == SIGSEGV || signal == SIGBUS) {
        char text[32];
        snprintf(text, sizeof text, "%#zx", (size_t)touched);
        break_context(ILLEGAL_ADDRESS, std::string("work touches ") + text + ", which is no memory or was freed");
    } else if (signal) {
        break_context(LAUNCH_FAILED, "work does what C++ leaves undefined");
    }
}

void enqueue(Handle stream, std::function<void()> work) { stream_of(stream)->waiting.push_back(std::move(work)); }

static void finish_to(Stream* stream, size_t end) {
    while (stream->done < end && !stream->waiting.empty()) {
        std::function<void()> work = std::move(stream->waiting.front());
        stream->waiting.pop_front();
        stream->done++;
        do_work(work);
    }
}

static void finish(Stream* stream) { finish_to(stream, stream->done + stream->waiting.size()); }

static void finish_all() {
    for (auto& stream : streams) finish(&stream.second);
}

// The host waits for a stream.
static int wait_for(Stream* stream) {
    waits += !stream->waiting.empty();
    finish(stream);
    return broken;
}

bool is_memory(Address at, size_t bytes) {
    auto next = memories.upper_bound(at);
    if (next == memories.begin()) return false;
    const auto& [start, memory] = *std::prev(next);
    return at + bytes <= start + memory.bytes;
}

static void check(const char* function, Address at, size_t bytes) {
    if (!is_memory(at, bytes))
        break_context(ILLEGAL_ADDRESS, std::string(function) + " of " + std::to_string(bytes) + " bytes that are not in one memory");
}

static size_t rounded(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

static int allocate(Address* at, size_t bytes) {
    if (!bytes) return INVALID_VALUE;
    if (used + bytes > ROOM) return OUT_OF_MEMORY;
    // Its end, rounded up to what a thread moves at once, is the end of a page; the next is closed.
    size_t page = sysconf(_SC_PAGESIZE), room = rounded(bytes, 16), mapped = rounded(room, page) + page;
    char* mapping = (char*)mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED || mprotect(mapping + mapped - page, page, PROT_NONE)) return OUT_OF_MEMORY;
    char* start = mapping + mapped - page - room;
    memset(start, 0xff, bytes);
    memories[(Address)start] = {bytes, mapping, mapped};
    used += bytes;
    peak = used > peak ? used : peak;
    *at = (Address)start;
    return SUCCESS;
}

static int release(Address at) {
    auto memory = memories.find(at);
    if (memory == memories.end()) {
        complain("a memory is freed that there is not");
        return INVALID_VALUE;
    }
    // Closed for good: its addresses never come again.
    mmap(memory->second.mapping, memory->second.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    used -= memory->second.bytes;
    memories.erase(memory);
    return SUCCESS;
}

static bool is_pinned(const void* at, size_t bytes) {
    auto next = pinned.upper_bound((Address)at);
    return next != pinned.begin() && (Address)at + bytes <= std::prev(next)->first + std::prev(next)->second;
}

// What was left and what was done, for STAND_IN_REPORT.
static void report() {
    const char* path = getenv("STAND_IN_REPORT");
    FILE* file = path ? fopen(path, "w") : nullptr;
    if (!file) return;
    fprintf(file, "{\"complaints\": %zu, \"contexts\": %zu, \"waits\": %zu, \"peak_bytes\": %zu, ", complaints, contexts, waits, peak);
    fprintf(file, "\"left\": {\"memories\": %zu, \"bytes\": %zu, \"pinned\": %zu, \"events\": %zu, \"modules\": %zu}, \"calls\": {",
        memories.size(), used, pinned.size(), events.size(), modules.size());
    const char* between = "";
    for (const auto& [name, count] : calls) {
        fprintf(file, "%s\"%s\": %zu", between, name.c_str(), count);
        between = ", ";
    }
    fprintf(file, "}}\n");
    fclose(file);
}

__attribute__((destructor)) static void at_exit() { report(); }

// Devices and contexts.

EXPORT int cuInit(unsigned) {
    return call("cuInit", [] { return DEVICES ? SUCCESS : NO_DEVICE; });
}

EXPORT int cuDeviceGet(int* device, int ordinal) {
    return call("cuDeviceGet", [=] {
        *device = ordinal;
        return ordinal >= 0 && (size_t)ordinal < DEVICES ? SUCCESS : INVALID_DEVICE;
    });
}

EXPORT int cuDeviceGetCount(int* count) {
    return call("cuDeviceGetCount", [=] {
        *count = (int)DEVICES;
        return SUCCESS;
    });
}

EXPORT int cuDeviceGetName(char* name, int room, int) {
    return call("cuDeviceGetName", [=] {
        snprintf(name, room, "stand-in");
        return SUCCESS;
    });
}

EXPORT int cuDeviceGetAttribute(int* value, int attribute, int) {
    return call("cuDeviceGetAttribute", [=]() -> int {
        switch (attribute) {
        case 75: *value = (int)CAPABILITY / 10; return SUCCESS;
        case 76: *value = (int)CAPABILITY % 10; return SUCCESS;
        case 115: *value = 1; return SUCCESS; // memory pools
        default: complain("an attribute of devices that it does not know: " + std::to_string(attribute)); return INVALID_VALUE;
        }
    });
}

EXPORT int cuDeviceTotalMem_v2(size_t* bytes, int) {
    return call("cuDeviceTotalMem_v2", [=] {
        *bytes = ROOM;
        return SUCCESS;
    });
}

EXPORT int cuDevicePrimaryCtxRetain(Handle* context, int device) {
    return call("cuDevicePrimaryCtxRetain", [=]() -> int {
        if (broken) return broken;
        contexts++;
        *context = (Handle)(Address)(0x1000 + device);
        return SUCCESS;
    });
}

EXPORT int cuDevicePrimaryCtxRelease_v2(int) {
    return call("cuDevicePrimaryCtxRelease_v2", [] {
        finish_all();
        contexts--;
        return SUCCESS;
    });
}

EXPORT int cuCtxSetCurrent(Handle context) {
    return call("cuCtxSetCurrent", [=] {
        current = context;
        return SUCCESS;
    });
}

EXPORT int cuCtxGetCurrent(Handle* context) {
    return call("cuCtxGetCurrent", [=] {
        *context = current;
        return SUCCESS;
    });
}

EXPORT int cuCtxSynchronize() {
    return call_in_context("cuCtxSynchronize", [] {
        for (auto& stream : streams) waits += !stream.second.waiting.empty();
        finish_all();
        return broken;
    });
}

// Memory.

EXPORT int cuDeviceGetDefaultMemPool(Handle* pool, int) {
    return call("cuDeviceGetDefaultMemPool", [=] {
        *pool = (Handle)1;
        return SUCCESS;
    });
}

EXPORT int cuMemPoolSetAttribute(Handle, int, void*) {
    return call("cuMemPoolSetAttribute", [] { return SUCCESS; });
}

EXPORT int cuMemGetInfo_v2(size_t* free, size_t* total) {
    return call_in_context("cuMemGetInfo_v2", [=] {
        *free = ROOM - used;
        *total = ROOM;
        return SUCCESS;
    });
}

EXPORT int cuMemAllocAsync(Address* at, size_t bytes, Handle) {
    return call_in_context("cuMemAllocAsync", [=] { return allocate(at, bytes); });
}

EXPORT int cuMemFreeAsync(Address at, Handle stream) {
    return call_in_context("cuMemFreeAsync", [=] {
        enqueue(stream, [=] { release(at); });
        return SUCCESS;
    });
}

EXPORT int cuMemAlloc_v2(Address* at, size_t bytes) {
    return call_in_context("cuMemAlloc_v2", [=] { return allocate(at, bytes); });
}

EXPORT int cuMemFree_v2(Address at) {
    return call_in_context("cuMemFree_v2", [=] {
        finish_all();
        return release(at);
    });
}

EXPORT int cuMemHostAlloc(void** at, size_t bytes, unsigned) {
    return call_in_context("cuMemHostAlloc", [=]() -> int {
        *at = malloc(bytes);
        if (!*at) return OUT_OF_MEMORY;
        pinned[(Address)*at] = bytes;
        return SUCCESS;
    });
}

EXPORT int cuMemFreeHost(void* at) {
    return call("cuMemFreeHost", [=]() -> int {
        // It waits until no device uses the memory.
        finish_all();
        if (!pinned.erase((Address)at)) {
            complain("pinned memory is freed that there is not");
            return INVALID_VALUE;
        }
        free(at);
        return SUCCESS;
    });
}

EXPORT int cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, Handle stream) {
    return call_in_context("cuMemcpyHtoDAsync_v2", [=] {
        check("a copy to the device", to, bytes);
        if (is_pinned(from, bytes)) {
            enqueue(stream, [=] { memcpy((void*)to, from, bytes); });
        } else {
            // Pageable memory has been read when the call returns.
            std::vector<char> read((const char*)from, (const char*)from + bytes);
            enqueue(stream, [=] { memcpy((void*)to, read.data(), bytes); });
        }
        return broken;
    });
}

EXPORT int cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, Handle stream) {
    return call_in_context("cuMemcpyDtoHAsync_v2", [=] {
        check("a copy from the device", from, bytes);
        enqueue(stream, [=] { memcpy(to, (const void*)from, bytes); });
        // Pageable memory has been written when the call returns.
        return is_pinned(to, bytes) ? broken : wait_for(stream_of(stream));
    });
}

EXPORT int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, Handle stream) {
    return call_in_context("cuMemcpyDtoDAsync_v2", [=] {
        check("a copy on the device", to, bytes);
        check("a copy on the device", from, bytes);
        enqueue(stream, [=] { memmove((void*)to, (const void*)from, bytes); });
        return broken;
    });
}

EXPORT int cuMemsetD8Async(Address to, unsigned char byte, size_t bytes, Handle stream) {
    return call_in_context("cuMemsetD8Async", [=] {
        check("a fill", to, bytes);
        enqueue(stream, [=] { memset((void*)to, byte, bytes); });
        return broken;
    });
}

// Streams and events.

EXPORT int cuStreamSynchronize(Handle stream) {
    return call_in_context("cuStreamSynchronize", [=] { return wait_for(stream_of(stream)); });
}

EXPORT int cuStreamCreate(Handle* stream, unsigned) {
    return call_in_context("cuStreamCreate", [=] {
        static Address next = 0x100;
        *stream = (Handle)next++;
        return SUCCESS;
    });
}

EXPORT int cuStreamDestroy_v2(Handle stream) {
    return call_in_context("cuStreamDestroy_v2", [=] {
        finish(stream_of(stream));
        return broken;
    });
}

EXPORT int cuStreamWaitEvent(Handle stream, Handle event, unsigned) {
    return call_in_context("cuStreamWaitEvent", [=] {
        Event then = *(Event*)event;
        if (then.stream) enqueue(stream, [=] { finish_to(then.stream, then.at); });
        return SUCCESS;
    });
}

EXPORT int cuStreamIsCapturing(Handle, int* status) {
    *status = 0;
    return SUCCESS;
}

EXPORT int cuEventCreate(Handle* event, unsigned) {
    return call_in_context("cuEventCreate", [=] {
        *event = *events.insert(new Event).first;
        return SUCCESS;
    });
}

EXPORT int cuEventDestroy_v2(Handle event) {
    return call("cuEventDestroy_v2", [=]() -> int {
        if (!events.erase((Event*)event)) {
            complain("an event is destroyed that there is not");
            return INVALID_HANDLE;
        }
        delete (Event*)event;
        return SUCCESS;
    });
}

EXPORT int cuEventRecord(Handle event, Handle stream) {
    return call_in_context("cuEventRecord", [=] {
        Stream* own = stream_of(stream);
        *(Event*)event = {own, own->done + own->waiting.size()};
        return SUCCESS;
    });
}

EXPORT int cuEventSynchronize(Handle event) {
    return call_in_context("cuEventSynchronize", [=] {
        Event then = *(Event*)event;
        if (then.stream && then.stream->done < then.at) {
            waits++;
            finish_to(then.stream, then.at);
        }
        return broken;
    });
}

EXPORT int cuEventQuery(Handle event) {
    return call_in_context("cuEventQuery", [=]() -> int {
        Event then = *(Event*)event;
        return then.stream && then.stream->done < then.at ? NOT_READY : SUCCESS;
    });
}

// Kernels.

EXPORT int cuModuleLoadData(Handle* module, const void* image) {
    return call_in_context("cuModuleLoadData", [=]() -> int {
        // What the stand-in's NVRTC gives: the path of a library.
        static const char START[] = "stand-in ";
        std::string text((const char*)image);
        if (text.rfind(START, 0) != 0) {
            complain("kernels that the stand-in's NVRTC has not compiled: candle's own");
            return INVALID_IMAGE;
        }
        void* library = dlopen(text.substr(strlen(START)).c_str(), RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            complain(dlerror());
            return INVALID_IMAGE;
        }
        Module* own = new Module{library, nullptr, nullptr, nullptr};
        *(void**)&own->has = dlsym(library, "has");
        *(void**)&own->prepare = dlsym(library, "prepare");
        *(void**)&own->run = dlsym(library, "run");
        *module = *modules.insert(own).first;
        return SUCCESS;
    });
}

EXPORT int cuModuleUnload(Handle module) {
    return call_in_context("cuModuleUnload", [=] {
        finish_all();
        modules.erase((Module*)module);
        return SUCCESS;
    });
}

EXPORT int cuModuleGetFunction(Handle* function, Handle module, const char* name) {
    return call_in_context("cuModuleGetFunction", [=]() -> int {
        if (!((Module*)module)->has(name)) return NOT_FOUND;
        Function& own = functions[{(Module*)module, name}];
        own = {(Module*)module, name};
        *function = &own;
        return SUCCESS;
    });
}

EXPORT int cuLaunchKernel(Handle function, unsigned blocks_x, unsigned blocks_y, unsigned blocks_z, unsigned threads_x,
    unsigned threads_y, unsigned threads_z, unsigned shared, Handle stream, void** arguments, void**) {
    return call_in_context("cuLaunchKernel", [=]() -> int {
        bool fits = blocks_x && blocks_x <= 0x7fffffff && blocks_y && blocks_y <= 65535 && blocks_z == 1 && threads_x && threads_x <= 1024;
        if (!fits || threads_y != 1 || threads_z != 1 || shared) {
            complain("a launch of sizes that no device takes");
            return INVALID_VALUE;
        }
        const Function& own = *(Function*)function;
        auto* prepared = own.module->prepare(own.name.c_str(), arguments);
        enqueue(stream, [=] {
            if (const char* problem = own.module->run(prepared, blocks_x, blocks_y, threads_x))
                break_context(LAUNCH_FAILED, own.name + ": " + problem);
        });
        return SUCCESS;
    });
}

// What errors are called.

EXPORT int cuGetErrorName(int code, const char** name) {
    static const std::map<int, const char*> names = {
        {1, "CUDA_ERROR_INVALID_VALUE"}, {2, "CUDA_ERROR_OUT_OF_MEMORY"}, {46, "CUDA_ERROR_DEVICE_UNAVAILABLE"},
        {100, "CUDA_ERROR_NO_DEVICE"}, {101, "CUDA_ERROR_INVALID_DEVICE"}, {200, "CUDA_ERROR_INVALID_IMAGE"},
        {201, "CUDA_ERROR_INVALID_CONTEXT"}, {214, "CUDA_ERROR_ECC_UNCORRECTABLE"}, {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"},
        {400, "CUDA_ERROR_INVALID_HANDLE"}, {500, "CUDA_ERROR_NOT_FOUND"}, {600, "CUDA_ERROR_NOT_READY"},
        {700, "CUDA_ERROR_ILLEGAL_ADDRESS"}, {719, "CUDA_ERROR_LAUNCH_FAILED"}, {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"},
        {999, "CUDA_ERROR_UNKNOWN"}};
    auto own = names.find(code);
    if (own == names.end()) return INVALID_VALUE;
    *name = own->second;
    return SUCCESS;
}

EXPORT int cuGetErrorString(int code, const char** text) { return cuGetErrorName(code, text); }
