/* SPDX-License-Identifier: Apache-2.0 */
/* The same as replay_run(), to targets that speak HTTP/2: over TLS, or with prior knowledge to
 * http://. libcurl makes the requests, so what goes out means what was recorded but is not its
 * bytes: see h2_message.h for what has no place in HTTP/2.
 *
 * options->connections is how many requests are in flight at most; how many connections that makes
 * is libcurl's, by the number of streams the target takes. In order, one request of a recorded
 * connection waits for the answer to the one before. Sizes in the statistics are those of the
 * messages before header compression and framing. Over TLS a target that does not choose HTTP/2 has
 * failed in TLS. */
#ifndef REPLAY_H2_H
#define REPLAY_H2_H

#include "replay/replay.h"

int replay_run_h2(const struct replay_options *options, struct shot_feed *feed,
		  struct result_sink *sink, struct replay_stats *ret_stats, struct err *err);

#endif
