// A stop request by signal: the handler only sets an atomic flag, which the training loop reads at step boundaries.
#ifndef MNEME_CSIGNALS_H
#define MNEME_CSIGNALS_H

// Installs the handler for `signal`. Returns 0, or -1 with errno set.
int mneme_catch_signal(int signal);
// The first signal that was caught since the start, or 0.
int mneme_caught_signal(void);
// Forgets what was caught.
void mneme_clear_caught_signal(void);

#endif
