/* SPDX-License-Identifier: Apache-2.0 */
/* Giving up root, with libcap-ng. What parses strangers' bytes and writes the dataset runs with no
 * more rights than the user who asked for it. */
#include "privilege.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static bool parse_id(const char *text, uid_t *ret)
{
	char *end;
	unsigned long v;

	if (!text || !*text)
		return false;
	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno || *end || v == 0 || v >= UINT32_MAX)
		return false;
	*ret = (uid_t)v;
	return true;
}

/* False: nobody in particular. */
static bool wanted_ids(const char *user, uid_t *uid, gid_t *gid, int *rc, struct err *err)
{
	const struct passwd *pw;

	*rc = SC_OK;
	if (user) {
		pw = getpwnam(user);
		if (!pw) {
			*rc = err_set(err, SC_EINVAL, "--user: there is no user '%s'", user);
			return false;
		}
		*uid = pw->pw_uid;
		*gid = pw->pw_gid;
		return true;
	}
	return geteuid() == 0 && parse_id(getenv("SUDO_UID"), uid) &&
	       parse_id(getenv("SUDO_GID"), gid);
}

int privilege_drop(const char *user, struct err *err)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int rc;

	if (wanted_ids(user, &uid, &gid, &rc, err) && (uid != geteuid() || gid != getegid())) {
		if (geteuid() != 0)
			return err_set(err, SC_EINVAL, "--user %s: only root can become another user",
				       user);
		if (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
			return err_set(err, SC_EIO, "cannot become user %u: %s", (unsigned)uid,
				       strerror(errno));
	}
	if (rc)
		return rc;
	capng_clear(CAPNG_SELECT_CAPS);
	if (capng_apply(CAPNG_SELECT_CAPS) || capng_have_capabilities(CAPNG_SELECT_CAPS) > CAPNG_NONE)
		return err_set(err, SC_EIO, "cannot give up capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_set(err, SC_EIO, "cannot give up new privileges: %s", strerror(errno));
	return SC_OK;
}
