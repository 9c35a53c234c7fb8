#include "TestStart.h"

// What must be settled before the first test of any suite, and so cannot wait for a suite to ask for it.
void mneme_tests_start(void);

__attribute__((constructor)) static void start(void) { mneme_tests_start(); }
