#define _GNU_SOURCE
#include "CStorage.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

mneme_crc32 mneme_fast_crc32(void) {
    void *library = dlopen("libdeflate.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library) library = dlopen("libdeflate.so", RTLD_NOW | RTLD_LOCAL);
    return library ? (mneme_crc32)dlsym(library, "libdeflate_crc32") : NULL;
}

int mneme_exchange(const char *first, const char *second) {
#if defined(__linux__) && defined(RENAME_EXCHANGE)
    return renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE);
#else
    (void)first;
    (void)second;
    errno = ENOSYS;
    return -1;
#endif
}

enum { mapping_count = 1024, path_size = 1024 };

/* A slot is free while its `start` is 0, and being filled while it is 1. */
static struct {
    atomic_uintptr_t start;
    uintptr_t end;
    char path[path_size];
} mappings[mapping_count];

int mneme_remember_mapping(const void *start, unsigned long count, const char *path) {
    for (int number = 0; number < mapping_count; number++) {
        uintptr_t none = 0;
        if (!atomic_compare_exchange_strong(&mappings[number].start, &none, 1)) continue;
        mappings[number].end = (uintptr_t)start + count;
        size_t length = strlen(path), first = length < path_size ? 0 : length - path_size + 1;
        strcpy(mappings[number].path, path + first);
        atomic_store(&mappings[number].start, (uintptr_t)start);
        return number;
    }
    return -1;
}

void mneme_forget_mapping(int number) {
    if (number >= 0) atomic_store(&mappings[number].start, 0);
}

static int end_status;
static struct sigaction before;

static void say(const char *text) {
    ssize_t ignored = write(2, text, strlen(text));
    (void)ignored;
}

static void handle_lost_mapping(int signal, siginfo_t *information, void *context) {
    uintptr_t address = (uintptr_t)information->si_addr;
    for (int number = 0; information->si_code > 0 && number < mapping_count; number++) {
        uintptr_t start = atomic_load(&mappings[number].start);
        if (start <= 1 || address < start || address >= mappings[number].end) continue;
        say("mneme: error: ");
        say(mappings[number].path);
        say(": bytes of it have gone while it was read: it was cut off, or its device has failed; bring it back, then start again\n");
        _exit(end_status);
    }
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(signal, information, context);
    } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
        before.sa_handler(signal);
    } else {
        sigaction(signal, &before, 0);
        raise(signal);
    }
}

int mneme_end_on_lost_mapping(int status) {
    struct sigaction action = {0};
    end_status = status;
    if (sigaction(SIGBUS, 0, &before) != 0) return -1;
    if (before.sa_flags & SA_SIGINFO && before.sa_sigaction == handle_lost_mapping) return 0;
    action.sa_sigaction = handle_lost_mapping;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, 0);
}
