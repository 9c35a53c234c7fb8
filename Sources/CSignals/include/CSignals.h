// A stop request by signal: the handler only sets an atomic flag, which the training loop reads at step boundaries.
#ifndef MNEME_CSIGNALS_H
#define MNEME_CSIGNALS_H

// Installs the handler for `signal`. A second SIGINT ends the process at once. Returns 0, or -1 with errno set.
int mneme_catch_signal(int signal);
// Lets the system do with `signal` what it does by default. Does nothing where a handler was never installed. Returns 0, or -1 with errno set.
int mneme_leave_signal(int signal);
// Lets the process pass over `signal`. Returns 0, or -1 with errno set.
int mneme_ignore_signal(int signal);
// Lets SEGV, ABRT, BUS, FPE, ILL, TRAP and QUIT end the process when another one sent them, without the words of a crash. Faults of the program itself
// are handled as before. Returns 0, or -1 with errno set.
int mneme_end_by_foreign_faults(void);
// The first signal that was caught since the start, or 0.
int mneme_caught_signal(void);
// Forgets what was caught.
void mneme_clear_caught_signal(void);

#endif
