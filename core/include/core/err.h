/* SPDX-License-Identifier: Apache-2.0 */
/* Error codes, and the one line of text for the person who has to act. */
#ifndef CORE_ERR_H
#define CORE_ERR_H

/* Every fallible function returns SC_OK or one of these; outputs are untouched on failure. */
enum sc_code {
	SC_OK = 0,
	SC_EAGAIN = -1,  /* nothing now, ask again later */
	SC_ENOMEM = -2,
	SC_ETRUNC = -3,  /* the bytes end before the thing they should hold */
	SC_EINVAL = -4,  /* a person's input is wrong: exit status 2 */
	SC_EIO = -5,     /* the system refused: exit status 1 */
	SC_EFULL = -6,   /* a ceiling was reached */
	SC_ECLOSED = -7, /* the other side has gone */
	SC_EPROTO = -8,  /* a peer broke its protocol */
};

/* Text for a person; only where a person must act. Lives on the caller's stack. */
struct err {
	char text[512];
};

/* Sets the text (cut to fit) and returns `code`, so that it can stand in a return statement.
 * `err` may be NULL. */
int err_set(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));

#endif
