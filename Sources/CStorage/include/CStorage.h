// Calls of the system that Swift's C library modules do not show.
#ifndef MNEME_CSTORAGE_H
#define MNEME_CSTORAGE_H

// Lets two paths exchange their names in one step. Returns 0, or -1 with errno set: ENOSYS where the system cannot.
int mneme_exchange(const char *first, const char *second);

#endif
