/* SPDX-License-Identifier: Apache-2.0 */
/* Durations counted by magnitude. Keeps no single value, so it cannot give an exact percentile. */
#include "replay/histogram.h"

#include <assert.h>
#include <math.h>

#define LIMIT_VALUE ((INT64_C(1) << HISTOGRAM_MAX_BITS) - 1)

/* Values below 2^SUB_BITS have a bucket each; each further power of two has STEPS of them, told
 * apart by the SUB_BITS highest bits of the value. */
static uint32_t bucket_of(uint64_t v)
{
	uint32_t bits, shift;

	if (v < (1u << HISTOGRAM_SUB_BITS))
		return (uint32_t)v;
	bits = 64 - (uint32_t)__builtin_clzll(v);
	shift = bits - HISTOGRAM_SUB_BITS;
	return shift * HISTOGRAM_STEPS + (uint32_t)(v >> shift);
}

/* The highest value that falls into it. */
static int64_t bucket_top(uint32_t i)
{
	uint32_t shift;

	if (i < (1u << HISTOGRAM_SUB_BITS))
		return i;
	shift = i / HISTOGRAM_STEPS - 1;
	return ((int64_t)(i % HISTOGRAM_STEPS + HISTOGRAM_STEPS + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, int64_t ns)
{
	if (ns < 0)
		ns = 0;
	if (ns > LIMIT_VALUE)
		ns = LIMIT_VALUE;
	if (h->count == 0 || ns < h->min)
		h->min = ns;
	if (ns > h->max)
		h->max = ns;
	h->n[bucket_of((uint64_t)ns)]++;
	h->count++;
	h->sum += (double)ns;
}

void histogram_merge(struct histogram *sum, const struct histogram *h)
{
	if (h->count == 0)
		return;
	if (sum->count == 0 || h->min < sum->min)
		sum->min = h->min;
	if (h->max > sum->max)
		sum->max = h->max;
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		sum->n[i] += h->n[i];
	sum->count += h->count;
	sum->sum += h->sum;
}

int64_t histogram_percentile(const struct histogram *h, double percent)
{
	uint64_t rank = (uint64_t)ceil((double)h->count * percent / 100.0);
	uint64_t seen = 0;

	if (h->count == 0)
		return 0;
	if (rank < 1)
		rank = 1;
	if (rank > h->count)
		rank = h->count;
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->n[i];
		if (seen >= rank)
			return bucket_top(i) < h->max ? bucket_top(i) : h->max;
	}
	return h->max;
}

uint64_t histogram_count_to(const struct histogram *h, int64_t ns)
{
	uint32_t last = bucket_of((uint64_t)(ns > LIMIT_VALUE ? LIMIT_VALUE : ns));
	uint64_t n = 0;

	assert(ns >= 0);
	for (uint32_t i = 0; i <= last; i++)
		n += h->n[i];
	return n;
}

double histogram_mean(const struct histogram *h)
{
	return h->count ? h->sum / (double)h->count : 0;
}

/* Each value counts as the middle of its bucket. */
double histogram_stddev(const struct histogram *h)
{
	double mean = histogram_mean(h), sum = 0;

	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		int64_t low = i ? bucket_top(i - 1) + 1 : 0;
		double off = ((double)low + (double)bucket_top(i)) / 2 - mean;

		sum += (double)h->n[i] * off * off;
	}
	return h->count ? sqrt(sum / (double)h->count) : 0;
}
