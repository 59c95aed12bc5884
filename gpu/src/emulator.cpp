// Runs one kernel of KERNELS, a file, on the CPU, for tests. NAMES are those of its kernels, as KERNEL(name) each.
// Behind each memory lies a page that nobody may touch.
//
// usage: emulator KERNEL BLOCKS_X BLOCKS_Y THREADS ORDER ARGUMENT...
// ORDER: + or -, the order of the turns. ARGUMENT: mN for memory N of the input; i, u or f and a number.
// Standard input: for each memory its kind (h, f or w), its size in bytes and its bytes; standard output: the same bytes after.

#include "emulator.h"

#include <sys/mman.h>
#include <unistd.h>

#include <type_traits>
#include <utility>

[[noreturn]] static void fail(const std::string& problem) {
    fprintf(stderr, "emulator: %s\n", problem.c_str());
    exit(1);
}

// Memory and arguments.

struct Memory {
    char kind;
    size_t size;
    char* bytes;
};

static void read_all(void* to, size_t size) {
    if (fread(to, 1, size, stdin) != size) fail("the input ends early");
}

static std::vector<Memory> read_memories() {
    std::vector<Memory> memories;
    for (int kind; (kind = getchar()) != EOF;) {
        uint64_t size;
        read_all(&size, sizeof size);
        // Its end, rounded up to what a thread moves at once, lies at the end of a page, and the next page is closed.
        size_t page = sysconf(_SC_PAGESIZE), room = (size + 15) / 16 * 16, pages = (room + page - 1) / page * page;
        char* start = (char*)mmap(nullptr, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (start == MAP_FAILED || mprotect(start + pages, page, PROT_NONE)) fail("no memory");
        memories.push_back({(char)kind, size, start + pages - room});
        read_all(memories.back().bytes, size);
    }
    return memories;
}

struct Argument {
    std::string text;
    std::vector<Memory>& memories;

    template <class T> operator T() const {
        using Value = std::remove_pointer_t<T>;
        using Number = std::remove_const_t<Value>;
        if constexpr (std::is_pointer_v<T>) {
            char kind = std::is_same_v<Number, float> ? 'f' : std::is_same_v<Number, unsigned> ? 'w' : 'h';
            if (text[0] != 'm') fail(text + " where a memory is expected");
            Memory& memory = memories.at(std::stoul(text.substr(1)));
            if (memory.kind != kind) fail(text + " is of another kind");
            return (T)memory.bytes;
        } else {
            char kind = std::is_same_v<T, int> ? 'i' : std::is_same_v<T, unsigned> ? 'u' : 'f';
            if (text[0] != kind) fail(text + " where another kind of number is expected");
            return (T)std::stod(text.substr(1));
        }
    }
};

template <class... Parameters, size_t... Numbers>
static std::function<void()> apply_each(
    void (*kernel)(Parameters...), const std::vector<Argument>& arguments, std::index_sequence<Numbers...>) {
    if (arguments.size() != sizeof...(Parameters)) fail("another number of arguments than the kernel has parameters");
    return [=] { kernel((Parameters)arguments[Numbers]...); };
}

template <class... Parameters>
static std::function<void()> apply(void (*kernel)(Parameters...), const std::vector<Argument>& arguments) {
    return apply_each(kernel, arguments, std::index_sequence_for<Parameters...>());
}

#include KERNELS

static std::function<void()> kernel_with(const std::string& name, const std::vector<Argument>& arguments) {
#define KERNEL(kernel) \
    if (name == #kernel) return apply(kernel, arguments);
    NAMES
    fail("no kernel is called " + name);
}

int main(int count, char** words) {
    if (count < 6) fail("usage: see the source");
    std::vector<Memory> memories = read_memories();
    std::vector<Argument> arguments;
    for (int number = 6; number < count; number++) arguments.push_back({words[number], memories});
    kernel = kernel_with(words[1], arguments);
    Place blocks = {(unsigned)std::stoul(words[2]), (unsigned)std::stoul(words[3])};
    run_grid(blocks, std::stoul(words[4]), words[5][0] == '-');
    for (Memory& memory : memories) fwrite(memory.bytes, 1, memory.size, stdout);
}
