/* The receiving half of a slot: taking requests off the queue. */
#include "handover.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

VALUE pn_slot_class;

static void slot_mark(void *p)
{
    struct pn_slot *slot = p;
    int i;

    rb_gc_mark(slot->self); /* so that it is not moved */
    rb_gc_mark(slot->scoreboard);
    rb_gc_mark(slot->turn_object);
    rb_gc_mark(slot->template);
    rb_gc_mark(slot->input);
    for (i = 0; i < PN_RECURRING_COUNT; i++) rb_gc_mark(slot->recurring[i]);
}

static void slot_free(void *p)
{
    struct pn_slot *slot = p;

    if (slot->epoll_fd >= 0) close(slot->epoll_fd);
    xfree(slot->inbox);
    xfree(slot->out.bytes);
    xfree(slot);
}

static size_t slot_size(const void *p)
{
    const struct pn_slot *slot = p;

    return sizeof *slot + PN_REQUEST_MAX_BYTES + slot->out.capacity;
}

static const rb_data_type_t slot_type = {
    .wrap_struct_name = "PhusionPassenger::Native::Slot",
    .function = {.dmark = slot_mark, .dfree = slot_free, .dsize = slot_size},
    .flags = RUBY_TYPED_FREE_IMMEDIATELY,
};

static VALUE slot_allocate(VALUE klass)
{
    struct pn_slot *slot;
    VALUE self = TypedData_Make_Struct(klass, struct pn_slot, &slot_type, slot);
    int i;

    slot->self = self;
    slot->queue_fd = slot->stream_fd = slot->body_fd = slot->direct_fd = slot->epoll_fd = -1;
    slot->scoreboard = slot->turn_object = slot->template = slot->input = Qnil;
    for (i = 0; i < PN_RECURRING_COUNT; i++) slot->recurring[i] = Qnil;
    return self;
}

struct pn_slot *pn_slot_get(VALUE self)
{
    struct pn_slot *slot;

    TypedData_Get_Struct(self, struct pn_slot, &slot_type, slot);
    if (slot->inbox == NULL) rb_raise(rb_eRuntimeError, "slot is not initialized");
    return slot;
}

static void prepare_socket(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    /* All waiting here is done by blocking without the GVL. */
    if (flags < 0 || ((flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)) rb_sys_fail("slot: fcntl");
}

/* How many requests of the worker's own may come one after the other while the
 * common queue has some, too. More would starve the clients that no worker
 * knows yet; fewer would let those wait that can go nowhere else. */
#define OWN_IN_A_ROW_MAX 4

static void wait_for_queue(struct pn_slot *slot, int queue, uint32_t events)
{
    struct epoll_event event = {.events = events};

    if (epoll_ctl(slot->epoll_fd, EPOLL_CTL_ADD, queue, &event) < 0) rb_sys_fail("slot: epoll_ctl");
}

/* Of all workers that wait for the common queue the kernel wakes only one for
 * a request: that is what EPOLLEXCLUSIVE is for. An epoll instance in which no
 * thread waits at the moment is passed over. */
static void use_direct_queue(struct pn_slot *slot, int direct_fd)
{
    slot->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (slot->epoll_fd < 0) rb_sys_fail("slot: epoll_create1");
    rb_update_max_fd(slot->epoll_fd);
    wait_for_queue(slot, direct_fd, EPOLLIN);
    wait_for_queue(slot, slot->queue_fd, EPOLLIN | EPOLLEXCLUSIVE);
    slot->direct_fd = direct_fd;
}

/* Slot.new(queue_fd, stream_fd, scoreboard, index, env_template, turn, direct_fd)
 *
 * turn is a Turn shared by the slots of a worker with several threads, or nil;
 * direct_fd is the worker's own queue, or nil.
 */
static VALUE slot_initialize(VALUE self, VALUE queue_fd, VALUE stream_fd, VALUE scoreboard, VALUE index,
                             VALUE template, VALUE turn, VALUE direct_fd)
{
    /* What the kernel allows of it (net.core.wmem_max, doubled) decides how
     * large a response can be handed over without waiting for the engine. */
    const int send_buffer = 1024 * 1024;
    struct pn_slot *slot;

    TypedData_Get_Struct(self, struct pn_slot, &slot_type, slot);
    Check_Type(template, T_HASH);
    slot->record = pn_scoreboard_record(scoreboard, index);
    slot->scoreboard = scoreboard;
    if (!NIL_P(turn)) {
        TypedData_Get_Struct(turn, struct pn_turn, &pn_turn_type, slot->turn);
        slot->turn_object = turn;
    }
    slot->template = template;
    slot->queue_fd = NUM2INT(queue_fd);
    slot->stream_fd = NUM2INT(stream_fd);
    prepare_socket(slot->queue_fd);
    prepare_socket(slot->stream_fd);
    if (!NIL_P(direct_fd)) use_direct_queue(slot, NUM2INT(direct_fd));
    if (setsockopt(slot->stream_fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer) < 0) {
        rb_sys_fail("slot: SO_SNDBUF");
    }
    slot->inbox = xmalloc(PN_REQUEST_MAX_BYTES); /* pages are taken from the kernel as far as messages reach */

    atomic_store_explicit(&slot->record->pid, (uint32_t)getpid(), memory_order_relaxed);
    atomic_store_explicit(&slot->record->state, PN_STATE_IDLE, memory_order_release);
    return self;
}

/* The first thing that is done with a request: should this process die at any
 * later point, the engine knows whose request died with it. The sequence number
 * is about the common queue alone: the engine concludes from it what is still
 * in there. */
static void post_on_scoreboard(struct pn_slot *slot, bool own)
{
    struct pn_record *record = slot->record;
    uint64_t id = pn_get64(slot->inbox + 8), sequence = id >> PN_SEQUENCE_SHIFT;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    atomic_store_explicit(&record->previous_started_at,
                          atomic_load_explicit(&record->started_at, memory_order_relaxed), memory_order_relaxed);
    atomic_store_explicit(&record->previous_id, atomic_load_explicit(&record->request_id, memory_order_relaxed),
                          memory_order_relaxed);
    atomic_store_explicit(&record->request_id, id, memory_order_relaxed);
    atomic_store_explicit(&record->started_at, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
                          memory_order_relaxed);
    if (!own && sequence > atomic_load_explicit(&record->sequence, memory_order_relaxed)) {
        atomic_store_explicit(&record->sequence, sequence, memory_order_relaxed);
    }
    atomic_store_explicit(&record->state, PN_STATE_WORKING, memory_order_release);
    slot->request_id = id;
}

static int received_descriptor(struct pn_slot *slot, struct msghdr *message)
{
    struct cmsghdr *part = CMSG_FIRSTHDR(message);
    int fd;

    if (part == NULL || part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) return -1;
    memcpy(&fd, CMSG_DATA(part), sizeof fd);
    return fd;
}

static enum pn_receipt take_message(struct pn_slot *slot, int queue, int flags)
{
    struct iovec part = {slot->inbox, PN_REQUEST_MAX_BYTES};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t length = recvmsg(queue, &message, flags | MSG_CMSG_CLOEXEC);

    if (length > 0) {
        slot->inbox_length = (size_t)length;
        slot->inbox_flags = message.msg_flags;
        if (length >= PN_REQUEST_HEADER_BYTES) post_on_scoreboard(slot, queue == slot->direct_fd);
        pn_turn_begin_request(slot);
        slot->body_fd = message.msg_controllen > 0 ? received_descriptor(slot, &message) : -1;
        return PN_RECEIVED;
    }
    if (length == 0) return PN_QUEUE_ENDED;
    switch (errno) {
      case EINTR:
        return PN_INTERRUPTED;
      case EAGAIN:
        return PN_NOTHING_YET;
      case ECONNRESET: /* the engine died with messages unread */
        return PN_QUEUE_ENDED;
    }
    slot->receive_error = errno;
    return PN_RECEIVE_FAILED;
}

static enum pn_receipt try_common_queue(struct pn_slot *slot)
{
    return pn_turn_yields(slot->turn) ? PN_NOTHING_YET : take_message(slot, slot->queue_fd, MSG_DONTWAIT);
}

/* Takes what there is. The worker's own requests come first, since nobody else
 * can take them, but not for ever. The end of either queue means that the engine
 * wants nothing more of this worker. */
static enum pn_receipt try_queues(struct pn_slot *slot)
{
    enum pn_receipt receipt;

    if (slot->direct_fd < 0) return try_common_queue(slot);
    if (slot->own_in_a_row < OWN_IN_A_ROW_MAX) {
        receipt = take_message(slot, slot->direct_fd, MSG_DONTWAIT);
        if (receipt != PN_NOTHING_YET) {
            slot->own_in_a_row++;
            return receipt;
        }
    }
    slot->own_in_a_row = 0;
    receipt = try_common_queue(slot);
    if (receipt != PN_NOTHING_YET) return receipt;
    return take_message(slot, slot->direct_fd, MSG_DONTWAIT);
}

static enum pn_receipt waiting_failed(struct pn_slot *slot)
{
    if (errno == EINTR) return PN_INTERRUPTED;
    slot->receive_error = errno;
    return PN_RECEIVE_FAILED;
}

/* In a worker that works on a request already: waits beside others, who are
 * woken too, so that one that has nothing to do can take what comes. */
static enum pn_receipt wait_while_busy(struct pn_slot *slot)
{
    struct pollfd queues[] = {{slot->queue_fd, POLLIN, 0}, {slot->direct_fd, POLLIN, 0}}; /* poll ignores -1 */
    enum pn_receipt receipt;

    do {
        if (poll(queues, 2, -1) < 0) return waiting_failed(slot);
        receipt = try_queues(slot);
        if (receipt != PN_NOTHING_YET) return receipt;
        if (!pn_turn_let_others(slot->turn)) return PN_INTERRUPTED;
        receipt = take_message(slot, slot->queue_fd, MSG_DONTWAIT);
    } while (receipt == PN_NOTHING_YET);
    return receipt;
}

/* Who waits alone, or first, is woken alone. */
static enum pn_receipt wait_at_queues(struct pn_slot *slot)
{
    struct epoll_event event;
    enum pn_receipt receipt;

    if (!pn_turn_is_idle(slot->turn)) return wait_while_busy(slot);
    if (slot->direct_fd < 0) return take_message(slot, slot->queue_fd, 0);
    do {
        if (epoll_wait(slot->epoll_fd, &event, 1, -1) < 0) return waiting_failed(slot);
        receipt = try_queues(slot);
    } while (receipt == PN_NOTHING_YET); /* another worker was faster */
    return receipt;
}

/* Runs without the GVL. In a worker with several threads one at a time gets as
 * far as the queue; it passes the turn on before it asks for the GVL, so that
 * the next one can take its place there meanwhile. */
static void *wait_for_message(void *argument)
{
    struct pn_slot *slot = argument;

    if (slot->turn != NULL && sem_wait(&slot->turn->token) < 0) return NULL; /* EINTR, as preset */
    slot->receipt = wait_at_queues(slot);
    if (slot->turn != NULL) sem_post(&slot->turn->token);
    return NULL;
}

/* The request of before is over, with all that the application does after it. */
static void settle(struct pn_slot *slot)
{
    struct pn_record *record = slot->record;

    if (slot->answer == PN_NO_REQUEST) return;
    slot->answer = PN_NO_REQUEST;
    pn_settle_offer(slot);
    if (slot->input != Qnil) {
        VALUE input = slot->input;

        slot->input = Qnil;
        rb_io_close(input);
    }
    atomic_fetch_add_explicit(&record->finished, 1, memory_order_relaxed);
    atomic_store_explicit(&record->state, PN_STATE_IDLE, memory_order_release);
    pn_turn_end_request(slot);
}

static VALUE build_env(VALUE argument)
{
    return pn_env_build((struct pn_slot *)argument);
}

static VALUE accept_request(struct pn_slot *slot)
{
    int state;
    VALUE env;

    if (slot->body_fd >= 0) rb_update_max_fd(slot->body_fd);
    slot->answer = PN_UNANSWERED;
    slot->head_request = slot->client_gone = slot->hijacked = slot->oob_wanted = slot->responding = false;
    env = rb_protect(build_env, (VALUE)slot, &state);
    if (slot->body_fd >= 0) {
        close(slot->body_fd);
        slot->body_fd = -1;
    }
    if (state) rb_jump_tag(state);
    return env;
}

/* How long the thread may go from one request to the next without letting other
 * threads run. Ruby itself would let it for 100 ms. */
#define FAIR_SHARE_NS 5000000u

/* While requests wait in the queue nothing in this thread gives up the GVL, if
 * the application does not. Threads that others have (a thread that writes to
 * WebSockets, say) would get one of many turns of 100 ms. */
static void let_other_threads_run(struct pn_slot *slot)
{
    struct timespec now;
    uint64_t ns;

    clock_gettime(CLOCK_MONOTONIC, &now);
    ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    if (ns - slot->let_others_at < FAIR_SHARE_NS) return;
    rb_thread_schedule();
    clock_gettime(CLOCK_MONOTONIC, &now);
    slot->let_others_at = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* receive -> env of the next request, or nil: the queue has ended or stop was
 * called; or false: the slot is paused. Once a message has been taken off the
 * queue nothing comes between it and the return of its env: pending interrupts
 * (Thread#raise, Thread#kill) are taken before the wait, never after it. */
static VALUE slot_receive(VALUE self)
{
    struct pn_slot *slot = pn_slot_get(self);

    settle(slot);
    if (pn_in_foreign_fork() || slot->broken) return Qnil;
    for (;;) {
        let_other_threads_run(slot); /* before it looks: between that and the wait nobody could wake it */
        if (atomic_load_explicit(&slot->stop, memory_order_relaxed)) return Qnil;
        if (atomic_load_explicit(&slot->pause, memory_order_relaxed)) return Qfalse;
        slot->receipt = try_queues(slot);
        if (slot->receipt == PN_NOTHING_YET) {
            slot->receipt = PN_INTERRUPTED; /* stays so if the wait isn't even begun */
            slot->waiting = true;
            rb_nogvl(wait_for_message, slot, RUBY_UBF_IO, NULL, RB_NOGVL_INTR_FAIL);
            slot->waiting = false;
        }
        switch (slot->receipt) {
          case PN_RECEIVED:
            return accept_request(slot);
          case PN_QUEUE_ENDED:
            return Qnil;
          case PN_RECEIVE_FAILED:
            rb_syserr_fail(slot->receive_error, "request queue: recvmsg");
          case PN_NOTHING_YET:
            prepare_socket(slot->queue_fd); /* somebody made the shared queue non-blocking again */
            break;
          case PN_INTERRUPTED:
            break;
        }
        rb_thread_check_ints();
    }
}

/* Has the slot's thread look at what has been asked of it. A thread that does
 * something else is left alone: waking it would cut short the application's
 * sleep. */
static void wake(struct pn_slot *slot, VALUE thread)
{
    if (slot->waiting && !NIL_P(thread)) rb_thread_wakeup_alive(thread);
}

/* stop(thread = nil): receive, which is called by that thread, gives no further request */
static VALUE slot_stop(int argc, VALUE *argv, VALUE self)
{
    struct pn_slot *slot = pn_slot_get(self);

    rb_check_arity(argc, 0, 1);
    atomic_store_explicit(&slot->stop, true, memory_order_relaxed);
    pn_turn_show(slot->turn, false);
    wake(slot, argc > 0 ? argv[0] : Qnil);
    return Qnil;
}

/* pause(thread = nil): receive gives false until resume is called */
static VALUE slot_pause(int argc, VALUE *argv, VALUE self)
{
    struct pn_slot *slot = pn_slot_get(self);

    rb_check_arity(argc, 0, 1);
    atomic_store_explicit(&slot->pause, true, memory_order_relaxed);
    pn_turn_show(slot->turn, false);
    wake(slot, argc > 0 ? argv[0] : Qnil);
    return Qnil;
}

static VALUE slot_resume(VALUE self)
{
    struct pn_slot *slot = pn_slot_get(self);

    atomic_store_explicit(&slot->pause, false, memory_order_relaxed);
    pn_turn_show(slot->turn, true);
    return Qnil;
}

/* oob_wanted? -> whether the response to the last request had the header !~Request-OOB-Work */
static VALUE slot_is_oob_wanted(VALUE self)
{
    return pn_slot_get(self)->oob_wanted ? Qtrue : Qfalse;
}

/* request_id -> Integer id of the request that was received last */
static VALUE slot_request_id(VALUE self)
{
    return ULL2NUM(pn_slot_get(self)->request_id);
}

/* close: ends the response stream; the engine then gives this slot up */
static VALUE slot_close(VALUE self)
{
    struct pn_slot *slot = pn_slot_get(self);

    slot->broken = true;
    if (slot->stream_fd >= 0 && !pn_in_foreign_fork()) close(slot->stream_fd);
    slot->stream_fd = -1;
    if (slot->epoll_fd >= 0) close(slot->epoll_fd);
    slot->epoll_fd = slot->direct_fd = -1;
    return Qnil;
}

void pn_init_slot(void)
{
    pn_slot_class = rb_define_class_under(pn_module, "Slot", rb_cObject);
    rb_define_alloc_func(pn_slot_class, slot_allocate);
    rb_define_method(pn_slot_class, "initialize", slot_initialize, 7);
    rb_define_method(pn_slot_class, "receive", slot_receive, 0);
    rb_define_method(pn_slot_class, "stop", slot_stop, -1);
    rb_define_method(pn_slot_class, "pause", slot_pause, -1);
    rb_define_method(pn_slot_class, "resume", slot_resume, 0);
    rb_define_method(pn_slot_class, "oob_wanted?", slot_is_oob_wanted, 0);
    rb_define_method(pn_slot_class, "request_id", slot_request_id, 0);
    rb_define_method(pn_slot_class, "close", slot_close, 0);
}
