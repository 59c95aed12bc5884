// NVRTC, which compiles kernels for the CPU, and of cuBLAS and cublasLt what multiplies matrices of bf16 and f32.

#include "device.h"

#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

// NVRTC.

struct Program {
    std::string source, log, compiled;
};

static std::string read_file(const std::string& path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

// The directory of this library, where what kernels are compiled with lies beside it.
static std::string home() {
    Dl_info information;
    dladdr((void*)&home, &information);
    std::string path = information.dli_fname;
    return path.substr(0, path.rfind('/'));
}

static std::string names_of(const std::string& source) {
    static const std::regex kernel("__global__\\s+void\\s+(?:__launch_bounds__\\((?:[^()]|\\([^()]*\\))*\\)\\s*)?(\\w+)\\s*\\(");
    std::string names;
    for (std::sregex_iterator next(source.begin(), source.end(), kernel), end; next != end; ++next)
        names += "KERNEL(" + (*next)[1].str() + ") ";
    return names;
}

static int compile(Program* program, const std::vector<std::string>& options) {
    std::string defines, all = program->source;
    for (const std::string& option : options) {
        static const std::string DEFINE = "--define-macro=";
        if (option.rfind(DEFINE, 0) == 0) defines += " '-D" + option.substr(DEFINE.size()) + "'";
        all += option;
    }
    // The same kernels are compiled once for all processes that use this directory.
    std::string place = home() + "/kernels-" + std::to_string(std::hash<std::string>()(all));
    std::string own = place + "." + std::to_string(getpid());
    program->compiled = place + ".so";
    if (access(program->compiled.c_str(), R_OK) == 0) return 0;
    std::ofstream(own + ".cu") << program->source;
    const char* compiler = getenv("CXX");
    std::string command = std::string(compiler ? compiler : "c++") + " -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -w"
        " -fsanitize=undefined -fsanitize-undefined-trap-on-error" + defines + " '-DKERNELS=\"" + own + ".cu\"' '-DNAMES="
        + names_of(program->source) + "' '-I" + home() + "' '" + home() + "/kernels.cpp' -o '" + own + ".so' 2> '" + own + ".log'";
    int status = system(command.c_str());
    program->log = read_file(own + ".log");
    if (status == 0) status = rename((own + ".so").c_str(), program->compiled.c_str());
    unlink((own + ".log").c_str());
    unlink((own + ".cu").c_str());
    return status;
}

EXPORT int nvrtcCreateProgram(Handle* program, const char* source, const char*, int, const char* const*, const char* const*) {
    return call("nvrtcCreateProgram", [=] {
        *program = new Program{source, "", ""};
        return 0;
    });
}

EXPORT int nvrtcCompileProgram(Handle program, int count, const char* const* options) {
    return call("nvrtcCompileProgram", [=] {
        const int COMPILATION = 6;
        return compile((Program*)program, std::vector<std::string>(options, options + count)) ? COMPILATION : 0;
    });
}

static std::string image(Handle program) { return "stand-in " + ((Program*)program)->compiled; }

EXPORT int nvrtcGetPTXSize(Handle program, size_t* size) {
    *size = image(program).size() + 1;
    return 0;
}

EXPORT int nvrtcGetPTX(Handle program, char* text) {
    strcpy(text, image(program).c_str());
    return 0;
}

EXPORT int nvrtcGetProgramLogSize(Handle program, size_t* size) {
    *size = ((Program*)program)->log.size() + 1;
    return 0;
}

EXPORT int nvrtcGetProgramLog(Handle program, char* text) {
    strcpy(text, ((Program*)program)->log.c_str());
    return 0;
}

EXPORT int nvrtcDestroyProgram(Handle* program) {
    delete (Program*)*program;
    *program = nullptr;
    return 0;
}

EXPORT const char* nvrtcGetErrorString(int) { return "NVRTC_ERROR"; }

// Matrices by columns.

const int F32 = 0, BF16 = 14;
const int NOT_INITIALIZED = 1, NOT_SUPPORTED = 15, INVALID = 7;

static size_t size_of(int type) { return type == F32 ? 4 : 2; }

static float read_number(Address at, int type) {
    uint32_t bits = type == F32 ? *(uint32_t*)at : (uint32_t)*(uint16_t*)at << 16;
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static void write_number(Address at, int type, float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    if (type == F32) *(uint32_t*)at = bits;
    else *(uint16_t*)at = isnan(number) ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

struct Matrix {
    Address at;
    int type;
    size_t rows, columns, stride;

    Address place(size_t row, size_t column) const { return at + (column * stride + row) * size_of(type); }
    size_t bytes() const { return rows && columns ? ((columns - 1) * stride + rows) * size_of(type) : 0; }
};

enum class Bend { Nothing, Relu, Gelu };

static float bent(float x, Bend bend) {
    switch (bend) {
    case Bend::Relu: return x > 0 ? x : 0;
    case Bend::Gelu: return 0.5f * x * (1 + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
    default: return x;
    }
}

// out = bend(left · right + beta out + bias), each of the factors transposed where that is said.
struct Product {
    Matrix left, right, out;
    bool left_transposed, right_transposed;
    float alpha, beta;
    Address bias;
    Bend bend;

    bool fits() const {
        size_t rows = left_transposed ? left.columns : left.rows, inner = left_transposed ? left.rows : left.columns;
        size_t other = right_transposed ? right.columns : right.rows, columns = right_transposed ? right.rows : right.columns;
        bool strides = left.stride >= left.rows && right.stride >= right.rows && out.stride >= out.rows;
        return strides && rows == out.rows && inner == other && columns == out.columns;
    }

    bool is_in_memory() const {
        bool has_bias = !bias || is_memory(bias, out.rows * size_of(out.type));
        return has_bias && is_memory(left.at, left.bytes()) && is_memory(right.at, right.bytes()) && is_memory(out.at, out.bytes());
    }

    void compute() const {
        size_t inner = left_transposed ? left.rows : left.columns;
        std::vector<float> one(inner * out.rows), other(inner * out.columns);
        for (size_t row = 0; row < out.rows; row++)
            for (size_t at = 0; at < inner; at++)
                one[row * inner + at] = read_number(left_transposed ? left.place(at, row) : left.place(row, at), left.type);
        for (size_t column = 0; column < out.columns; column++)
            for (size_t at = 0; at < inner; at++)
                other[column * inner + at] = read_number(right_transposed ? right.place(column, at) : right.place(at, column), right.type);
        for (size_t column = 0; column < out.columns; column++)
            for (size_t row = 0; row < out.rows; row++) {
                float sum = 0;
                for (size_t at = 0; at < inner; at++) sum += one[row * inner + at] * other[column * inner + at];
                sum *= alpha;
                if (beta) sum += beta * read_number(out.place(row, column), out.type);
                if (bias) sum += read_number(bias + row * size_of(out.type), out.type);
                write_number(out.place(row, column), out.type, bent(sum, bend));
            }
    }
};

static int multiply(const Product& product, Handle stream) {
    if (!product.fits()) {
        complain("a product of sizes that do not fit");
        return INVALID;
    }
    enqueue(stream, [=] {
        if (product.is_in_memory()) product.compute();
        else break_context(ILLEGAL_ADDRESS, "a product reaches beyond its memories");
    });
    return 0;
}

// cuBLAS.

struct Blas {
    Handle stream;
};

EXPORT int cublasCreate_v2(Handle* handle) {
    return call("cublasCreate_v2", [=] {
        *handle = new Blas{};
        return 0;
    });
}

EXPORT int cublasDestroy_v2(Handle handle) {
    return call("cublasDestroy_v2", [=] {
        delete (Blas*)handle;
        return 0;
    });
}

EXPORT int cublasSetStream_v2(Handle handle, Handle stream) {
    return call("cublasSetStream_v2", [=] {
        ((Blas*)handle)->stream = stream;
        return 0;
    });
}

EXPORT int cublasSetMathMode(Handle, int) {
    return call("cublasSetMathMode", [] { return 0; });
}

EXPORT int cublasGemmEx(Handle handle, int left_operation, int right_operation, int rows, int columns, int inner,
    const void* alpha, const void* left, int left_type, int left_stride, const void* right, int right_type, int right_stride,
    const void* beta, void* out, int out_type, int out_stride, int, int) {
    return call_in_context("cublasGemmEx", [=]() -> int {
        for (int type : {left_type, right_type, out_type})
            if (type != F32 && type != BF16) return NOT_SUPPORTED;
        bool left_transposed = left_operation == 1, right_transposed = right_operation == 1;
        size_t m = rows, n = columns, k = inner;
        Product product = {
            {(Address)left, left_type, left_transposed ? k : m, left_transposed ? m : k, (size_t)left_stride},
            {(Address)right, right_type, right_transposed ? n : k, right_transposed ? k : n, (size_t)right_stride},
            {(Address)out, out_type, m, n, (size_t)out_stride},
            left_transposed, right_transposed, *(const float*)alpha, *(const float*)beta, 0, Bend::Nothing};
        return multiply(product, ((Blas*)handle)->stream);
    });
}

// cublasLt.

struct Description {
    int left_transposed = 0, right_transposed = 0, epilogue = 1;
    Address bias = 0;
};

EXPORT int cublasLtCreate(Handle* handle) {
    return call("cublasLtCreate", [=] {
        *handle = new char;
        return 0;
    });
}

EXPORT int cublasLtDestroy(Handle handle) {
    return call("cublasLtDestroy", [=] {
        delete (char*)handle;
        return 0;
    });
}

EXPORT int cublasLtMatmulDescCreate(Handle* description, int, int) {
    return call("cublasLtMatmulDescCreate", [=] {
        *description = new Description;
        return 0;
    });
}

EXPORT int cublasLtMatmulDescDestroy(Handle description) {
    return call("cublasLtMatmulDescDestroy", [=] {
        delete (Description*)description;
        return 0;
    });
}

EXPORT int cublasLtMatmulDescSetAttribute(Handle description, int attribute, const void* value, size_t) {
    return call("cublasLtMatmulDescSetAttribute", [=] {
        Description* own = (Description*)description;
        int number = *(const int*)value;
        switch (attribute) {
        case 3: own->left_transposed = number; return 0;
        case 4: own->right_transposed = number; return 0;
        case 5: return number ? NOT_SUPPORTED : 0;
        case 7: own->epilogue = number; return 0;
        case 8: own->bias = *(const Address*)value; return 0;
        default: return NOT_SUPPORTED;
        }
    });
}

EXPORT int cublasLtMatrixLayoutCreate(Handle* layout, int type, uint64_t rows, uint64_t columns, int64_t stride) {
    return call("cublasLtMatrixLayoutCreate", [=] {
        *layout = new Matrix{0, type, rows, columns, (size_t)stride};
        return 0;
    });
}

EXPORT int cublasLtMatrixLayoutDestroy(Handle layout) {
    return call("cublasLtMatrixLayoutDestroy", [=] {
        delete (Matrix*)layout;
        return 0;
    });
}

EXPORT int cublasLtMatrixLayoutSetAttribute(Handle, int, const void*, size_t) { return NOT_SUPPORTED; }

EXPORT int cublasLtMatmulPreferenceCreate(Handle* preference) {
    *preference = new char;
    return 0;
}

EXPORT int cublasLtMatmulPreferenceDestroy(Handle preference) {
    delete (char*)preference;
    return 0;
}

EXPORT int cublasLtMatmulPreferenceSetAttribute(Handle, int, const void*, size_t) { return 0; }

struct Heuristic {
    uint64_t algorithm[8];
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

EXPORT int cublasLtMatmulAlgoGetHeuristic(
    Handle, Handle, Handle, Handle, Handle, Handle, Handle, int, Heuristic* found, int* count) {
    return call("cublasLtMatmulAlgoGetHeuristic", [=] {
        *found = {};
        *count = 1;
        return 0;
    });
}

EXPORT int cublasLtMatmul(Handle handle, Handle description, const void* alpha, const void* left, Handle left_layout,
    const void* right, Handle right_layout, const void* beta, const void*, Handle, void* out, Handle out_layout, const void*,
    void* workspace, size_t workspace_bytes, Handle stream) {
    return call_in_context("cublasLtMatmul", [=]() -> int {
        if (!handle) return NOT_INITIALIZED;
        if (!is_memory((Address)workspace, workspace_bytes)) break_context(ILLEGAL_ADDRESS, "a workspace that is no memory");
        const Description& own = *(Description*)description;
        auto matrix = [](const void* at, Handle layout) {
            Matrix matrix = *(Matrix*)layout;
            matrix.at = (Address)at;
            return matrix;
        };
        static const std::map<int, Bend> bends = {
            {1, Bend::Nothing}, {2, Bend::Relu}, {4, Bend::Nothing}, {6, Bend::Relu}, {32, Bend::Gelu}, {36, Bend::Gelu}};
        auto bend = bends.find(own.epilogue);
        if (bend == bends.end()) return NOT_SUPPORTED;
        Product product = {matrix(left, left_layout), matrix(right, right_layout), matrix(out, out_layout),
            own.left_transposed == 1, own.right_transposed == 1, *(const float*)alpha, *(const float*)beta,
            own.epilogue & 4 ? own.bias : 0, bend->second};
        return multiply(product, stream);
    });
}

// cuRAND makes candle's random numbers, of which nothing is asked.

EXPORT int curandCreateGenerator(Handle* generator, int) {
    *generator = new char;
    return 0;
}

EXPORT int curandDestroyGenerator(Handle generator) {
    delete (char*)generator;
    return 0;
}

EXPORT int curandSetStream(Handle, Handle) { return 0; }
EXPORT int curandSetPseudoRandomGeneratorSeed(Handle, unsigned long long) { return 0; }
EXPORT int curandSetGeneratorOffset(Handle, unsigned long long) { return 0; }
