/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of the commands. */
#ifndef CLI_THREAD_H
#define CLI_THREAD_H

#include <pthread.h>

#include "core/err.h"

/* A thread that no signal is given to: they are for the main one. To be joined. SC_EIO with the
 * system's reason when there is none to be had. */
int thread_start(pthread_t *ret, void *(*run)(void *), void *arg, struct err *err);

#endif
