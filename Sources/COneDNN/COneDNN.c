#if defined(__linux__)
#define _GNU_SOURCE
#endif

#include "COneDNN.h"

#if defined(__has_include)
#if __has_include(<oneapi/dnnl/dnnl.h>)
#define MNEME_HAS_ONEDNN 1
#endif
#endif

#if MNEME_HAS_ONEDNN

#include <dlfcn.h>
#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if DNNL_VERSION_MAJOR != 2 && DNNL_VERSION_MAJOR != 3
#error "Mneme knows API versions 2 and 3 of oneDNN"
#endif

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#if defined(__APPLE__)
#define LIBRARY "libdnnl." TEXT(DNNL_VERSION_MAJOR) ".dylib"
#else
#define LIBRARY "libdnnl.so." TEXT(DNNL_VERSION_MAJOR)
#endif

#define COMMON_FUNCTIONS(F)                                                                                                                  \
    F(dnnl_version) F(dnnl_get_effective_cpu_isa) F(dnnl_engine_create) F(dnnl_stream_create) F(dnnl_stream_wait) F(dnnl_stream_destroy)       \
    F(dnnl_primitive_attr_create) F(dnnl_primitive_attr_destroy) F(dnnl_primitive_attr_set_scratchpad_mode)                                  \
    F(dnnl_primitive_attr_set_post_ops) F(dnnl_post_ops_create) F(dnnl_post_ops_destroy) F(dnnl_post_ops_append_sum)                          \
    F(dnnl_post_ops_append_eltwise) F(dnnl_primitive_desc_query_md) F(dnnl_primitive_desc_query) F(dnnl_primitive_desc_destroy)               \
    F(dnnl_primitive_create) F(dnnl_primitive_execute) F(dnnl_primitive_destroy) F(dnnl_memory_create) F(dnnl_memory_set_data_handle)         \
    F(dnnl_memory_destroy) F(dnnl_memory_desc_get_size) F(dnnl_memory_desc_equal) F(dnnl_memory_get_memory_desc)                            \
    F(dnnl_reorder_primitive_desc_create)

#if DNNL_VERSION_MAJOR == 2
#define FUNCTIONS(F) COMMON_FUNCTIONS(F) F(dnnl_memory_desc_init_by_strides) F(dnnl_memory_desc_init_by_tag) F(dnnl_matmul_desc_init) F(dnnl_primitive_desc_create)
#else
#define FUNCTIONS(F)                                                                                                                         \
    COMMON_FUNCTIONS(F) F(dnnl_memory_desc_create_with_strides) F(dnnl_memory_desc_create_with_tag) F(dnnl_memory_desc_destroy)               \
    F(dnnl_matmul_primitive_desc_create)
#endif

/// The library's functions, found when it is loaded.
static struct {
#define DECLARE(name) __typeof__(&name) name;
    FUNCTIONS(DECLARE)
#undef DECLARE
    void (*omp_set_num_threads)(int);
} library;

static dnnl_engine_t engine;

typedef struct {
    dnnl_primitive_t primitive;
    dnnl_stream_t stream;
    dnnl_memory_t a, b, c, bias, scratch;
    /// For a packed B: what packs it, B as it comes, and its size afterwards.
    dnnl_primitive_t packing;
    dnnl_memory_t plainB;
    size_t packedBytes;
} Product;

int mneme_onednn_api(void) { return DNNL_VERSION_MAJOR; }

const char *mneme_onednn_library(void) { return LIBRARY; }

const char *mneme_onednn_open(void) {
    static char reason[512];
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        const char *text = dlerror();
        snprintf(reason, sizeof reason, "%s", text ? text : LIBRARY " cannot be loaded");
        return reason;
    }
#define FIND(name)                                                                                                                           \
    library.name = (__typeof__(&name))dlsym(handle, #name);                                                                                  \
    if (!library.name) return LIBRARY " lacks the function " #name;
    FUNCTIONS(FIND)
#undef FIND
    const dnnl_version_t *version = library.dnnl_version();
    if (version->major != DNNL_VERSION_MAJOR) return LIBRARY " is of another API version than its header";
    if (version->cpu_runtime == DNNL_RUNTIME_OMP) {
        library.omp_set_num_threads = (void (*)(int))dlsym(handle, "omp_set_num_threads");
        if (!library.omp_set_num_threads) return LIBRARY " brings no OpenMP runtime";
    } else if (version->cpu_runtime != DNNL_RUNTIME_SEQ) {
        return LIBRARY " is built for a threading runtime that cannot be held to the calling thread (OpenMP and sequential builds can)";
    }
    mneme_onednn_enter_thread();
    if (library.dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success) return LIBRARY " finds no processor to run on";
    return NULL;
}

void mneme_onednn_enter_thread(void) {
    if (library.omp_set_num_threads) library.omp_set_num_threads(1);
}

int mneme_onednn_version(void) {
    const dnnl_version_t *version = library.dnnl_version();
    return version->major * 10000 + version->minor * 100 + version->patch;
}

const char *mneme_onednn_instruction_set(void) {
    unsigned set = (unsigned)library.dnnl_get_effective_cpu_isa();
#define NAME(isa) if ((set & (unsigned)dnnl_cpu_isa_##isa) == (unsigned)dnnl_cpu_isa_##isa) return #isa;
    NAME(avx512_core_amx)
    NAME(avx512_core_bf16)
    NAME(avx512_core_vnni)
    NAME(avx512_core)
    NAME(avx2_vnni)
    NAME(avx2)
    NAME(avx)
    NAME(sse41)
#undef NAME
    return "default";
}

bool mneme_onednn_has_native_bfloat16(void) {
    unsigned wanted = (unsigned)dnnl_cpu_isa_avx512_core_bf16;
    return ((unsigned)library.dnnl_get_effective_cpu_isa() & wanted) == wanted;
}

#if DNNL_VERSION_MAJOR == 2

typedef dnnl_memory_desc_t Description;
typedef const dnnl_memory_desc_t *DescriptionReference;
typedef const dnnl_memory_desc_t *MemoryDescription;
#define REFERENCE(description) (&(description))

static bool describe(Description *description, int64_t rows, int64_t columns, int64_t rowStride, int64_t columnStride, dnnl_data_type_t type) {
    dnnl_dims_t extents = {rows, columns}, strides = {rowStride, columnStride};
    return library.dnnl_memory_desc_init_by_strides(description, 2, extents, type, strides) == dnnl_success;
}

static bool describeAnyOrder(Description *description, int64_t rows, int64_t columns, dnnl_data_type_t type) {
    dnnl_dims_t extents = {rows, columns};
    return library.dnnl_memory_desc_init_by_tag(description, 2, extents, type, dnnl_format_tag_any) == dnnl_success;
}

static void forget(Description *description) { (void)description; }

static bool compile(
    dnnl_primitive_desc_t *result, Description *a, Description *b, Description *bias, Description *c, dnnl_primitive_attr_t attributes) {
    dnnl_matmul_desc_t description;
    return library.dnnl_matmul_desc_init(&description, a, b, bias, c) == dnnl_success
        && library.dnnl_primitive_desc_create(result, &description, attributes, engine, NULL) == dnnl_success;
}

static dnnl_status_t appendFactor(dnnl_post_ops_t operations, float factor) {
    return library.dnnl_post_ops_append_eltwise(operations, 1, dnnl_eltwise_linear, factor, 0);
}

static dnnl_status_t appendSum(dnnl_post_ops_t operations, float factor) { return library.dnnl_post_ops_append_sum(operations, factor); }

#else

typedef dnnl_memory_desc_t Description;
typedef const_dnnl_memory_desc_t DescriptionReference;
typedef const_dnnl_memory_desc_t MemoryDescription;
#define REFERENCE(description) (description)

static bool describe(Description *description, int64_t rows, int64_t columns, int64_t rowStride, int64_t columnStride, dnnl_data_type_t type) {
    dnnl_dims_t extents = {rows, columns}, strides = {rowStride, columnStride};
    return library.dnnl_memory_desc_create_with_strides(description, 2, extents, type, strides) == dnnl_success;
}

static bool describeAnyOrder(Description *description, int64_t rows, int64_t columns, dnnl_data_type_t type) {
    dnnl_dims_t extents = {rows, columns};
    return library.dnnl_memory_desc_create_with_tag(description, 2, extents, type, dnnl_format_tag_any) == dnnl_success;
}

static void forget(Description *description) {
    if (*description) library.dnnl_memory_desc_destroy(*description);
}

static bool compile(
    dnnl_primitive_desc_t *result, Description *a, Description *b, Description *bias, Description *c, dnnl_primitive_attr_t attributes) {
    return library.dnnl_matmul_primitive_desc_create(result, engine, *a, *b, bias ? *bias : NULL, *c, attributes) == dnnl_success;
}

static dnnl_status_t appendFactor(dnnl_post_ops_t operations, float factor) {
    return library.dnnl_post_ops_append_eltwise(operations, dnnl_eltwise_linear, factor, 0);
}

static dnnl_status_t appendSum(dnnl_post_ops_t operations, float factor) {
    return library.dnnl_post_ops_append_sum(operations, factor, 0, dnnl_data_type_undef);
}

#endif

/// What is to be done with the sums: times alpha, plus beta times what was there; scratch memory comes from the caller.
static bool makeAttributes(dnnl_primitive_attr_t *attributes, const MnemeOneDNNProduct *product) {
    if (library.dnnl_primitive_attr_create(attributes) != dnnl_success) return false;
    if (library.dnnl_primitive_attr_set_scratchpad_mode(*attributes, dnnl_scratchpad_mode_user) != dnnl_success) return false;
    if (product->alpha == 1 && product->beta == 0) return true;
    dnnl_post_ops_t operations = NULL;
    if (library.dnnl_post_ops_create(&operations) != dnnl_success) return false;
    bool isDone = (product->alpha == 1 || appendFactor(operations, product->alpha) == dnnl_success)
        && (product->beta == 0 || appendSum(operations, product->beta) == dnnl_success)
        && library.dnnl_primitive_attr_set_post_ops(*attributes, operations) == dnnl_success;
    library.dnnl_post_ops_destroy(operations);
    return isDone;
}

static bool makeMemory(dnnl_memory_t *memory, DescriptionReference description) {
    return library.dnnl_memory_create(memory, description, engine, DNNL_MEMORY_NONE) == dnnl_success;
}

/// Makes what brings `plain` into the order `packed`.
static bool makePacking(Product *product, DescriptionReference plain, DescriptionReference packed) {
    dnnl_primitive_desc_t description = NULL;
    bool isDone = packed && library.dnnl_reorder_primitive_desc_create(&description, plain, engine, packed, engine, NULL) == dnnl_success
        && library.dnnl_primitive_create(&product->packing, description) == dnnl_success && makeMemory(&product->plainB, plain);
    if (description) library.dnnl_primitive_desc_destroy(description);
    if (isDone) product->packedBytes = library.dnnl_memory_desc_get_size(packed);
    return isDone;
}

void *mneme_onednn_create(const MnemeOneDNNProduct *product, size_t *scratchBytes) {
    dnnl_data_type_t operandType = product->operandsAreBFloat16 ? dnnl_bf16 : dnnl_f32;
    dnnl_data_type_t resultType = product->resultIsBFloat16 ? dnnl_bf16 : dnnl_f32;
    Product *result = calloc(1, sizeof *result);
    Description a = {0}, b = {0}, c = {0}, bias = {0}, anyB = {0};
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t description = NULL;
    const char *implementation = NULL;
    bool isDone = result
        && describe(
            &a, product->m, product->k, product->isATransposed ? 1 : product->leadingA, product->isATransposed ? product->leadingA : 1,
            operandType)
        && describe(
            &b, product->k, product->n, product->isBTransposed ? 1 : product->leadingB, product->isBTransposed ? product->leadingB : 1,
            operandType)
        && describe(&c, product->m, product->n, product->leadingC, 1, resultType) && describe(&bias, 1, product->n, product->n, 1, dnnl_f32)
        && (!product->isBPacked || describeAnyOrder(&anyB, product->k, product->n, operandType)) && makeAttributes(&attributes, product)
        && compile(&description, &a, product->isBPacked ? &anyB : &b, product->hasBias ? &bias : NULL, &c, attributes)
        && library.dnnl_primitive_desc_query(description, dnnl_query_impl_info_str, 0, &implementation) == dnnl_success
        && strncmp(implementation, "ref", 3) != 0 && library.dnnl_primitive_create(&result->primitive, description) == dnnl_success
        && library.dnnl_stream_create(&result->stream, engine, dnnl_stream_default_flags) == dnnl_success && makeMemory(&result->a, REFERENCE(a))
        && makeMemory(&result->b, product->isBPacked ? library.dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0) : REFERENCE(b))
        && makeMemory(&result->c, REFERENCE(c))
        && (!product->isBPacked || makePacking(result, REFERENCE(b), library.dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0)))
        && (!product->hasBias || makeMemory(&result->bias, REFERENCE(bias)));
    *scratchBytes = 0;
    if (isDone) {
        DescriptionReference scratch = library.dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
        *scratchBytes = scratch ? library.dnnl_memory_desc_get_size(scratch) : 0;
        if (*scratchBytes > 0) isDone = makeMemory(&result->scratch, scratch);
    }
    if (description) library.dnnl_primitive_desc_destroy(description);
    if (attributes) library.dnnl_primitive_attr_destroy(attributes);
    forget(&a);
    forget(&b);
    forget(&c);
    forget(&bias);
    forget(&anyB);
    if (isDone) return result;
    if (result) mneme_onednn_destroy(result);
    return NULL;
}

bool mneme_onednn_execute(void *handle, const void *a, const void *b, const float *bias, void *c, void *scratch) {
    Product *product = handle;
    dnnl_exec_arg_t arguments[5] = {
        {DNNL_ARG_SRC, product->a}, {DNNL_ARG_WEIGHTS, product->b}, {DNNL_ARG_DST, product->c},
    };
    int count = 3;
    bool isDone = library.dnnl_memory_set_data_handle(product->a, (void *)a) == dnnl_success
        && library.dnnl_memory_set_data_handle(product->b, (void *)b) == dnnl_success
        && library.dnnl_memory_set_data_handle(product->c, c) == dnnl_success;
    if (product->bias) {
        isDone = isDone && library.dnnl_memory_set_data_handle(product->bias, (void *)bias) == dnnl_success;
        arguments[count++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, product->bias};
    }
    if (product->scratch) {
        isDone = isDone && library.dnnl_memory_set_data_handle(product->scratch, scratch) == dnnl_success;
        arguments[count++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, product->scratch};
    }
    return isDone && library.dnnl_primitive_execute(product->primitive, product->stream, count, arguments) == dnnl_success
        && library.dnnl_stream_wait(product->stream) == dnnl_success;
}

void mneme_onednn_destroy(void *handle) {
    Product *product = handle;
    dnnl_memory_t memories[] = {product->a, product->b, product->c, product->bias, product->scratch, product->plainB};
    for (size_t index = 0; index < sizeof memories / sizeof *memories; index += 1) {
        if (memories[index]) library.dnnl_memory_destroy(memories[index]);
    }
    if (product->stream) library.dnnl_stream_destroy(product->stream);
    if (product->primitive) library.dnnl_primitive_destroy(product->primitive);
    if (product->packing) library.dnnl_primitive_destroy(product->packing);
    free(product);
}

size_t mneme_onednn_packed_bytes(void *handle) { return ((Product *)handle)->packedBytes; }

bool mneme_onednn_pack(void *handle, const void *b, void *packed) {
    Product *product = handle;
    dnnl_exec_arg_t arguments[2] = {{DNNL_ARG_FROM, product->plainB}, {DNNL_ARG_TO, product->b}};
    return product->packing && library.dnnl_memory_set_data_handle(product->plainB, (void *)b) == dnnl_success
        && library.dnnl_memory_set_data_handle(product->b, packed) == dnnl_success
        && library.dnnl_primitive_execute(product->packing, product->stream, 2, arguments) == dnnl_success
        && library.dnnl_stream_wait(product->stream) == dnnl_success;
}

bool mneme_onednn_packs_alike(void *first, void *second) {
    Product *a = first, *b = second;
    if (!a->packing || !b->packing) return false;
    MemoryDescription x, y;
    return library.dnnl_memory_get_memory_desc(a->b, &x) == dnnl_success && library.dnnl_memory_get_memory_desc(b->b, &y) == dnnl_success
        && library.dnnl_memory_desc_equal(x, y);
}

#else

int mneme_onednn_api(void) { return 0; }
const char *mneme_onednn_library(void) { return "libdnnl.so"; }
const char *mneme_onednn_open(void) { return "Mneme was built without oneDNN's headers (Debian: libdnnl-dev)"; }
void mneme_onednn_enter_thread(void) {}
int mneme_onednn_version(void) { return 0; }
const char *mneme_onednn_instruction_set(void) { return "none"; }
bool mneme_onednn_has_native_bfloat16(void) { return false; }
void *mneme_onednn_create(const MnemeOneDNNProduct *product, size_t *scratchBytes) { return 0; }
bool mneme_onednn_execute(void *product, const void *a, const void *b, const float *bias, void *c, void *scratch) { return false; }
void mneme_onednn_destroy(void *product) {}
size_t mneme_onednn_packed_bytes(void *product) { return 0; }
bool mneme_onednn_pack(void *product, const void *b, void *packed) { return false; }
bool mneme_onednn_packs_alike(void *first, void *second) { return false; }

#endif
