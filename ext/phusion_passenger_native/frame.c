/* The frames of a slot's stream: the buffer they are built in, and how they are
 * sent. */
#include "frame.h"

#include <errno.h>
#include <sys/socket.h>

/* Bytes. A buffer that one unusual response has made larger is given back. */
#define BUFFER_KEEP (256 * 1024)

/* ---- The slot's own buffer ----------------------------------------------- */

unsigned char *pn_reserve(struct pn_buffer *buffer, size_t more)
{
    if (buffer->capacity - buffer->length < more) {
        size_t capacity = buffer->capacity ? buffer->capacity : 4096;

        while (capacity - buffer->length < more) capacity *= 2;
        buffer->bytes = xrealloc(buffer->bytes, capacity);
        buffer->capacity = capacity;
    }
    return buffer->bytes + buffer->length;
}

void pn_append(struct pn_buffer *buffer, const void *bytes, size_t length)
{
    memcpy(pn_reserve(buffer, length), bytes, length);
    buffer->length += length;
}

static void release_excess(struct pn_buffer *buffer)
{
    buffer->length = 0;
    if (buffer->capacity <= BUFFER_KEEP) return;
    xfree(buffer->bytes);
    buffer->bytes = NULL;
    buffer->capacity = 0;
}

/* ---- Sending ------------------------------------------------------------- */

void pn_stream_ended(struct pn_slot *slot)
{
    slot->broken = true;
    rb_raise(pn_disconnected, "the engine has closed the response stream");
}

struct blocking_send {
    struct pn_slot *slot;
    struct msghdr message;
    ssize_t result;
    int error;
};

static void *send_without_gvl(void *argument)
{
    struct blocking_send *call = argument;

    call->result = sendmsg(call->slot->stream_fd, &call->message, MSG_NOSIGNAL);
    call->error = errno;
    return NULL;
}

/* Takes bytes that were sent off the front of a message; false when none are left. */
static bool advance(struct msghdr *message, size_t sent)
{
    while (message->msg_iovlen > 0 && sent >= message->msg_iov->iov_len) {
        sent -= message->msg_iov->iov_len;
        message->msg_iov++;
        message->msg_iovlen--;
    }
    if (message->msg_iovlen == 0) return false;
    message->msg_iov->iov_base = (char *)message->msg_iov->iov_base + sent;
    message->msg_iov->iov_len -= sent;
    return true;
}

/* Sends what the kernel would not take at once, waiting for the engine without
 * the GVL. An exception that arrives meanwhile leaves a frame cut in two: then
 * the stream is given up, and the engine sees its end. */
static void send_rest(struct blocking_send *call)
{
    struct pn_slot *slot = call->slot;

    for (;;) {
        call->result = -1;
        call->error = EINTR;
        rb_nogvl(send_without_gvl, call, RUBY_UBF_IO, NULL, RB_NOGVL_INTR_FAIL);
        if (call->result >= 0) {
            call->message.msg_control = NULL; /* went with the first byte */
            call->message.msg_controllen = 0;
            if (!advance(&call->message, (size_t)call->result)) return;
        }
        else if (call->error == EINTR) {
            slot->broken = true;
            rb_thread_check_ints();
            slot->broken = false;
        }
        else if (call->error == EPIPE || call->error == ECONNRESET) {
            pn_stream_ended(slot);
        }
        else {
            slot->broken = true;
            rb_syserr_fail(call->error, "response stream: sendmsg");
        }
    }
}

/* Sends the parts, with the GVL as long as the kernel takes the bytes at once.
 * They must neither move nor change while this thread is without it: they are
 * the slot's buffer, or frozen strings of PN_REFERENCE_MIN or more that somebody
 * holds on to. */
void pn_send_frame(struct pn_slot *slot, struct iovec *parts, int count, int descriptor)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct blocking_send call = {.slot = slot};
    ssize_t sent;

    if (slot->broken) pn_stream_ended(slot);
    if (pn_in_foreign_fork()) {
        rb_raise(pn_disconnected, "a process forked by the application can't answer the request of its parent");
    }
    call.message.msg_iov = parts;
    call.message.msg_iovlen = (size_t)count;
    if (descriptor >= 0) {
        memset(&control, 0, sizeof control);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &descriptor, sizeof descriptor);
        call.message.msg_control = control.bytes;
        call.message.msg_controllen = sizeof control.bytes;
    }

    do {
        sent = sendmsg(slot->stream_fd, &call.message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        if (errno == EPIPE || errno == ECONNRESET) pn_stream_ended(slot);
        if (errno != EAGAIN && errno != ENOBUFS) {
            int error = errno;

            slot->broken = true;
            rb_syserr_fail(error, "response stream: sendmsg");
        }
        send_rest(&call);
    }
    else if (advance(&call.message, (size_t)sent)) {
        call.message.msg_control = NULL;
        call.message.msg_controllen = 0;
        send_rest(&call);
    }
    release_excess(&slot->out);
}

void pn_send_buffer(struct pn_slot *slot, int descriptor)
{
    struct iovec part = {slot->out.bytes, slot->out.length};

    pn_send_frame(slot, &part, 1, descriptor);
}

bool pn_try_send_buffer(struct pn_slot *slot)
{
    ssize_t sent;

    if (slot->broken || pn_in_foreign_fork()) return false;
    do {
        sent = send(slot->stream_fd, slot->out.bytes, slot->out.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    /* The kernel takes a frame of this size whole or not at all; should it ever
     * cut one in two, nothing may follow. */
    if (sent > 0 && (size_t)sent < slot->out.length) pn_stream_ended(slot);
    return sent > 0;
}

/* ---- Frames -------------------------------------------------------------- */

void pn_expect_answer(struct pn_slot *slot, enum pn_answer wanted, const char *what)
{
    static const char *const states[] = {"no request has been received", "the response has not begun",
                                         "the head of the response has been sent", "the response is complete"};

    if (slot->answer != wanted) rb_raise(rb_eRuntimeError, "%s: %s", what, states[slot->answer]);
}

static bool ends_response(enum pn_frame_type type)
{
    switch (type) {
      case PN_FRAME_COMPLETE:
      case PN_FRAME_FILE:
      case PN_FRAME_END:
      case PN_FRAME_FAILED:
      case PN_FRAME_ABORTED:
        return true;
      default:
        return false;
    }
}

static void append_frame_header(struct pn_slot *slot, enum pn_frame_type type, int status)
{
    unsigned char *header = pn_reserve(&slot->out, PN_FRAME_HEADER_BYTES);

    header[0] = PN_PROTOCOL_VERSION;
    header[1] = (unsigned char)type;
    pn_put16(header + 2, (uint16_t)status);
    pn_put32(header + 4, 0);
    pn_put64(header + 8, slot->request_id);
    slot->out.length += PN_FRAME_HEADER_BYTES;
    if (ends_response(type)) pn_turn_end_request(slot);
}

void pn_begin_frame(struct pn_slot *slot, enum pn_frame_type type, int status)
{
    slot->out.length = 0;
    if (type != PN_FRAME_INTERIM) slot->responding = true;
    append_frame_header(slot, type, status);
}

void pn_append_frame(struct pn_slot *slot, enum pn_frame_type type)
{
    append_frame_header(slot, type, 0);
}

/* more: bytes of the payload that are not in the buffer */
void pn_end_frame(struct pn_slot *slot, size_t more)
{
    size_t payload = slot->out.length - PN_FRAME_HEADER_BYTES + more;

    if (payload > PN_FRAME_MAX_PAYLOAD_BYTES) {
        rb_raise(pn_invalid_response, "the headers of the response have %zu bytes, too many to be sent",
                 slot->out.length);
    }
    pn_put32(slot->out.bytes + 4, (uint32_t)payload);
}
