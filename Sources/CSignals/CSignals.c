#include "CSignals.h"

#include <signal.h>
#include <stdatomic.h>

static atomic_int caught;

static void handle(int signal) {
    int none = 0;
    atomic_compare_exchange_strong(&caught, &none, signal);
}

int mneme_catch_signal(int signal) {
    struct sigaction action = {0};
    action.sa_handler = handle;
    /* A second Ctrl-C ends the process at once, as everywhere. */
    action.sa_flags = signal == SIGINT ? SA_RESTART | SA_RESETHAND : SA_RESTART;
    sigemptyset(&action.sa_mask);
    if (sigaction(signal, &action, 0) != 0) return -1;
    /* A parent that blocked the signal for itself has blocked it here too. */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    return pthread_sigmask(SIG_UNBLOCK, &set, 0);
}

int mneme_caught_signal(void) { return atomic_load(&caught); }

void mneme_clear_caught_signal(void) { atomic_store(&caught, 0); }
