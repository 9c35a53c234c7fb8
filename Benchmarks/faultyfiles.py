"""A library that, loaded before the others, lets chosen file operations of a program fail: the n-th one below a folder, with an error, half done, or by SIGKILL.

strace can inject faults too, but counts the calls of each thread for itself; here the n-th call is one call, whichever thread makes it.
"""

import os
import subprocess

# Each operation that names a folder's file, or has it open, is counted from the first one on whose path holds FAULT_FROM. The process of rank FAULT_RANK
# fails at number FAULT_AT. With FAULT_LOG that operation is a line there (every operation where none is to fail): number, name, what it does, path.
SOURCE = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { READS = 'r', CHANGES = 'c', TAKES_SPACE = 's', WRITES = 'w' };

static const char *folder, *from, *kind;
static long at;
static int log_file = -1;
static atomic_int counting;
static atomic_long count;

__attribute__((constructor)) static void start(void) {
    const char *rank = getenv("OMPI_COMM_WORLD_RANK"), *wanted = getenv("FAULT_RANK"), *log = getenv("FAULT_LOG");
    if (wanted && strcmp(rank ? rank : "0", wanted)) return;
    /* Not what starts it: shells, mpirun. */
    if (!getenv("FAULT_PROGRAM") || strcmp(program_invocation_short_name, getenv("FAULT_PROGRAM"))) return;
    from = getenv("FAULT_FROM");
    kind = getenv("FAULT_KIND");
    at = getenv("FAULT_AT") ? atol(getenv("FAULT_AT")) : 0;
    if (log) log_file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    folder = getenv("FAULT_FOLDER");
}

/* 0: go on; -1: write half; otherwise the errno to fail with. */
static int fault(const char *name, char effect, const char *path) {
    if (!folder || !path || strncmp(path, folder, strlen(folder))) return 0;
    if (!counting) {
        if (!from || !strstr(path, from)) return 0;
        counting = 1;
    }
    long number = ++count;
    if (log_file >= 0 && (!at || number == at)) {
        char line[4400];
        int length = snprintf(line, sizeof line, "%ld %s %c %s\n", number, name, effect, path);
        syscall(SYS_write, log_file, line, length);
    }
    if (number != at || !kind) return 0;
    if (!strcmp(kind, "kill")) {
        syscall(SYS_kill, getpid(), SIGKILL);
        for (;;) syscall(SYS_pause);
    }
    return !strcmp(kind, "short") ? -1 : !strcmp(kind, "ENOSPC") ? ENOSPC : EIO;
}

static int open_fault(const char *name, char effect, int descriptor) {
    char link[64], path[4096];
    if (!folder) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return fault(name, effect, path);
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, #name)
#define FAIL_IF(condition, value) do { int number = condition; if (number > 0) { errno = number; return value; } } while (0)

#define ON_PATH(type, name, effect, failed, parameters, path, arguments) \
    type name parameters { static type (*real) parameters; if (!real) real = dlsym(RTLD_NEXT, #name); \
        FAIL_IF(fault(#name, effect, path), failed); return real arguments; }
#define ON_DESCRIPTOR(type, name, effect, failed, parameters, descriptor, arguments) \
    type name parameters { static type (*real) parameters; if (!real) real = dlsym(RTLD_NEXT, #name); \
        FAIL_IF(open_fault(#name, effect, descriptor), failed); return real arguments; }

int open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;
    va_end(list);
    FAIL_IF(fault(flags & O_CREAT ? "create" : "open", flags & O_CREAT ? TAKES_SPACE : flags & O_TRUNC ? CHANGES : READS, path), -1);
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

ON_PATH(int, mkdir, TAKES_SPACE, -1, (const char *path, mode_t mode), path, (path, mode))
ON_PATH(int, rmdir, CHANGES, -1, (const char *path), path, (path))
ON_PATH(int, unlink, CHANGES, -1, (const char *path), path, (path))
ON_PATH(int, rename, TAKES_SPACE, -1, (const char *path, const char *other), path, (path, other))
ON_PATH(int, renameat2, TAKES_SPACE, -1, (int a, const char *path, int b, const char *other, unsigned flags), path, (a, path, b, other, flags))
ON_PATH(int, link, TAKES_SPACE, -1, (const char *path, const char *other), path, (path, other))
ON_PATH(int, access, READS, -1, (const char *path, int mode), path, (path, mode))
ON_PATH(int, stat, READS, -1, (const char *path, struct stat *status), path, (path, status))
ON_PATH(int, lstat, READS, -1, (const char *path, struct stat *status), path, (path, status))
ON_PATH(int, statvfs, READS, -1, (const char *path, struct statvfs *status), path, (path, status))
ON_PATH(DIR *, opendir, READS, NULL, (const char *path), path, (path))
ON_PATH(FILE *, fopen, READS, NULL, (const char *path, const char *mode), path, (path, mode))

ON_DESCRIPTOR(int, fstat, READS, -1, (int descriptor, struct stat *status), descriptor, (descriptor, status))
ON_DESCRIPTOR(int, fsync, TAKES_SPACE, -1, (int descriptor), descriptor, (descriptor))
ON_DESCRIPTOR(int, fdatasync, TAKES_SPACE, -1, (int descriptor), descriptor, (descriptor))
ON_DESCRIPTOR(int, ftruncate, TAKES_SPACE, -1, (int descriptor, off_t size), descriptor, (descriptor, size))
ON_DESCRIPTOR(int, flock, READS, -1, (int descriptor, int how), descriptor, (descriptor, how))
ON_DESCRIPTOR(ssize_t, read, READS, -1, (int descriptor, void *bytes, size_t size), descriptor, (descriptor, bytes, size))
ON_DESCRIPTOR(ssize_t, pread, READS, -1, (int descriptor, void *bytes, size_t size, off_t place), descriptor, (descriptor, bytes, size, place))

/* Closes, and then says that it went wrong, as network file systems do. */
int close(int descriptor) {
    int error = open_fault("close", TAKES_SPACE, descriptor), result = syscall(SYS_close, descriptor);
    FAIL_IF(error, -1);
    return result;
}

struct dirent *readdir(DIR *stream) {
    REAL(struct dirent *, readdir, DIR *);
    FAIL_IF(open_fault("readdir", READS, dirfd(stream)), NULL);
    return real(stream);
}

ssize_t write(int descriptor, const void *bytes, size_t size) {
    int error = open_fault("write", WRITES, descriptor);
    FAIL_IF(error, -1);
    return syscall(SYS_write, descriptor, bytes, error < 0 ? (size + 1) / 2 : size);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t place) {
    int error = open_fault("pwrite", WRITES, descriptor);
    FAIL_IF(error, -1);
    return syscall(SYS_pwrite64, descriptor, bytes, error < 0 ? (size + 1) / 2 : size, place);
}
"""

# Which faults an operation can have, by its effect: reading fails with EIO alone, and a kill before it is a kill before the next change.
FAULTS = {"r": ["EIO"], "c": ["EIO", "kill"], "s": ["EIO", "ENOSPC", "kill"], "w": ["EIO", "ENOSPC", "short", "kill"]}


class FaultyFiles:
    """Builds the library, for operations of a program; needs a C compiler."""

    def __init__(self, program, scratch):
        self.program = os.path.basename(program)
        self.library = scratch / "faultyfiles.so"
        source = scratch / "faultyfiles.c"
        source.write_text(SOURCE)
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", self.library, source, "-ldl"], check=True)

    def environment(self, folder, begin, log, rank=0, **fault):
        """What counts the operations below `folder` from the first one on whose path holds `begin`, and notes in `log` those that fail, or all."""
        variables = dict(PROGRAM=self.program, FOLDER=folder, FROM=begin, RANK=rank, LOG=log, **fault)
        return dict({"FAULT_" + name: str(value) for name, value in variables.items()}, LD_PRELOAD=str(self.library))


def operations(log):
    """What a log holds: number, name, effect and path of each operation."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(number), name, effect, path) for number, name, effect, path in (line.split(" ", 3) for line in lines)]
