/* SPDX-License-Identifier: Apache-2.0 */
/* Turns over endpoints and over the addresses of each. Opens no connection, and remembers no
 * failure: an address that does not answer is skipped by libcurl, which has the whole list. */
#include "replay/resolver.h"

#include <assert.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/err.h"

#define ASK_AGAIN_US 5000000 /* while connections are being opened */

struct name {
	char *address;
	uint16_t port;
	bool literal; /* an address: nothing to ask */
	bool asking;
	int64_t asked_us; /* 0: before any clock was known */
	uint32_t turn;
	size_t n, n_preferred; /* those of the first one's family lead */
	struct addr addrs[LIMIT_ADDRESSES];
};

struct resolver {
	pthread_mutex_t lock;
	unsigned holders; /* the owner, and each thread that asks */
	uint32_t turn;
	size_t n;
	struct name names[];
};

static bool from_sockaddr(const struct sockaddr *sa, uint16_t port, struct addr *ret)
{
	*ret = (struct addr){.port = port};
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;

		memcpy(ret->ip, &in->sin_addr, 4);
		ret->len = 4;
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;

		memcpy(ret->ip, &in6->sin6_addr, 16);
		ret->len = 16;
	}
	return ret->len != 0;
}

size_t resolve(const char *address, uint16_t port, struct addr *ret, const char **ret_why)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	int rc = getaddrinfo(address, NULL, &hints, &list);
	size_t n = 0;

	if (rc && ret_why)
		*ret_why = gai_strerror(rc);
	/* Twice over the list: the first one's family, then the rest. */
	for (int preferred = 1; !rc && preferred >= 0; preferred--) {
		for (const struct addrinfo *ai = list; ai && n < LIMIT_ADDRESSES;
		     ai = ai->ai_next) {
			if ((ai->ai_family == list->ai_family) == preferred &&
			    from_sockaddr(ai->ai_addr, port, &ret[n]))
				n++;
		}
	}
	if (list)
		freeaddrinfo(list);
	return n;
}

static size_t count_preferred(const struct addr *addrs, size_t n)
{
	size_t k = 0;

	while (k < n && addrs[k].len == addrs[0].len)
		k++;
	return k;
}

/* What is known stays when nothing is heard. */
static void learn(struct name *name, const struct addr *addrs, size_t n)
{
	if (n == 0)
		return;
	memcpy(name->addrs, addrs, n * sizeof(*addrs));
	name->n = n;
	name->n_preferred = count_preferred(addrs, n);
}

static void free_all(struct resolver *r)
{
	for (size_t i = 0; i < r->n; i++)
		free(r->names[i].address);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* Unlocks. */
static void let_go(struct resolver *r)
{
	bool last = --r->holders == 0;

	pthread_mutex_unlock(&r->lock);
	if (last)
		free_all(r);
}

struct resolver *resolver_new(const struct connect_endpoint *endpoints, size_t n)
{
	struct resolver *r = calloc(1, sizeof(*r) + n * sizeof(r->names[0]));
	struct addr addrs[LIMIT_ADDRESSES];

	assert(n > 0);
	if (!r)
		return NULL;
	pthread_mutex_init(&r->lock, NULL);
	r->holders = 1;
	for (; r->n < n; r->n++) {
		struct name *name = &r->names[r->n];

		name->address = strdup(endpoints[r->n].address);
		name->port = endpoints[r->n].port;
		if (!name->address) {
			free_all(r);
			return NULL;
		}
		name->literal = addr_parse(name->address, &addrs[0]) == SC_OK;
		if (!name->literal)
			learn(name, addrs, resolve(name->address, name->port, addrs, NULL));
	}
	return r;
}

void resolver_free(struct resolver *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	let_go(r);
}

struct question {
	struct resolver *r;
	struct name *name;
};

static void *ask_main(void *arg)
{
	struct question q = *(struct question *)arg;
	struct addr addrs[LIMIT_ADDRESSES];
	size_t n = resolve(q.name->address, q.name->port, addrs, NULL);

	free(arg);
	pthread_mutex_lock(&q.r->lock);
	learn(q.name, addrs, n);
	q.name->asking = false;
	let_go(q.r);
	return NULL;
}

/* Locked. No thread to be had: what is known has to do. */
static void ask(struct resolver *r, struct name *name)
{
	struct question *q = malloc(sizeof(*q));
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;

	if (!q)
		return;
	*q = (struct question){r, name};
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	/* Signals are for the thread that handles them. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	name->asking = true;
	r->holders++;
	if (pthread_create(&thread, &attr, ask_main, q)) {
		name->asking = false;
		r->holders--;
		free(q);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
}

static void list_addresses(struct name *name, char *text)
{
	uint32_t turn = name->n_preferred ? name->turn++ : 0;
	char *p = text;

	for (size_t i = 0; i < name->n; i++) {
		size_t at = i < name->n_preferred ? (turn + i) % name->n_preferred : i;

		if (i)
			*p++ = ',';
		p += addr_text(&name->addrs[at], p);
	}
	*p = '\0';
}

void resolver_next(struct resolver *r, int64_t now_us, struct way *ret)
{
	struct name *name;

	pthread_mutex_lock(&r->lock);
	name = &r->names[r->turn++ % r->n];
	ret->address = name->address;
	ret->port = name->port;
	list_addresses(name, ret->list);
	if (name->asked_us == 0) {
		name->asked_us = now_us; /* it was asked when all of this was made */
	} else if (!name->literal && !name->asking && now_us - name->asked_us > ASK_AGAIN_US) {
		name->asked_us = now_us;
		ask(r, name);
	}
	pthread_mutex_unlock(&r->lock);
}
