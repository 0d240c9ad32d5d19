/* SPDX-License-Identifier: Apache-2.0 */
/* Giving up what a process no longer needs. */
#ifndef CLI_PRIVILEGE_H
#define CLI_PRIVILEGE_H

#include "core/err.h"

/* Becomes `user` (NULL: the one behind sudo, if there is one) and drops every capability for good,
 * this process's and its future programs'. To be called once the packet handles are open and before
 * a packet is parsed or a file is made. SC_EINVAL: no such user, or not ours to become. */
int privilege_drop(const char *user, struct err *err);

#endif
