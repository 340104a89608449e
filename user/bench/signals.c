/* Rows about signals: installing a handler, and a signal to oneself with the handler's return. */
#include <signal.h>
#include <unistd.h>

#include "user/bench/bench.h"

static volatile sig_atomic_t caught;

static void
handler(int signal)
{
	(void)signal;
	caught++;
}

static uint64_t
run_install(unsigned int n)
{
	struct sigaction action = { .sa_handler = handler };
	uint64_t start = now();

	while (n--)
		check(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
	return now() - start;
}

static uint64_t
run_catch(unsigned int n)
{
	struct sigaction action = { .sa_handler = handler };
	pid_t self = getpid();
	uint64_t start;

	check(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
	caught = 0;
	start = now();
	for (unsigned int i = 0; i < n; i++)
		kill(self, SIGUSR1);
	start = now() - start;
	check((unsigned int)caught == n, "a signal was lost");
	return start;
}

const struct row signal_rows[] = {
	{ "signal-install", run_install, 10000, "sigaction" },
	{ "signal-catch", run_catch, 5000, "kill oneself: send, run the handler, return" },
	{ 0 },
};
