/* SPDX-License-Identifier: Apache-2.0 */
/* A compiled JSONPath, between the one who reads paths and the one who follows them. */
#ifndef CORE_JSON_STEPS_H
#define CORE_JSON_STEPS_H

#include "core/limits.h"
#include "json_path.h"

enum step_kind { STEP_NAME, STEP_INDEX, STEP_ANY };

struct json_step {
	enum step_kind kind;
	bool deep; /* of any descendant, not of a child alone */
	char *name;
	size_t len;
	uint64_t index;
};

struct json_path {
	struct json_step *steps;
	unsigned n;
	struct rule_use use;
};

/* Most paths are ..name; those are one look into a table. For the others a bit for each step says
 * where in the path a container is: at most LIMIT_JSON_STEPS and one for its end. */
struct json_paths {
	struct names names;
	struct json_path *list;
	unsigned n;
	uint32_t *states; /* n of them a level, LIMIT_JSON_DEPTH + 2 levels */
};

#endif
