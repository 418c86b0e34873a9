/* Control sockets: short messages with file descriptors. Implemented here and
 * not with Ruby's `socket` library, because that activates the default gem
 * io-wait before the application's bundle has chosen a version of it. */
#include "native.h"
#include "protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* socketpair(:seqpacket | :stream) -> [fd, fd], both closed on exec */
static VALUE socketpair_of(VALUE self, VALUE kind)
{
    ID id = rb_sym2id(rb_to_symbol(kind));
    int type, fds[2];

    if (id == rb_intern("seqpacket")) {
        type = SOCK_SEQPACKET;
    }
    else if (id == rb_intern("stream")) {
        type = SOCK_STREAM;
    }
    else {
        rb_raise(rb_eArgError, "a socket pair is :seqpacket or :stream, not %+" PRIsVALUE, kind);
    }
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) < 0) rb_sys_fail("socketpair");
    rb_update_max_fd(fds[0]);
    rb_update_max_fd(fds[1]);
    return rb_assoc_new(INT2NUM(fds[0]), INT2NUM(fds[1]));
}

/* close_fd(fd): for descriptors that no IO object owns */
static VALUE close_fd(VALUE self, VALUE fd)
{
    if (close(NUM2INT(fd)) < 0 && errno != EINTR) rb_sys_fail("close");
    return Qnil;
}

/* close_on_exec(fd): the control socket of an exec'd preloader comes without the flag */
static VALUE close_on_exec(VALUE self, VALUE fd)
{
    if (fcntl(NUM2INT(fd), F_SETFD, FD_CLOEXEC) < 0) rb_sys_fail("fcntl");
    return Qnil;
}

/* A socket whose description the engine shares may have been left
 * non-blocking; everything here relies on blocking waits. */
static void make_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || ((flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)) rb_sys_fail("fcntl");
}

struct transfer {
    int fd;
    int flags;
    struct msghdr message;
    ssize_t result;
    int error;
};

static void *receive_blocking(void *argument)
{
    struct transfer *t = argument;

    t->result = recvmsg(t->fd, &t->message, t->flags);
    t->error = errno;
    return NULL;
}

static void *send_blocking(void *argument)
{
    struct transfer *t = argument;

    t->result = sendmsg(t->fd, &t->message, t->flags);
    t->error = errno;
    return NULL;
}

/* Runs a transfer without the GVL until it has happened. Interrupts are taken
 * only while nothing has been transferred, so that no message is ever lost. */
static void run_transfer(struct transfer *t, void *(*function)(void *))
{
    for (;;) {
        t->result = -1;
        t->error = EINTR;
        rb_nogvl(function, t, RUBY_UBF_IO, NULL, RB_NOGVL_INTR_FAIL);
        if (t->result >= 0 || t->error != EINTR) return;
        rb_thread_check_ints();
    }
}

static VALUE take_descriptors(struct msghdr *message)
{
    VALUE fds = rb_ary_new();
    struct cmsghdr *part;

    for (part = CMSG_FIRSTHDR(message); part != NULL; part = CMSG_NXTHDR(message, part)) {
        size_t count, i;

        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
            rb_update_max_fd(fd);
            rb_ary_push(fds, INT2NUM(fd));
        }
    }
    return fds;
}

static VALUE close_all(VALUE fds)
{
    long i;

    for (i = 0; i < RARRAY_LEN(fds); i++) close(NUM2INT(RARRAY_AREF(fds, i)));
    return Qnil;
}

/* receive_message(fd) -> [text, [fd, …]], or nil at the end */
static VALUE receive_message(VALUE self, VALUE fd)
{
    VALUE text = rb_str_buf_new(PN_CONTROL_MAX_BYTES);
    VALUE fds;
    struct iovec part = {RSTRING_PTR(text), PN_CONTROL_MAX_BYTES};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * PN_CONTROL_MAX_DESCRIPTORS)];
    } control;
    struct transfer t;

    memset(&t, 0, sizeof t);
    t.fd = NUM2INT(fd);
    t.flags = MSG_CMSG_CLOEXEC;
    t.message.msg_iov = &part;
    t.message.msg_iovlen = 1;
    t.message.msg_control = control.bytes;
    t.message.msg_controllen = sizeof control.bytes;
    make_blocking(t.fd);
    run_transfer(&t, receive_blocking);
    if (t.result < 0) {
        if (t.error == ECONNRESET) return Qnil;
        rb_syserr_fail(t.error, "control socket: recvmsg");
    }
    if (t.result == 0) return Qnil;

    fds = take_descriptors(&t.message);
    if (t.message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        close_all(fds);
        rb_raise(pn_protocol_error, "control message longer than %d bytes or with more than %d descriptors",
                 PN_CONTROL_MAX_BYTES, PN_CONTROL_MAX_DESCRIPTORS);
    }
    rb_str_set_len(text, t.result);
    rb_enc_associate(text, rb_utf8_encoding());
    return rb_assoc_new(text, fds);
}

/* send_message(fd, text, [fd, …]): raises Disconnected when the other side has gone */
static VALUE send_message(VALUE self, VALUE fd, VALUE text, VALUE fds)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * PN_CONTROL_MAX_DESCRIPTORS)];
    } control;
    struct iovec part;
    struct transfer t;
    long count, i;

    StringValue(text);
    text = rb_str_new_frozen(text);
    Check_Type(fds, T_ARRAY);
    count = RARRAY_LEN(fds);
    if (RSTRING_LEN(text) > PN_CONTROL_MAX_BYTES || count > PN_CONTROL_MAX_DESCRIPTORS) {
        rb_raise(pn_protocol_error, "control message of %ld bytes with %ld descriptors: at most %d and %d are allowed",
                 RSTRING_LEN(text), count, PN_CONTROL_MAX_BYTES, PN_CONTROL_MAX_DESCRIPTORS);
    }

    memset(&t, 0, sizeof t);
    t.fd = NUM2INT(fd);
    t.flags = MSG_NOSIGNAL;
    part.iov_base = RSTRING_PTR(text);
    part.iov_len = RSTRING_LEN(text);
    t.message.msg_iov = &part;
    t.message.msg_iovlen = 1;
    if (count > 0) {
        memset(&control, 0, sizeof control);
        t.message.msg_control = control.bytes;
        t.message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int) * count);
        for (i = 0; i < count; i++) {
            int descriptor = NUM2INT(RARRAY_AREF(fds, i));

            memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &descriptor, sizeof descriptor);
        }
    }
    run_transfer(&t, send_blocking);
    RB_GC_GUARD(text);
    if (t.result < 0) {
        if (t.error == EPIPE || t.error == ECONNRESET) rb_raise(pn_disconnected, "control socket: the other side has gone");
        rb_syserr_fail(t.error, "control socket: sendmsg");
    }
    return Qnil;
}

void pn_init_control(void)
{
    rb_define_module_function(pn_module, "socketpair", socketpair_of, 1);
    rb_define_module_function(pn_module, "close_fd", close_fd, 1);
    rb_define_module_function(pn_module, "close_on_exec", close_on_exec, 1);
    rb_define_module_function(pn_module, "receive_message", receive_message, 1);
    rb_define_module_function(pn_module, "send_message", send_message, 3);
}
