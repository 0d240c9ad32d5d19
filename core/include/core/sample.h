/* SPDX-License-Identifier: Apache-2.0 */
/* The sampling percentage. By request: each is let in by itself with that probability (Istio's
 * semantics: sampling, not counting). By connection or client: a keyed hash decides, so that the same
 * one is always in or always out, and 10% is a subset of 50% under the same seed. */
#ifndef CORE_SAMPLE_H
#define CORE_SAMPLE_H

#include <stdint.h>

#include "core/stage.h"

/* "12.5%" or "12.5"; 0..100. SC_EINVAL with the reason. */
int sample_parse(const char *text, double *ret_percent, struct err *err);

enum sample_by { SAMPLE_BY_REQUEST, SAMPLE_BY_CONNECTION, SAMPLE_BY_CLIENT };

/* "request", "connection", "client". SC_EINVAL with the reason. */
int sample_by_parse(const char *text, enum sample_by *ret, struct err *err);

/* The same seed lets the same requests of the same input in. NULL: no memory. */
struct stage *stage_sample_new(double percent, enum sample_by by, uint64_t seed);

#endif
