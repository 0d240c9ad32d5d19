/* SPDX-License-Identifier: Apache-2.0 */
/* The one place where a command's threads are made. Knows nothing of what they do. */
#include "thread.h"

#include <signal.h>
#include <string.h>

int thread_start(pthread_t *ret, void *(*run)(void *), void *arg, struct err *err)
{
	sigset_t all, before;
	pthread_t thread;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	rc = pthread_create(&thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc)
		return err_set(err, SC_EIO, "no thread could be started: %s", strerror(rc));
	*ret = thread;
	return SC_OK;
}
