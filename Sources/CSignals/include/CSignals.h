// A stop request by signal: the handler only sets an atomic flag, which the training loop reads at step boundaries.
#ifndef MNEME_CSIGNALS_H
#define MNEME_CSIGNALS_H

#include <sys/types.h>

// Installs the handler for `signal`. A second SIGINT ends the process at once. Returns 0, or -1 with errno set.
int mneme_catch_signal(int signal);
// Lets the system do with `signal` what it does by default. Does nothing where a handler was never installed. Returns 0, or -1 with errno set.
int mneme_leave_signal(int signal);
// Lets the process pass over `signal`. Returns 0, or -1 with errno set.
int mneme_ignore_signal(int signal);
// 1 where the process passes over `signal`, otherwise 0.
int mneme_is_ignored_signal(int signal);
// Lets SEGV, ABRT, BUS, FPE, ILL, TRAP and QUIT end the process when another one sent them, without the words of a crash. Faults of the program itself
// are handled as before. Returns 0, or -1 with errno set.
int mneme_end_by_foreign_faults(void);
// The first signal that was caught since the start, or 0.
int mneme_caught_signal(void);
// Forgets what was caught.
void mneme_clear_caught_signal(void);

// Starts a command in a process group of its own. `words` end with a null pointer, and the first is looked for in PATH. It runs on the `count` processors
// that are given, on those of this process where there are none. `output` becomes its standard output and error, and its input is empty; where it is
// negative, it has this process's streams. Where `ends_with` is not 0, the command gets that signal when the calling thread ends.
// Returns 0, or the system's error number where it could not be started.
int mneme_start_command(char *const words[], const int *processors, int count, int output, int ends_with, pid_t *child);

#endif
