/* SPDX-License-Identifier: Apache-2.0 */
/* What the files about messages share. Not for others. */
#ifndef CORE_MESSAGE_PRIVATE_H
#define CORE_MESSAGE_PRIVATE_H

#include "core/message.h"

/* One allocation with room for a head and for fields, both empty. NULL: no memory. */
struct message *message_alloc(uint32_t head_room, uint32_t fields_room, size_t body_max);

#endif
