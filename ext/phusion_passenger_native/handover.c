/* Copying a body of megabytes to the engine costs as much as sending it. So the
 * worker offers to send it: the engine writes the head of the response, lends the
 * client's socket, and waits. The worker writes only as long as the client takes
 * the bytes: a slow client's rest goes to the engine, and the worker is free. */
#include "handover.h"
#include "frame.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Milliseconds for which the engine may be silent about an offer. It has to
 * write the head first, which waits for a client that does not read. */
#define OFFER_PATIENCE 20

/* Milliseconds for which a client may take nothing before it counts as slow,
 * and for which the whole body may take. */
#define STALL_MAX 20
#define WRITING_MAX 100

/* Bytes between two looks at the clock: a client on the same machine can take
 * them as fast as they are written. */
#define PIECE_MAX (256 * 1024)

struct handover {
    struct pn_slot *slot;
    const char *bytes;
    size_t length, sent;
    int socket; /* -1 while, or because, there is none */
    bool answered;
    bool client_gone;
    int error; /* of the slot's stream */
};

static long long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Reads one notice. Notices about earlier requests came too late and are
 * passed over; a descriptor that comes with one is closed. Returns false when
 * there is nothing to read, or the stream has failed (error is set). */
static bool read_notice(struct handover *h)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    unsigned char notice[PN_NOTICE_BYTES];
    struct iovec part = {notice, sizeof notice};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    struct cmsghdr *header;
    int socket = -1;
    ssize_t length;

    do {
        length = recvmsg(h->slot->stream_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_WAITALL);
    } while (length < 0 && errno == EINTR);
    if (length < 0) {
        if (errno != EAGAIN) h->error = errno;
        return false;
    }
    header = CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        memcpy(&socket, CMSG_DATA(header), sizeof socket);
    }
    if (length != (ssize_t)sizeof notice) {
        h->error = length == 0 ? EPIPE : EBADMSG; /* the engine writes notices whole */
        if (socket >= 0) close(socket);
        return false;
    }
    if (pn_get64(notice) == h->slot->request_id) {
        switch (pn_get32(notice + 8)) {
          case PN_NOTICE_CLIENT_GONE:
            h->slot->client_gone = true;
            break;
          case PN_NOTICE_SOCKET:
            h->answered = true;
            h->socket = socket;
            socket = -1;
            break;
          case PN_NOTICE_NO_SOCKET:
            h->answered = true;
            break;
        }
    }
    if (socket >= 0) close(socket);
    return true;
}

static void await_socket(struct handover *h)
{
    long long deadline = now_ms() + OFFER_PATIENCE, left;
    struct pollfd readable = {h->slot->stream_fd, POLLIN, 0};

    while (!h->answered && h->error == 0 && (left = deadline - now_ms()) > 0) {
        if (poll(&readable, 1, (int)left) > 0) {
            while (!h->answered && read_notice(h)) continue;
        }
    }
}

static void write_to_client(struct handover *h)
{
    long long deadline = now_ms() + WRITING_MAX, left;
    struct pollfd writable = {h->socket, POLLOUT, 0};

    while (h->sent < h->length && (left = deadline - now_ms()) > 0) {
        size_t piece = h->length - h->sent < PIECE_MAX ? h->length - h->sent : PIECE_MAX;
        ssize_t sent = send(h->socket, h->bytes + h->sent, piece, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent >= 0) {
            h->sent += (size_t)sent;
            /* A client on this machine then reads the bytes while they are in the processor's cache. */
            if (h->sent < h->length) sched_yield();
        }
        else if (errno == EAGAIN) {
            if (poll(&writable, 1, (int)(left < STALL_MAX ? left : STALL_MAX)) == 0) return;
        }
        else if (errno != EINTR) {
            /* Whatever else is wrong (no memory, for example): the rest is the engine's. */
            h->client_gone = errno == EPIPE || errno == ECONNRESET;
            return;
        }
    }
}

static void *hand_over(void *argument)
{
    struct handover *h = argument;

    await_socket(h);
    if (h->socket >= 0) write_to_client(h);
    return NULL;
}

/* Sends how much of the body the client has got; the rest, if the client can
 * take it, goes through the stream. */
static void send_outcome(struct handover *h, VALUE body)
{
    struct pn_slot *slot = h->slot;

    pn_begin_frame(slot, PN_FRAME_SENT, 0);
    pn_put64(pn_reserve(&slot->out, 8), h->sent);
    slot->out.length += 8;
    pn_end_frame(slot, 0);
    if (h->client_gone || h->sent == h->length) {
        /* Both frames at once. An end before the announced length is the end of the connection. */
        pn_append_frame(slot, PN_FRAME_END);
        pn_send_buffer(slot, -1);
        return;
    }
    pn_send_buffer(slot, -1);
    pn_send_body_frames(slot, body, h->sent);
    pn_begin_frame(slot, PN_FRAME_END, 0);
    pn_end_frame(slot, 0);
    pn_send_buffer(slot, -1);
}

/* Between the offer and its outcome no exception may come: it would leave the
 * client's socket open here, and unknown how much the client has got. So the
 * waits, which are short, can't be interrupted, and the flag has pending
 * interrupts (Thread#raise, Thread#kill) wait, too: without it Ruby raises them
 * on the way back. An interrupt that is pending before has the waits left out;
 * so those that copying the body has brought up (a turn for another thread,
 * finalizers) are dealt with first. */
void pn_respond_with_offer(struct pn_slot *slot, VALUE body)
{
    struct handover h = {.slot = slot, .bytes = RSTRING_PTR(body), .length = (size_t)RSTRING_LEN(body), .socket = -1};

    rb_thread_check_ints();
    slot->out.bytes[1] = PN_FRAME_OFFER;
    pn_put64(pn_reserve(&slot->out, 8), h.length);
    slot->out.length += 8;
    pn_end_frame(slot, 0);
    slot->answer = PN_HEAD_SENT;
    pn_send_buffer(slot, -1);

    slot->offer_unanswered = true;
    rb_nogvl(hand_over, &h, NULL, NULL, RB_NOGVL_INTR_FAIL);
    if (h.socket >= 0) close(h.socket);
    if (h.answered) slot->offer_unanswered = false;
    if (h.error != 0) pn_stream_ended(slot);

    send_outcome(&h, body);
    slot->answer = PN_ANSWERED;
    RB_GC_GUARD(body);
}

/* Reads all notices that are there; returns the error of the stream, or 0. A
 * socket is the answer to an offer that was not waited for any longer. */
static int read_notices(struct pn_slot *slot)
{
    struct handover h = {.slot = slot, .socket = -1};

    if (pn_in_foreign_fork()) return EPIPE; /* the descriptor may be somebody else's by now */
    while (read_notice(&h)) {
        if (h.socket >= 0) close(h.socket);
        h.socket = -1;
    }
    if (h.answered) slot->offer_unanswered = false;
    return h.error;
}

void pn_read_notices(struct pn_slot *slot)
{
    if (read_notices(slot) != 0) pn_stream_ended(slot);
}

void pn_settle_offer(struct pn_slot *slot)
{
    if (!slot->offer_unanswered) return;
    slot->offer_unanswered = false;
    if (read_notices(slot) != 0) slot->broken = true;
}
