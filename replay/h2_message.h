/* SPDX-License-Identifier: Apache-2.0 */
/* Between HTTP/1 bytes and what libcurl wants to know for HTTP/2 (RFC 9113, 8), and back. Does no
 * I/O. */
#ifndef REPLAY_H2_MESSAGE_H
#define REPLAY_H2_MESSAGE_H

#include <curl/curl.h>
#include <stdbool.h>

#include "core/message.h"
#include "kept.h"
#include "replay/shot.h"

struct h2_request {
	char *method, *target; /* target as :path has it */
	struct curl_slist *headers;
	struct buf body;
	bool has_body; /* an empty one, too */
	bool head;
};

/* Takes the shot's bytes apart. What only one HTTP/1 connection is about is left out (RFC
 * 9113, 8.2.2): Connection and what it names, chunks; so are trailers. SC_EPROTO when that is no
 * request, SC_ENOMEM. */
int h2_request_make(const struct shot *shot, struct h2_request *ret);
void h2_request_done(struct h2_request *r); /* all zero is fine */

struct h2_answer {
	struct buf head, trailer; /* lines of the final answer, without its status line */
	struct kept body;
	uint64_t body_size;
	uint16_t status; /* of the last status line; 0: none came */
	uint32_t n_interim;
	bool full;	/* keep head and body */
	bool head_done; /* of the final one: further lines are trailers */
};

/* `body_max`, `room`: as answer_new() has them. */
void h2_answer_init(struct h2_answer *a, bool full, size_t body_max, struct body_room *room);
void h2_answer_clear(struct h2_answer *a);
void h2_answer_done(struct h2_answer *a);

/* A line as libcurl's header callback gets it. SC_EFULL over a ceiling, SC_ENOMEM. */
int h2_answer_line(struct h2_answer *a, const char *line, size_t len);
int h2_answer_body(struct h2_answer *a, const void *p, size_t len); /* SC_ENOMEM */
/* Moves the message out, with no arrival times. SC_EPROTO when that is none, SC_EFULL, SC_ENOMEM.
 */
int h2_answer_take(struct h2_answer *a, struct message **ret);

#endif
