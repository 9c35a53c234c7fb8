#include "CSignals.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_int caught, interrupts;

static void handle(int signal) {
    int none = 0;
    atomic_compare_exchange_strong(&caught, &none, signal);
    /* A second Ctrl-C ends the process at once, as everywhere. */
    if (signal == SIGINT && atomic_fetch_add(&interrupts, 1) > 0) _exit(128 + SIGINT);
}

/* Gives the calling thread a stack for handlers, unless it has one. While oneDNN computes a product for AVX or AVX2, the stack pointer of its thread may
   point into a buffer of the heap (2.6 does so): a handler that ran there would write over what lies before the buffer. */
static int have_stack_for_handlers(void) {
    stack_t stack;
    if (sigaltstack(0, &stack) != 0) return -1;
    if (!(stack.ss_flags & SS_DISABLE)) return 0;
    /* The registers of AVX-512 and AMX alone take up to 11 KiB of it. It is kept as long as the thread may get signals. */
    stack = (stack_t){.ss_size = 1 << 16};
    stack.ss_sp = malloc(stack.ss_size);
    return stack.ss_sp == 0 ? -1 : sigaltstack(&stack, 0);
}

int mneme_catch_signal(int signal) {
    if (have_stack_for_handlers() != 0) return -1;
    struct sigaction action;
    if (sigaction(signal, 0, &action) != 0) return -1;
    /* nohup's wish. */
    if (signal == SIGHUP && action.sa_handler == SIG_IGN) return 0;
    action = (struct sigaction){0};
    action.sa_handler = handle;
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    if (sigaction(signal, &action, 0) != 0) return -1;
    /* A parent that blocked the signal for itself has blocked it here too. */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    return pthread_sigmask(SIG_UNBLOCK, &set, 0);
}

int mneme_leave_signal(int signal) {
    struct sigaction action;
    if (sigaction(signal, 0, &action) != 0) return -1;
    /* What the process was started with, such as nohup's passing over of HUP, stays. */
    if (action.sa_handler != handle) return 0;
    action.sa_handler = SIG_DFL;
    return sigaction(signal, &action, 0);
}

int mneme_ignore_signal(int signal) {
    struct sigaction action = {0};
    action.sa_handler = SIG_IGN;
    sigemptyset(&action.sa_mask);
    return sigaction(signal, &action, 0);
}

int mneme_is_ignored_signal(int signal) {
    struct sigaction action;
    return sigaction(signal, 0, &action) == 0 && action.sa_handler == SIG_IGN;
}

/* What handled a fault before: Swift's, which writes where the program crashed. */
static struct sigaction previous[NSIG];

static void handle_fault(int signal, siginfo_t *information, void *context) {
    int is_from_outside = information->si_code <= 0 && information->si_pid != getpid();
    struct sigaction *before = &previous[signal];
    if (is_from_outside || before->sa_handler == SIG_DFL || before->sa_handler == SIG_IGN) {
        /* Sent by somebody: the process ends by it, as any other would. */
        struct sigaction action = {0};
        action.sa_handler = SIG_DFL;
        sigemptyset(&action.sa_mask);
        sigaction(signal, &action, 0);
        raise(signal);
        return;
    }
    if (before->sa_flags & SA_SIGINFO) before->sa_sigaction(signal, information, context);
    else before->sa_handler(signal);
}

int mneme_end_by_foreign_faults(void) {
    static const int faults[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGQUIT, SIGTRAP};
    for (unsigned index = 0; index < sizeof faults / sizeof *faults; index++) {
        struct sigaction action = {0};
        action.sa_sigaction = handle_fault;
        sigemptyset(&action.sa_mask);
        struct sigaction before;
        if (sigaction(faults[index], 0, &before) != 0) return -1;
        /* Asked for again: a handler that hands on to itself would never end. */
        if ((before.sa_flags & SA_SIGINFO) && before.sa_sigaction == handle_fault) continue;
        previous[faults[index]] = before;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        if (sigaction(faults[index], &action, 0) != 0) return -1;
    }
    return 0;
}

int mneme_caught_signal(void) { return atomic_load(&caught); }

void mneme_clear_caught_signal(void) {
    atomic_store(&caught, 0);
    atomic_store(&interrupts, 0);
}
