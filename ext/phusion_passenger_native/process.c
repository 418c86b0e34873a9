/* Guards that hold whatever Ruby code is doing: a process whose engine has
 * died leaves in time, and a process that the application forks off a worker
 * does not keep the worker's sockets. */
#include "native.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Seen as the exit status of a process that had to be ended this way. */
#define HANGUP_EXIT_STATUS 75

struct hangup_watch {
    int fd;
    long grace_ms;
};

static void sleep_ms(long milliseconds)
{
    struct timespec left = {milliseconds / 1000, (milliseconds % 1000) * 1000000L};

    while (nanosleep(&left, &left) < 0 && errno == EINTR) continue;
}

/* A plain thread that never takes the GVL: an application that is busy in a C
 * extension, or hangs in an at_exit handler, can't hold it up. */
static void *watch_for_hangup(void *argument)
{
    struct hangup_watch watch = *(struct hangup_watch *)argument;
    struct pollfd poll_for = {watch.fd, 0, 0}; /* hang-ups are always reported */

    free(argument);
    while (poll(&poll_for, 1, -1) < 0 || !(poll_for.revents & (POLLHUP | POLLERR | POLLNVAL))) {
        if (errno != EINTR && errno != EAGAIN && poll_for.revents == 0) sleep_ms(100);
    }
    if (poll_for.revents & POLLNVAL) return NULL; /* the socket was closed on this side */
    sleep_ms(watch.grace_ms);
    _exit(HANGUP_EXIT_STATUS);
}

/* exit_after_hangup(fd, milliseconds): when the other side of a control socket
 * is closed, the process has that long to leave by itself. */
static VALUE exit_after_hangup(VALUE self, VALUE fd, VALUE milliseconds)
{
    struct hangup_watch *watch = malloc(sizeof *watch);
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int error;

    if (watch == NULL) rb_memerror();
    watch->fd = NUM2INT(fd);
    watch->grace_ms = NUM2LONG(milliseconds);

    /* Signals are Ruby's business: this thread must not be picked to handle one. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    error = pthread_create(&thread, &attributes, watch_for_hangup, watch);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        free(watch);
        rb_syserr_fail(error, "pthread_create");
    }
    return Qnil;
}

static int *private_fds;
static size_t private_fd_count;
static bool in_foreign_fork;

bool pn_in_foreign_fork(void)
{
    return in_foreign_fork;
}

/* Runs in the child of any fork(2); close is all it does, so it is safe there. */
static void close_private_fds(void)
{
    size_t i;

    if (private_fd_count == 0) return;
    for (i = 0; i < private_fd_count; i++) close(private_fds[i]);
    private_fd_count = 0;
    in_foreign_fork = true;
}

/* close_on_fork([fd, …]): called once in a worker. A process that the
 * application forks would otherwise keep the sockets open after the worker has
 * died, and could answer a second time. */
static VALUE close_on_fork(VALUE self, VALUE fds)
{
    static bool registered;
    long count, i;
    int error;

    Check_Type(fds, T_ARRAY);
    count = RARRAY_LEN(fds);
    REALLOC_N(private_fds, int, count);
    for (i = 0; i < count; i++) private_fds[i] = NUM2INT(RARRAY_AREF(fds, i));
    private_fd_count = count;
    if (!registered) {
        error = pthread_atfork(NULL, NULL, close_private_fds);
        if (error != 0) rb_syserr_fail(error, "pthread_atfork");
        registered = true;
    }
    return Qnil;
}

/* batch_scheduling: has the kernel treat the calling thread as one that need
 * not run the moment it is woken. A request for an idle worker then does not
 * push the engine off its processor in the middle of a round; measured, that is
 * a sixth more requests/s where processors are scarce, and no difference where
 * one is free. Threads and processes started by this thread are not affected.
 * Returns whether it was done: a policy that somebody has chosen stays, and
 * some sandboxes refuse. */
static VALUE batch_scheduling(VALUE self)
{
#if defined(SCHED_BATCH) && defined(SCHED_RESET_ON_FORK)
    struct sched_param parameters = {0};

    if (sched_getscheduler(0) != SCHED_OTHER) return Qfalse;
    return sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &parameters) == 0 ? Qtrue : Qfalse;
#else
    return Qfalse;
#endif
}

void pn_init_process(void)
{
    rb_define_module_function(pn_module, "batch_scheduling", batch_scheduling, 0);
    rb_define_module_function(pn_module, "exit_after_hangup", exit_after_hangup, 2);
    rb_define_module_function(pn_module, "close_on_fork", close_on_fork, 1);
}
