// Functions that the program links and no test calls.

#include <stdio.h>
#include <stdlib.h>

#define ABSENT(name) \
    extern "C" __attribute__((visibility("default"))) void name() { \
        fprintf(stderr, "stand-in: %s is not there\n", #name); \
        abort(); \
    }

ABSENT(cuCtxDestroy_v2)
ABSENT(cuMemcpyPeerAsync)
ABSENT(cuModuleLoad)
ABSENT(cublasDgemmStridedBatched)
ABSENT(cublasGemmStridedBatchedEx)
