/* SPDX-License-Identifier: Apache-2.0 */
/* The percentile distribution of HdrHistogram (outputPercentileDistribution), line for line. Reads
 * no such text. */
#include "replay/hdr.h"

#include "core/err.h"

#define NS_PER_MS 1e6
#define TICKS_PER_HALF 5 /* what its own tools print */

static int row(const struct histogram *h, double percent, struct buf *out)
{
	int64_t value = histogram_percentile(h, percent);
	double left = 1 - percent / 100;
	unsigned long long count = histogram_count_to(h, value);

	if (left <= 0)
		return buf_addf(out, "%12.3f %2.12f %10llu\n", (double)value / NS_PER_MS, 1.0,
				count);
	return buf_addf(out, "%12.3f %2.12f %10llu %14.2f\n", (double)value / NS_PER_MS,
			percent / 100, count, 1 / left);
}

/* The next percentage: a fifth of the way to where half of what is left above is passed. */
static double next_percent(double percent)
{
	double half = 50;

	while (100 - percent <= half)
		half /= 2;
	return percent + half / TICKS_PER_HALF;
}

int hdr_text(const struct histogram *h, struct buf *out)
{
	double percent = 0;
	int rc = buf_add_str(out, "       Value     Percentile TotalCount 1/(1-Percentile)\n\n");

	/* The rows end where everything is passed; the last one stands for it. */
	while (!rc && h->count &&
	       histogram_count_to(h, histogram_percentile(h, percent)) < h->count) {
		rc = row(h, percent, out);
		percent = next_percent(percent);
	}
	if (!rc && h->count)
		rc = row(h, 100, out);
	if (!rc)
		rc = buf_addf(out, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n",
			      histogram_mean(h) / NS_PER_MS, histogram_stddev(h) / NS_PER_MS);
	if (!rc)
		rc = buf_addf(out, "#[Max     = %12.3f, Total count    = %12llu]\n",
			      (double)h->max / NS_PER_MS, (unsigned long long)h->count);
	return rc ? rc
		  : buf_addf(out, "#[Buckets = %12d, SubBuckets     = %12u]\n",
			     HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1, 2 * HISTOGRAM_STEPS);
}
