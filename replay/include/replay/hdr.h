/* SPDX-License-Identifier: Apache-2.0 */
/* A histogram as the text that HdrHistogram's tools print and plotters read. */
#ifndef REPLAY_HDR_H
#define REPLAY_HDR_H

#include "core/buf.h"
#include "replay/histogram.h"

#define HDR_TEXT_BYTES (64u * 1024u) /* it is never longer */

/* Appends "Value Percentile TotalCount 1/(1-Percentile)", values in ms, five rows for each halving
 * of what is left above, and the mean, maximum and count behind them. SC_EFULL, SC_ENOMEM. */
int hdr_text(const struct histogram *h, struct buf *out);

#endif
