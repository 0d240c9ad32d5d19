/* SPDX-License-Identifier: Apache-2.0 */
/* The sampling percentage: each request is let in by itself with that probability (Istio's
 * semantics: sampling, not counting). */
#ifndef CORE_SAMPLE_H
#define CORE_SAMPLE_H

#include <stdint.h>

#include "core/stage.h"

/* "12.5%" or "12.5"; 0..100. SC_EINVAL with the reason. */
int sample_parse(const char *text, double *ret_percent, struct err *err);

/* The same seed lets the same requests of the same input in. NULL: no memory. */
struct stage *stage_sample_new(double percent, uint64_t seed);

#endif
