/* SPDX-License-Identifier: Apache-2.0 */
/* Paces as most replay tools do: sends, sleeps the gap to the next request, sends. So each error is
 * added to all before it. Answers are read and thrown away; what cannot be read at once waits.
 *
 *     sleep_gap PORT RATE REQUESTS [CONNECTIONS]
 *
 * Prints how late each send was, in microseconds, a line each. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_CONNECTIONS 1024
#define NS_PER_S 1000000000l

static const char request[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

static int64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int dial(uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to))) {
		perror("sleep_gap: connect");
		exit(1);
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static void send_one(int fd)
{
	char answer[16384];

	while (recv(fd, answer, sizeof(answer), MSG_DONTWAIT) > 0)
		;
	if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(request) - 1) {
		perror("sleep_gap: send");
		exit(1);
	}
}

int main(int argc, char **argv)
{
	long port = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
	long rate = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
	long n = argc > 3 ? strtol(argv[3], NULL, 10) : 0;
	long connections = argc > 4 ? strtol(argv[4], NULL, 10) : 64;
	struct timespec gap = {0, 0};
	int fds[MOST_CONNECTIONS];
	int64_t *late, start;

	if (port < 1 || port > 65535 || rate < 2 || rate > NS_PER_S || n < 1 || connections < 1 ||
	    connections > MOST_CONNECTIONS) {
		(void)fprintf(stderr, "usage: sleep_gap PORT RATE REQUESTS [CONNECTIONS]\n");
		return 2;
	}
	late = calloc((size_t)n, sizeof(*late));
	if (!late)
		return 1;
	for (long i = 0; i < connections; i++)
		fds[i] = dial((uint16_t)port);
	gap.tv_nsec = NS_PER_S / rate;
	start = now_ns();
	for (long i = 0; i < n; i++) {
		late[i] = now_ns() - start - (int64_t)((double)i * 1e9 / (double)rate);
		send_one(fds[i % connections]);
		(void)nanosleep(&gap, NULL);
	}
	for (long i = 0; i < n; i++)
		(void)printf("%.1f\n", (double)late[i] / 1000);
	free(late);
	return 0;
}
