/* SPDX-License-Identifier: Apache-2.0 */
/* Several stores asked as if they were one: what a store_merge() of them would hold, with the same
 * ids, and nothing written. */
#ifndef STORE_SEVERAL_H
#define STORE_SEVERAL_H

#include "core/err.h"
#include "store/store.h"

/* Each of `paths` is opened as store_open(STORE_READ) does, with its checks and its lines. *ret
 * is for store_select_with(), store_expand() and store_stop_when(); store_close() closes all of
 * them. It is one state of each file, that of the opening, whoever writes meanwhile; so none of
 * their logs starts anew before it is closed. What is wrong with a file later is a line that
 * names the file. */
int store_open_several(const char *const *paths, unsigned n, struct store **ret, struct err *err);

#endif
