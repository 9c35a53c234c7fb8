// This module has nothing to call: it runs `mneme_tests_start` of TestSupport when the test program is loaded.
