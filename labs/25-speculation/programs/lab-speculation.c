/*
 * The program behind the checks: processes of different users, which hand a ball from one to the next.
 *
 *	lab-speculation gates
 *	lab-speculation turns CPU PLAYERS MOVES	PLAYERS: CPU.USER,...; MOVES: for each turn whose it is (a letter), as which
 *						user from then on (a player's digit; - as before), and how the ball gets
 *						there: d from the player before, or i by way of this process, which is on
 *						CPU and waits until the other one idles
 *	lab-speculation row READS		/proc/harden, so often
 *
 * The grader stops it in checkpoint() and reads `results` (user/lab/program.h).
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "user/lab/program.h"

enum { AT_GATES = 1, AT_TURN, AT_ROW, AT_END };
enum { R_PLAYER = R_OWN, R_USER };
#define PLAYERS 9
#define OVER	255 /* instead of a move's number */

static struct player {
	int cpu;
	uid_t user;
	int ball[2];
} players[PLAYERS];
static int nplayers, here[2];
static const char *moves;
static int nmoves;

static void
hand(int fd, int move)
{
	unsigned char ball = (unsigned char)move;

	must(write(fd, &ball, 1) == 1);
}

static int
take(int fd)
{
	unsigned char ball;

	must(read(fd, &ball, 1) == 1);
	return ball;
}

static int
whose(int move)
{
	return moves[3 * move] - 'a';
}

static void
become(uid_t user)
{
	must(setresuid(user, user, user) == 0 && geteuid() == user);
	results[R_USER] = user;
}

static void
play(int me)
{
	int move;

	must(pin(players[me].cpu) == 0);
	results[R_PLAYER] = me;
	if (players[me].user)
		become(players[me].user);
	hand(here[1], me); /* it is who it is to be */
	while ((move = take(players[me].ball[0])) != OVER) {
		char act = moves[3 * move + 1];

		if (act != '-')
			become(players[act - '0'].user);
		checkpoint(AT_TURN);
		move++;
		hand(move == nmoves || moves[3 * move + 2] == 'i' ? here[1] : players[whose(move)].ball[1], move);
	}
	_exit(0);
}

static void
turns(int cpu, char *who)
{
	pid_t pids[PLAYERS];
	int move;

	must(pin(cpu) == 0 && pipe(here) == 0);
	for (char *word = strtok(who, ","); word && nplayers < PLAYERS; word = strtok(NULL, ",")) {
		struct player *p = &players[nplayers++];

		p->cpu = word[0] - '0';
		p->user = (uid_t)strtoul(word + 2, NULL, 10);
		must(pipe(p->ball) == 0);
	}
	for (int i = 0; i < nplayers; i++) {
		must((pids[i] = fork()) >= 0);
		if (pids[i] == 0)
			play(i);
		take(here[0]);
	}
	for (move = 0; move < nmoves; move = take(here[0])) {
		usleep(4000);
		hand(players[whose(move)].ball[1], move);
	}
	for (int i = 0; i < nplayers; i++) {
		hand(players[i].ball[1], OVER);
		must(status_of(pids[i]) == 0);
	}
}

static void
look(void)
{
	static char text[1 << 14];
	int fd = open("/proc/harden", O_RDONLY);

	must(fd >= 0);
	while (read(fd, text, sizeof(text)) > 0)
		;
	close(fd);
}

int
main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "gates") == 0) {
		run_ordinary_programs();
		checkpoint(AT_GATES);
	} else if (argc == 5 && strcmp(argv[1], "turns") == 0) {
		moves = argv[4];
		nmoves = (int)strlen(moves) / 3;
		must(nmoves < OVER);
		turns(atoi(argv[2]), argv[3]);
	} else if (argc == 3 && strcmp(argv[1], "row") == 0) {
		for (int i = atoi(argv[2]); i > 0; i--) {
			checkpoint(AT_ROW);
			look();
		}
	} else {
		return 2;
	}
	checkpoint(AT_END);
	return 0;
}
