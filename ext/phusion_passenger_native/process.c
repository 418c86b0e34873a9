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
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* Seen as the exit status of a process that had to be ended this way. */
#define HANGUP_EXIT_STATUS 75

/* The one watch of this process. Its thread does not live on in a fork. */
static struct hangup_watch {
    int fd;
    long grace_ms;
    int end_fd; /* an eventfd that ends the watch */
    pthread_t thread;
    pid_t pid; /* 0: there is none */
} hangup_watch;

/* Returns whether the watch has been ended meanwhile. */
static bool ended_within(const struct hangup_watch *watch, long milliseconds)
{
    struct pollfd end = {watch->end_fd, POLLIN, 0};
    struct timespec now;
    long long deadline, left = milliseconds;

    clock_gettime(CLOCK_MONOTONIC, &now);
    deadline = now.tv_sec * 1000LL + now.tv_nsec / 1000000 + milliseconds;
    while (left > 0) {
        if (poll(&end, 1, (int)left) > 0) return true;
        clock_gettime(CLOCK_MONOTONIC, &now);
        left = deadline - (now.tv_sec * 1000LL + now.tv_nsec / 1000000);
    }
    return false;
}

/* A plain thread that never takes the GVL: an application that is busy in a C
 * extension, or hangs in an at_exit handler, can't hold it up. */
static void *watch_for_hangup(void *argument)
{
    const struct hangup_watch *watch = argument;
    struct pollfd sources[2] = {{watch->fd, 0, 0}, {watch->end_fd, POLLIN, 0}}; /* hang-ups are always reported */

    for (;;) {
        if (poll(sources, 2, -1) < 0) {
            if (errno != EINTR && ended_within(watch, 100)) return NULL;
            continue;
        }
        if (sources[1].revents != 0) return NULL;
        if (sources[0].revents & POLLNVAL) return NULL; /* the socket was closed on this side */
        if (sources[0].revents & (POLLHUP | POLLERR)) break;
    }
    if (ended_within(watch, watch->grace_ms)) return NULL;
    _exit(HANGUP_EXIT_STATUS);
}

static void *join_watch(void *argument)
{
    pthread_join(((struct hangup_watch *)argument)->thread, NULL);
    return NULL;
}

/* end_hangup_watch: the other side may close its end from now on. To be called
 * before the socket is closed on this side: the kernel keeps a socket that
 * somebody polls. */
static VALUE end_hangup_watch(VALUE self)
{
    const uint64_t one = 1;

    if (hangup_watch.pid == 0) return Qnil;
    if (hangup_watch.pid == getpid()) {
        while (write(hangup_watch.end_fd, &one, sizeof one) < 0 && errno == EINTR) continue;
        rb_nogvl(join_watch, &hangup_watch, NULL, NULL, 0);
    }
    close(hangup_watch.end_fd);
    hangup_watch.pid = 0;
    return Qnil;
}

/* exit_after_hangup(fd, milliseconds): when the other side of a control socket
 * is closed, the process has that long to leave by itself. The socket that was
 * watched before is no longer. */
static VALUE exit_after_hangup(VALUE self, VALUE fd, VALUE milliseconds)
{
    struct hangup_watch *watch = &hangup_watch;
    int control = NUM2INT(fd);
    long grace_ms = NUM2LONG(milliseconds);
    pthread_attr_t attributes;
    sigset_t all, before;
    int error;

    end_hangup_watch(self);
    watch->fd = control;
    watch->grace_ms = grace_ms;
    watch->end_fd = eventfd(0, EFD_CLOEXEC);
    if (watch->end_fd < 0) rb_sys_fail("eventfd");
    rb_update_max_fd(watch->end_fd);

    /* Signals are Ruby's business: this thread must not be picked to handle one. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    error = pthread_create(&watch->thread, &attributes, watch_for_hangup, watch);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        close(watch->end_fd);
        rb_syserr_fail(error, "pthread_create");
    }
    watch->pid = getpid();
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

/* close_on_fork([fd, …]): the sockets that belong to this process alone. A
 * process that the application forks would otherwise keep them open after this
 * one has died, and could answer a second time. Replaces what was given before;
 * in a fork that was given sockets of its own it makes them usable. */
static VALUE close_on_fork(VALUE self, VALUE fds)
{
    static bool registered;
    long count, i;
    int error;

    Check_Type(fds, T_ARRAY);
    count = RARRAY_LEN(fds);
    private_fd_count = 0;
    REALLOC_N(private_fds, int, count + 1);
    for (i = 0; i < count; i++) private_fds[i] = NUM2INT(RARRAY_AREF(fds, i));
    private_fd_count = count;
    in_foreign_fork = false;
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
    rb_define_module_function(pn_module, "end_hangup_watch", end_hangup_watch, 0);
    rb_define_module_function(pn_module, "close_on_fork", close_on_fork, 1);
}
