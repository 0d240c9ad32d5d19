/* SPDX-License-Identifier: Apache-2.0 */
/* Exchanges as text or bytes, one after the other. Holds one; an exchange that cannot be said is
 * counted and leaves nothing in the file. */
#include "render.h"

#include <stdlib.h>

#include "core/limits.h"
#include "format_io.h"

struct render_sink {
	struct sink sink; /* first */
	struct output *output;
	render_exchange *render;
	struct render about;
	struct buf text; /* of one exchange */
	uint64_t kept;
};

static int render_put(struct sink *s, const struct exchange *ex, struct err *err)
{
	struct render_sink *r = (struct render_sink *)s;
	int rc;

	buf_clear(&r->text);
	rc = r->render(ex, &r->about, &r->text);
	r->about.number++;
	if (rc == SC_EFULL) {
		format_note(r->about.notes, "exchanges over 64 MiB as text, left out");
		return SC_OK;
	}
	if (rc)
		return err_set(err, rc, "%s: no memory", output_name(r->output));
	rc = output_add(r->output, buf_span(&r->text), err);
	r->kept += rc == SC_OK && r->text.len != 0;
	return rc;
}

static int render_finish(struct sink *s, int64_t now_us, struct err *err)
{
	(void)now_us;
	return output_finish(((struct render_sink *)s)->output, err);
}

static uint64_t render_kept(const struct sink *s)
{
	return ((const struct render_sink *)s)->kept;
}

static void render_free(struct sink *s)
{
	struct render_sink *r = (struct render_sink *)s;

	output_free(r->output);
	buf_done(&r->text);
	buf_done(&r->about.scratch);
	free(r);
}

static const struct sink_ops render_ops = {
	.put = render_put,
	.finish = render_finish,
	.kept = render_kept,
	.free = render_free,
};

int render_sink_new(const struct format_args *args, const char *head, render_exchange *render,
		    struct sink **ret, struct err *err)
{
	struct render_sink *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(err, SC_ENOMEM, "%s: no memory", args->path);
	r->sink.ops = &render_ops;
	r->render = render;
	r->about.notes = args->notes;
	buf_init(&r->about.scratch, LIMIT_FORMAT_RECORD);
	buf_init(&r->text, LIMIT_FORMAT_RECORD);
	rc = output_open(args->path, &r->output, err);
	if (!rc && head)
		rc = output_str(r->output, head, err);
	if (rc)
		render_free(&r->sink);
	else
		*ret = &r->sink; /* moved */
	return rc;
}
