/* SPDX-License-Identifier: Apache-2.0 */
/* Where each dataset format begins: what the rows of the table point at. */
#ifndef STORE_FORMAT_PRIVATE_H
#define STORE_FORMAT_PRIVATE_H

#include "store/format.h"

int jsonl_source_new(const struct format_args *args, struct source **ret, struct err *err);
int jsonl_sink_new(const struct format_args *args, struct sink **ret, struct err *err);
int csv_sink_new(const struct format_args *args, struct sink **ret, struct err *err);
int har_source_new(const struct format_args *args, struct source **ret, struct err *err);
int har_sink_new(const struct format_args *args, struct sink **ret, struct err *err);
int gor_source_new(const struct format_args *args, struct source **ret, struct err *err);
int gor_sink_new(const struct format_args *args, struct sink **ret, struct err *err);
int vegeta_sink_new(const struct format_args *args, struct sink **ret, struct err *err);
int curl_sink_new(const struct format_args *args, struct sink **ret, struct err *err);
int hurl_sink_new(const struct format_args *args, struct sink **ret, struct err *err);

#endif
