/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

static const struct command *const commands[] = {
	&command_capture,
	&command_replay,
	&command_mirror,
	&command_convert,
	&command_export,
	&command_import,
	&command_query,
	&command_info,
	&command_store,
	&command_explain,
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void help(void)
{
	printf("Usage: shadow-ctl COMMAND [OPTIONS] ...\n\n"
	       "Captures real HTTP traffic, keeps it as a dataset, and replays it at another target.\n\n"
	       "Commands:\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		printf("  %-10s%.*s\n", commands[i]->name,
		       (int)strcspn(commands[i]->summary, "\n"), commands[i]->summary);
	printf("\nOptions:\n  --help     this text; after a command, that command's options\n"
	       "  --version  the version\n");
}

static int run(int argc, char **argv)
{
	if (argc < 2) {
		say("expected a command (see shadow-ctl --help)");
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
		help();
		return EXIT_DONE;
	}
	for (int i = 1; i < argc && i < 3; i++) {
		if (strcmp(argv[i], "--version") == 0) {
			printf("shadow-ctl %s\n", SHADOW_VERSION);
			return EXIT_DONE;
		}
	}
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (strcmp(argv[1], commands[i]->name) == 0)
			return command_run(commands[i], argc - 1, argv + 1);
	}
	say("'%s' is no command (see shadow-ctl --help)", argv[1]);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	int status;

	/* A file that may not grow (ulimit -f) is an error of write(2), as a full disk is. */
	(void)signal(SIGXFSZ, SIG_IGN);
	status = run(argc, argv);
	if ((fflush(stdout) || ferror(stdout)) && status == EXIT_DONE) {
		say("standard output: cannot be written");
		status = EXIT_FAILED;
	}
	return status;
}
