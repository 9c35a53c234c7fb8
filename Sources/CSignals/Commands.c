#define _GNU_SOURCE
#include "CSignals.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Between fork and exec: only what is safe in a child of a process with several threads. */
static void become(char *const words[], const int *processors, int count, int output, int ends_with, pid_t parent) {
    setpgid(0, 0);
    /* What the parent holds back or passes over, the command hears, but for nohup's wish. */
    for (int number = 1; number < NSIG; number++) {
        if (number != SIGHUP || !mneme_is_ignored_signal(SIGHUP)) signal(number, SIG_DFL);
    }
    if (ends_with != 0) {
        prctl(PR_SET_PDEATHSIG, ends_with);
        /* The parent has died meanwhile. */
        if (getppid() != parent) _exit(128 + ends_with);
    }
    if (count > 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        for (int index = 0; index < count; index++) CPU_SET(processors[index], &set);
        sched_setaffinity(0, sizeof set, &set);
    }
    if (output >= 0) {
        int nothing = open("/dev/null", O_RDONLY);
        if (nothing >= 0) dup2(nothing, 0);
        dup2(output, 1);
        dup2(output, 2);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, 0);
    execvp(words[0], words);
}

int mneme_start_command(
    char *const words[], const int *processors, int count, int output, int ends_with, pid_t *child) {
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0) return errno;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pid_t parent = getpid();
    *child = fork();
    int reason = *child < 0 ? errno : 0;
    if (*child == 0) {
        become(words, processors, count, output, ends_with, parent);
        reason = errno;
        ssize_t written = write(report[1], &reason, sizeof reason);
        _exit(written == sizeof reason ? 127 : 126);
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
    close(report[1]);
    /* The pipe closes when the command has taken the child's place. */
    while (*child > 0 && read(report[0], &reason, sizeof reason) < 0 && errno == EINTR) {}
    close(report[0]);
    return reason;
}
