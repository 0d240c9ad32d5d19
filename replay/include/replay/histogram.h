/* SPDX-License-Identifier: Apache-2.0 */
/* Counts of durations by magnitude (log-linear, as HdrHistogram): constant memory, constant time,
 * and any percentile at most 1/256 above the true value. One thread. */
#ifndef REPLAY_HISTOGRAM_H
#define REPLAY_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 9  /* values below 2^9 are exact; above, 256 steps a power of two */
#define HISTOGRAM_MAX_BITS 43 /* ns: 2.4 hours; longer ones count as that */
#define HISTOGRAM_STEPS (1u << (HISTOGRAM_SUB_BITS - 1))
#define HISTOGRAM_BUCKETS ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 2) * HISTOGRAM_STEPS)

struct histogram { /* all zero is empty */
	uint64_t n[HISTOGRAM_BUCKETS];
	uint64_t count;
	int64_t min, max; /* exact */
	double sum;
};

void histogram_add(struct histogram *h, int64_t ns); /* negative counts as 0 */

/* sum += h */
void histogram_merge(struct histogram *sum, const struct histogram *h);

/* The smallest value that at least `percent` of the values do not exceed, never over the maximum.
 * 0 when empty. */
int64_t histogram_percentile(const struct histogram *h, double percent);

/* How many values are at most this (0 or more), as far as buckets tell them apart. */
uint64_t histogram_count_to(const struct histogram *h, int64_t ns);

double histogram_mean(const struct histogram *h);   /* 0 when empty */
double histogram_stddev(const struct histogram *h); /* of the population; 0 when empty */

#endif
