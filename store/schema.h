/* SPDX-License-Identifier: Apache-2.0 */
/* Tables, views and indexes of a store, and its versions. Not for other folders. */
#ifndef STORE_SCHEMA_H
#define STORE_SCHEMA_H

#include "core/err.h"

#define SCHEMA_APPLICATION_ID 0x53484457 /* "SHDW" */

struct store;

/* user_version of the files this program writes. */
int schema_version(void);

/* Makes or migrates the schema; for a file that may be written. A store that is already of this
 * version is left as it is. */
int schema_prepare(struct store *st, struct err *err);

/* Built when a capture or a replay ends: while it runs they would cost more than the rows. */
int schema_index_captures(struct store *st, struct err *err);
int schema_index_replays(struct store *st, struct err *err);

#endif
