/* The receiving half of a slot: taking requests off the queue. */
#include "handover.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

VALUE pn_slot_class;

/* ---- Scoreboard ---------------------------------------------------------- */

struct scoreboard {
    struct pn_record *records;
    size_t count;
};

static void scoreboard_free(void *p)
{
    struct scoreboard *board = p;

    if (board->records != NULL) munmap(board->records, board->count * sizeof(struct pn_record));
    xfree(board);
}

static const rb_data_type_t scoreboard_type = {
    .wrap_struct_name = "PhusionPassenger::Native::Scoreboard",
    .function = {.dfree = scoreboard_free},
    .flags = RUBY_TYPED_FREE_IMMEDIATELY,
};

static VALUE scoreboard_allocate(VALUE klass)
{
    struct scoreboard *board;

    return TypedData_Make_Struct(klass, struct scoreboard, &scoreboard_type, board);
}

/* Scoreboard.new(fd): maps it; the descriptor may be closed afterwards */
static VALUE scoreboard_initialize(VALUE self, VALUE fd)
{
    struct scoreboard *board;
    struct stat status;
    void *memory;

    TypedData_Get_Struct(self, struct scoreboard, &scoreboard_type, board);
    if (fstat(NUM2INT(fd), &status) < 0) rb_sys_fail("scoreboard: fstat");
    if (status.st_size < (off_t)sizeof(struct pn_record)) {
        rb_raise(pn_protocol_error, "the scoreboard has %ld bytes, less than one record", (long)status.st_size);
    }
    memory = mmap(NULL, status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, NUM2INT(fd), 0);
    if (memory == MAP_FAILED) rb_sys_fail("scoreboard: mmap");
    board->records = memory;
    board->count = status.st_size / sizeof(struct pn_record);
    return self;
}

static struct pn_record *scoreboard_record(VALUE self, VALUE index)
{
    struct scoreboard *board;
    long i = NUM2LONG(index);

    TypedData_Get_Struct(self, struct scoreboard, &scoreboard_type, board);
    if (i < 0 || (size_t)i >= board->count) {
        rb_raise(pn_protocol_error, "slot %ld is not on the scoreboard, which has %zu", i, board->count);
    }
    return &board->records[i];
}

/* ---- Turn ---------------------------------------------------------------- */

static void turn_free(void *p)
{
    struct pn_turn *turn = p;

    sem_destroy(&turn->token);
    xfree(turn);
}

static const rb_data_type_t turn_type = {
    .wrap_struct_name = "PhusionPassenger::Native::Turn",
    .function = {.dfree = turn_free},
    .flags = RUBY_TYPED_FREE_IMMEDIATELY,
};

static VALUE turn_allocate(VALUE klass)
{
    struct pn_turn *turn;
    VALUE self = TypedData_Make_Struct(klass, struct pn_turn, &turn_type, turn);

    if (sem_init(&turn->token, 0, 1) < 0) rb_sys_fail("sem_init");
    return self;
}

/* ---- Slot ---------------------------------------------------------------- */

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
    slot->queue_fd = slot->stream_fd = slot->body_fd = -1;
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

/* Slot.new(queue_fd, stream_fd, scoreboard, index, env_template, turn)
 *
 * turn is a Turn shared by the slots of a worker with several threads, or nil.
 */
static VALUE slot_initialize(VALUE self, VALUE queue_fd, VALUE stream_fd, VALUE scoreboard, VALUE index,
                             VALUE template, VALUE turn)
{
    /* What the kernel allows of it (net.core.wmem_max, doubled) decides how
     * large a response can be handed over without waiting for the engine. */
    const int send_buffer = 1024 * 1024;
    struct pn_slot *slot;

    TypedData_Get_Struct(self, struct pn_slot, &slot_type, slot);
    Check_Type(template, T_HASH);
    slot->record = scoreboard_record(scoreboard, index);
    slot->scoreboard = scoreboard;
    if (!NIL_P(turn)) {
        TypedData_Get_Struct(turn, struct pn_turn, &turn_type, slot->turn);
        slot->turn_object = turn;
    }
    slot->template = template;
    slot->queue_fd = NUM2INT(queue_fd);
    slot->stream_fd = NUM2INT(stream_fd);
    prepare_socket(slot->queue_fd);
    prepare_socket(slot->stream_fd);
    if (setsockopt(slot->stream_fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer) < 0) {
        rb_sys_fail("slot: SO_SNDBUF");
    }
    slot->inbox = xmalloc(PN_REQUEST_MAX_BYTES); /* pages are taken from the kernel as far as messages reach */

    atomic_store_explicit(&slot->record->pid, (uint32_t)getpid(), memory_order_relaxed);
    atomic_store_explicit(&slot->record->state, PN_STATE_IDLE, memory_order_release);
    return self;
}

/* The first thing that is done with a request: should this process die at any
 * later point, the engine knows whose request died with it. */
static void post_on_scoreboard(struct pn_slot *slot)
{
    struct pn_record *record = slot->record;
    uint64_t id = pn_get64(slot->inbox + 8), sequence = id >> PN_SEQUENCE_SHIFT;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    atomic_store_explicit(&record->request_id, id, memory_order_relaxed);
    atomic_store_explicit(&record->started_at, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
                          memory_order_relaxed);
    if (sequence > atomic_load_explicit(&record->sequence, memory_order_relaxed)) {
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

static enum pn_receipt take_message(struct pn_slot *slot, int flags)
{
    struct iovec part = {slot->inbox, PN_REQUEST_MAX_BYTES};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t length = recvmsg(slot->queue_fd, &message, flags | MSG_CMSG_CLOEXEC);

    if (length > 0) {
        slot->inbox_length = (size_t)length;
        slot->inbox_flags = message.msg_flags;
        if (length >= PN_REQUEST_HEADER_BYTES) post_on_scoreboard(slot);
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

/* Runs without the GVL. In a worker with several threads one at a time gets as
 * far as the queue; it passes the turn on before it asks for the GVL, so that
 * the next one can take its place there meanwhile. */
static void *wait_for_message(void *argument)
{
    struct pn_slot *slot = argument;

    if (slot->turn != NULL && sem_wait(&slot->turn->token) < 0) return NULL; /* EINTR, as preset */
    slot->receipt = take_message(slot, 0);
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
    slot->head_request = slot->client_gone = slot->hijacked = false;
    env = rb_protect(build_env, (VALUE)slot, &state);
    if (slot->body_fd >= 0) {
        close(slot->body_fd);
        slot->body_fd = -1;
    }
    if (state) rb_jump_tag(state);
    return env;
}

/* receive -> env of the next request, or nil: the queue has ended or stop was
 * called. Once a message has been taken off the queue nothing comes between it
 * and the return of its env: pending interrupts (Thread#raise, Thread#kill)
 * are taken before the wait, never after it. */
static VALUE slot_receive(VALUE self)
{
    struct pn_slot *slot = pn_slot_get(self);

    settle(slot);
    if (pn_in_foreign_fork() || slot->broken) return Qnil;
    for (;;) {
        if (atomic_load_explicit(&slot->stop, memory_order_relaxed)) return Qnil;
        slot->receipt = take_message(slot, MSG_DONTWAIT);
        if (slot->receipt == PN_NOTHING_YET) {
            slot->receipt = PN_INTERRUPTED; /* stays so if the wait isn't even begun */
            rb_nogvl(wait_for_message, slot, RUBY_UBF_IO, NULL, RB_NOGVL_INTR_FAIL);
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

/* stop: receive gives no further request. A thread that waits in receive must
 * be woken with Thread#wakeup afterwards. */
static VALUE slot_stop(VALUE self)
{
    atomic_store_explicit(&pn_slot_get(self)->stop, true, memory_order_relaxed);
    return Qnil;
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
    return Qnil;
}

void pn_init_slot(void)
{
    VALUE scoreboard = rb_define_class_under(pn_module, "Scoreboard", rb_cObject);
    VALUE turn = rb_define_class_under(pn_module, "Turn", rb_cObject);

    rb_define_alloc_func(scoreboard, scoreboard_allocate);
    rb_define_method(scoreboard, "initialize", scoreboard_initialize, 1);
    rb_define_alloc_func(turn, turn_allocate);

    pn_slot_class = rb_define_class_under(pn_module, "Slot", rb_cObject);
    rb_define_alloc_func(pn_slot_class, slot_allocate);
    rb_define_method(pn_slot_class, "initialize", slot_initialize, 6);
    rb_define_method(pn_slot_class, "receive", slot_receive, 0);
    rb_define_method(pn_slot_class, "stop", slot_stop, 0);
    rb_define_method(pn_slot_class, "request_id", slot_request_id, 0);
    rb_define_method(pn_slot_class, "close", slot_close, 0);
}
