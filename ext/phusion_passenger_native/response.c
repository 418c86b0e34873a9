/* The answering half of a slot: encoding responses and sending frames. */
#include "slot.h"

#include <errno.h>
#include <limits.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Bytes. A complete response up to this size is copied into one buffer and
 * sent with one system call. */
#define COPY_MAX (64 * 1024)

/* Bytes. A complete body from this size on travels as a memfd. Below it that
 * costs more than it saves: giving a memfd its pages takes longer than copying
 * the bytes through the socket (measured with 70 KB to 6 MB; equal at 6 MB). */
#define DESCRIPTOR_MIN (4 * 1024 * 1024)

/* Bytes. Longer pieces of a streamed body are cut, so that the engine can pass
 * on the beginning while the rest is on its way. */
#define BODY_FRAME_MAX (1024 * 1024)

/* Bytes. A buffer that one unusual response has made larger is given back. */
#define BUFFER_KEEP (256 * 1024)

/* Bytes. Parts of a body from this size on are sent from where they are, if
 * the whole is more than COPY_MAX; smaller ones are copied together. Strings
 * of this size are never embedded in their object, which Ruby may move. */
#define REFERENCE_MIN (4 * 1024)

/* Pieces that one system call takes (IOV_MAX of Linux). */
#define GATHER_MAX 1024

/* Bytes of an exception's message and backtrace. */
#define FAILURE_TEXT_MAX (64 * 1024)

static ID id_each, id_to_i, id_to_s;

/* ---- The slot's own buffer ----------------------------------------------- */

static unsigned char *reserve(struct pn_buffer *buffer, size_t more)
{
    if (buffer->capacity - buffer->length < more) {
        size_t capacity = buffer->capacity ? buffer->capacity : 4096;

        while (capacity - buffer->length < more) capacity *= 2;
        buffer->bytes = xrealloc(buffer->bytes, capacity);
        buffer->capacity = capacity;
    }
    return buffer->bytes + buffer->length;
}

static void append(struct pn_buffer *buffer, const void *bytes, size_t length)
{
    memcpy(reserve(buffer, length), bytes, length);
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

NORETURN(static void disconnected(struct pn_slot *slot));
static void disconnected(struct pn_slot *slot)
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
            disconnected(slot);
        }
        else {
            slot->broken = true;
            rb_syserr_fail(call->error, "response stream: sendmsg");
        }
    }
}

/* Sends the parts, with the GVL as long as the kernel takes the bytes at once.
 * They must neither move nor change while this thread is without it: they are
 * the slot's buffer, or frozen strings of REFERENCE_MIN or more that somebody
 * holds on to. */
static void send_frame(struct pn_slot *slot, struct iovec *parts, int count, int descriptor)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct blocking_send call = {.slot = slot};
    ssize_t sent;

    if (slot->broken) disconnected(slot);
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
        if (errno == EPIPE || errno == ECONNRESET) disconnected(slot);
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

static void send_buffer(struct pn_slot *slot, int descriptor)
{
    struct iovec part = {slot->out.bytes, slot->out.length};

    send_frame(slot, &part, 1, descriptor);
}

/* ---- Frames -------------------------------------------------------------- */

static void expect_answer(struct pn_slot *slot, enum pn_answer wanted, const char *what)
{
    static const char *const states[] = {"no request has been received", "the response has not begun",
                                         "the head of the response has been sent", "the response is complete"};

    if (slot->answer != wanted) rb_raise(rb_eRuntimeError, "%s: %s", what, states[slot->answer]);
}

static void begin_frame(struct pn_slot *slot, enum pn_frame_type type, int status)
{
    unsigned char *header;

    slot->out.length = 0;
    header = reserve(&slot->out, PN_FRAME_HEADER_BYTES);
    header[0] = PN_PROTOCOL_VERSION;
    header[1] = (unsigned char)type;
    pn_put16(header + 2, (uint16_t)status);
    pn_put64(header + 8, slot->request_id);
    slot->out.length = PN_FRAME_HEADER_BYTES;
}

/* more: bytes of the payload that are not in the buffer */
static void end_frame(struct pn_slot *slot, size_t more)
{
    size_t payload = slot->out.length - PN_FRAME_HEADER_BYTES + more;

    if (payload > PN_FRAME_MAX_PAYLOAD_BYTES) {
        rb_raise(pn_invalid_response, "the headers of the response have %zu bytes, too many to be sent",
                 slot->out.length);
    }
    pn_put32(slot->out.bytes + 4, (uint32_t)payload);
}

static int status_code(VALUE status)
{
    long code;

    if (!FIXNUM_P(status)) {
        if (!rb_respond_to(status, id_to_i)) {
            rb_raise(pn_invalid_response,
                     "the application returned %+" PRIsVALUE " as the status of the response. A Rack application "
                     "returns [status, headers, body]",
                     status);
        }
        status = rb_funcall(status, id_to_i, 0);
    }
    code = FIXNUM_P(status) ? FIX2LONG(status) : -1;
    if (code < 200 || code > 999) {
        rb_raise(pn_invalid_response, "the application returned %+" PRIsVALUE " as the final status of a response",
                 status);
    }
    return (int)code;
}

/* ---- Headers ------------------------------------------------------------- */

struct header_walk {
    struct pn_slot *slot;
    bool chunked; /* the application has framed the body itself */
};

static bool name_is(const char *name, long length, const char *lower_case)
{
    return strncasecmp(name, lower_case, (size_t)length) == 0;
}

/* Hop-by-hop fields describe the connection (RFC 9110, section 7.6.1), which
 * is the engine's; Status and rack.* are talk between Rack and its server. */
static bool is_left_out(const char *name, long length)
{
    switch (length) {
      case 2:
        return name_is(name, length, "te");
      case 6:
        return name_is(name, length, "status");
      case 7:
        return name_is(name, length, "upgrade") || name_is(name, length, "trailer");
      case 10:
        return name_is(name, length, "connection") || name_is(name, length, "keep-alive");
      case 16:
        return name_is(name, length, "proxy-connection");
      case 17:
        return name_is(name, length, "transfer-encoding");
    }
    return false;
}

static VALUE printable(VALUE string)
{
    return rb_funcall(string, rb_intern("inspect"), 0);
}

static void check_name(VALUE name)
{
    const unsigned char *at = (const unsigned char *)RSTRING_PTR(name), *end = at + RSTRING_LEN(name);

    if (at == end) rb_raise(pn_invalid_response, "the response has a header without a name");
    for (; at < end; at++) {
        if (*at > ' ' && *at < 0x7f && *at != ':') continue;
        rb_raise(pn_invalid_response, "the name of the response header %" PRIsVALUE " contains the byte 0x%02x",
                 printable(name), *at);
    }
}

static void append_pair(struct pn_buffer *out, VALUE name, const char *value, size_t length)
{
    size_t name_length = (size_t)RSTRING_LEN(name);
    unsigned char *at;

    if (name_length > UINT16_MAX || length > PN_FRAME_MAX_PAYLOAD_BYTES) {
        rb_raise(pn_invalid_response, "a response header with a name of %zu and a value of %zu bytes is too long",
                 name_length, length);
    }
    at = reserve(out, 6 + name_length + length);
    pn_put16(at, (uint16_t)name_length);
    pn_put32(at + 2, (uint32_t)length);
    memcpy(at + 6, RSTRING_PTR(name), name_length);
    memcpy(at + 6 + name_length, value, length);
    out->length += 6 + name_length + length;
}

NORETURN(static void refuse_value(VALUE name, VALUE value, int byte));
static void refuse_value(VALUE name, VALUE value, int byte)
{
    rb_raise(pn_invalid_response,
             "the response header %" PRIsVALUE " contains %s: a value that comes from a client must be checked before "
             "it becomes a header",
             printable(name), byte == '\r' ? "a carriage return" : byte == '\n' ? "a line feed" : "a NUL byte");
}

/* In Rack 2 a string holds several values, one per line. */
static void append_value(struct header_walk *walk, VALUE name, VALUE value, bool may_have_lines)
{
    struct pn_buffer *out = &walk->slot->out;
    const char *start, *at, *end;
    bool lines = false;

    if (!RB_TYPE_P(value, T_STRING)) value = rb_funcall(value, id_to_s, 0);
    StringValue(value);
    start = RSTRING_PTR(value);
    end = start + RSTRING_LEN(value);
    for (at = start; at < end; at++) {
        if (RB_LIKELY((unsigned char)*at > '\r')) continue;
        if (*at == '\r' || *at == '\0') refuse_value(name, value, *at);
        if (*at != '\n') continue;
        if (!may_have_lines) refuse_value(name, value, *at);
        if (at > start) append_pair(out, name, start, (size_t)(at - start));
        start = at + 1;
        lines = true;
    }
    if (!lines || end > start) append_pair(out, name, start, (size_t)(end - start));
    RB_GC_GUARD(value);
}

static void append_header(struct header_walk *walk, VALUE name, VALUE value)
{
    const char *bytes;
    long length;

    if (NIL_P(value)) return;
    if (!RB_TYPE_P(name, T_STRING)) name = rb_obj_as_string(name);
    bytes = RSTRING_PTR(name);
    length = RSTRING_LEN(name);
    if (length >= 5 && name_is(bytes, 5, "rack.")) {
        if (length == 11 && name_is(bytes + 5, 6, "hijack")) {
            rb_raise(pn_invalid_response,
                     "the application asks for a partial hijack (the response header rack.hijack), which this server "
                     "does not offer: env[\"rack.hijack?\"] is false. Return a body that responds to each or call");
        }
        return;
    }
    if (is_left_out(bytes, length)) {
        if (length == 17 && RB_TYPE_P(value, T_STRING) && RSTRING_LEN(value) == 7 &&
            name_is(RSTRING_PTR(value), 7, "chunked")) {
            walk->chunked = true;
        }
        return;
    }
    check_name(name);
    if (RB_TYPE_P(value, T_ARRAY)) {
        long i;

        for (i = 0; i < RARRAY_LEN(value); i++) append_value(walk, name, RARRAY_AREF(value, i), false);
    }
    else {
        append_value(walk, name, value, true);
    }
    RB_GC_GUARD(name);
}

static int append_hash_entry(VALUE name, VALUE value, VALUE walk)
{
    append_header((struct header_walk *)walk, name, value);
    return ST_CONTINUE;
}

static VALUE append_yielded_pair(RB_BLOCK_CALL_FUNC_ARGLIST(yielded, walk))
{
    VALUE name = argc > 0 ? argv[0] : Qnil, value = argc > 1 ? argv[1] : Qnil;

    if (argc == 1 && RB_TYPE_P(name, T_ARRAY)) { /* each that yields [name, value] */
        value = rb_ary_entry(name, 1);
        name = rb_ary_entry(name, 0);
    }
    append_header((struct header_walk *)walk, name, value);
    return Qnil;
}

/* Appends u32 length and header block. Returns whether the application says
 * that it has chunked the body itself. */
static bool append_headers(struct pn_slot *slot, VALUE headers)
{
    struct header_walk walk = {slot, false};
    size_t start = slot->out.length;

    reserve(&slot->out, 4);
    slot->out.length += 4;
    if (RB_TYPE_P(headers, T_HASH)) {
        rb_hash_foreach(headers, append_hash_entry, (VALUE)&walk);
    }
    else if (rb_respond_to(headers, id_each)) {
        rb_block_call(headers, id_each, 0, NULL, append_yielded_pair, (VALUE)&walk);
    }
    else {
        rb_raise(pn_invalid_response,
                 "the application returned %+" PRIsVALUE " as the headers of the response. A Rack application returns "
                 "[status, headers, body]",
                 headers);
    }
    pn_put32(slot->out.bytes + start, (uint32_t)(slot->out.length - start - 4));
    return walk.chunked;
}

/* ---- Complete responses -------------------------------------------------- */

static size_t body_length(VALUE body)
{
    size_t total = 0;
    long i;

    for (i = 0; i < RARRAY_LEN(body); i++) {
        VALUE part = RARRAY_AREF(body, i);

        if (!RB_TYPE_P(part, T_STRING)) {
            rb_raise(pn_invalid_response, "the body of the response contains %+" PRIsVALUE ", which is not a String",
                     rb_obj_class(part));
        }
        total += (size_t)RSTRING_LEN(part);
    }
    return total;
}

/* pwrite leaves the position at 0, where a reader of the descriptor starts. */
static void write_memfd(int fd, VALUE body)
{
    off_t offset = 0;
    long i;

    for (i = 0; i < RARRAY_LEN(body); i++) {
        VALUE part = RARRAY_AREF(body, i);
        size_t done = 0, length = (size_t)RSTRING_LEN(part);

        while (done < length) {
            ssize_t written = pwrite(fd, RSTRING_PTR(part) + done, length - done, offset);

            if (written < 0) {
                if (errno == EINTR) continue;
                rb_sys_fail("response body: writing to memory");
            }
            done += (size_t)written;
            offset += written;
        }
    }
}

struct descriptor_frame {
    struct pn_slot *slot;
    VALUE body;
    size_t length;
    int fd;
};

static VALUE send_descriptor_frame(VALUE argument)
{
    struct descriptor_frame *frame = (struct descriptor_frame *)argument;
    struct pn_slot *slot = frame->slot;

    write_memfd(frame->fd, frame->body);
    slot->out.bytes[1] = PN_FRAME_DESCRIPTOR;
    pn_put64(reserve(&slot->out, 8), frame->length);
    slot->out.length += 8;
    end_frame(slot, 0);
    send_buffer(slot, frame->fd);
    return Qnil;
}

static VALUE close_descriptor(VALUE argument)
{
    close(((struct descriptor_frame *)argument)->fd);
    return Qnil;
}

static void respond_with_memfd(struct pn_slot *slot, VALUE body, size_t length)
{
    struct descriptor_frame frame = {slot, body, length, memfd_create("passenger response", MFD_CLOEXEC)};

    if (frame.fd < 0) rb_sys_fail("response body: memfd_create");
    rb_update_max_fd(frame.fd);
    rb_ensure(send_descriptor_frame, (VALUE)&frame, close_descriptor, (VALUE)&frame);
}

static void respond_with_copy(struct pn_slot *slot, VALUE body, size_t length)
{
    long i;

    reserve(&slot->out, length);
    for (i = 0; i < RARRAY_LEN(body); i++) {
        VALUE part = RARRAY_AREF(body, i);

        append(&slot->out, RSTRING_PTR(part), (size_t)RSTRING_LEN(part));
    }
    send_buffer(slot, -1);
}

/* The parts in their order: runs of small ones in the slot's buffer, after the
 * head of the frame, and large ones where they are. */
static void respond_with_parts(struct pn_slot *slot, VALUE body)
{
    struct iovec parts[GATHER_MAX] = {{NULL, slot->out.length}};
    VALUE held = rb_ary_new();
    size_t offset = 0;
    int count = 1, i;
    long n;

    for (n = 0; n < RARRAY_LEN(body); n++) {
        VALUE string = RARRAY_AREF(body, n);
        size_t length = (size_t)RSTRING_LEN(string);

        /* Near the limit everything is copied into one last part. */
        if (length >= REFERENCE_MIN && count < GATHER_MAX - 1) {
            string = rb_str_new_frozen(string); /* shares the bytes */
            rb_ary_push(held, string);
            parts[count].iov_base = RSTRING_PTR(string);
            parts[count++].iov_len = length;
        }
        else if (length > 0) {
            append(&slot->out, RSTRING_PTR(string), length);
            if (parts[count - 1].iov_base == NULL) {
                parts[count - 1].iov_len += length;
            }
            else {
                parts[count].iov_base = NULL;
                parts[count++].iov_len = length;
            }
        }
    }
    /* The buffer has stopped growing, so it won't move any more. */
    for (i = 0; i < count; i++) {
        if (parts[i].iov_base != NULL) continue;
        parts[i].iov_base = slot->out.bytes + offset;
        offset += parts[i].iov_len;
    }
    send_frame(slot, parts, count, -1);
    RB_GC_GUARD(held);
}

static void respond_with_array(struct pn_slot *slot, VALUE body)
{
    size_t length = body_length(body);

    if (length >= DESCRIPTOR_MIN) {
        respond_with_memfd(slot, body, length);
        return;
    }
    end_frame(slot, length);
    if (slot->out.length + length <= COPY_MAX) {
        respond_with_copy(slot, body, length);
    }
    else {
        respond_with_parts(slot, body);
    }
    RB_GC_GUARD(body);
}

/* respond(status, headers, body) -> true if the response has been sent; false
 * if nothing has been sent, because the body is not an Array. Never closes the
 * body. */
static VALUE slot_respond(VALUE self, VALUE status, VALUE headers, VALUE body)
{
    struct pn_slot *slot = pn_slot_get(self);
    int code = status_code(status);
    bool bodiless = slot->head_request || code == 204 || code == 304;
    bool chunked;

    expect_answer(slot, PN_UNANSWERED, "respond");
    if (!bodiless && !RB_TYPE_P(body, T_ARRAY)) return Qfalse;
    begin_frame(slot, PN_FRAME_COMPLETE, code);
    chunked = append_headers(slot, headers);
    if (bodiless) {
        end_frame(slot, 0);
        send_buffer(slot, -1);
    }
    else {
        if (chunked) return Qfalse;
        respond_with_array(slot, body);
    }
    slot->answer = PN_ANSWERED;
    return Qtrue;
}

/* respond_with_file(status, headers, path): the engine opens the file at the
 * absolute path and sends all of it */
static VALUE slot_respond_with_file(VALUE self, VALUE status, VALUE headers, VALUE path)
{
    struct pn_slot *slot = pn_slot_get(self);

    expect_answer(slot, PN_UNANSWERED, "respond_with_file");
    StringValueCStr(path);
    if (RSTRING_LEN(path) == 0 || RSTRING_PTR(path)[0] != '/') {
        rb_raise(rb_eArgError, "respond_with_file takes an absolute path, not %+" PRIsVALUE, path);
    }
    begin_frame(slot, PN_FRAME_FILE, status_code(status));
    append_headers(slot, headers);
    append(&slot->out, RSTRING_PTR(path), (size_t)RSTRING_LEN(path));
    end_frame(slot, 0);
    send_buffer(slot, -1);
    slot->answer = PN_ANSWERED;
    return Qnil;
}

/* ---- Streamed responses -------------------------------------------------- */

/* Sends the frame in the slot's buffer with the chunk, which is stable, behind it. */
static void send_with_chunk(struct pn_slot *slot, const char *bytes, size_t length)
{
    end_frame(slot, length);
    if (slot->out.length + length <= COPY_MAX) {
        append(&slot->out, bytes, length);
        send_buffer(slot, -1);
    }
    else {
        struct iovec parts[2] = {{slot->out.bytes, slot->out.length}, {(void *)bytes, length}};

        send_frame(slot, parts, 2, -1);
    }
}

/* The engine writes the id of a request to the slot's stream when its client
 * has gone; an endless stream then ends here instead of never. */
static void check_client(struct pn_slot *slot)
{
    unsigned char ids[8 * 32];
    ssize_t length = recv(slot->stream_fd, ids, sizeof ids, MSG_DONTWAIT), at;

    if (length == 0) disconnected(slot);
    for (at = 0; at + 8 <= length; at += 8) {
        if (pn_get64(ids + at) == slot->request_id) slot->client_gone = true;
    }
    if (slot->client_gone) {
        rb_raise(pn_client_gone, "the client has closed the connection before the end of the response");
    }
}

static void send_body_frames(struct pn_slot *slot, VALUE chunk, size_t offset)
{
    while (offset < (size_t)RSTRING_LEN(chunk)) {
        size_t length = (size_t)RSTRING_LEN(chunk) - offset;

        if (length > BODY_FRAME_MAX) length = BODY_FRAME_MAX;
        begin_frame(slot, PN_FRAME_BODY, 0);
        send_with_chunk(slot, RSTRING_PTR(chunk) + offset, length);
        offset += length;
    }
}

/* A copy that shares the bytes: what the application does to its string while
 * this thread waits for the engine doesn't matter then. */
static VALUE stable_chunk(VALUE chunk)
{
    StringValue(chunk);
    return rb_str_new_frozen(chunk);
}

/* write_head(status, headers, chunk): chunk is the beginning of the body, or nil */
static VALUE slot_write_head(VALUE self, VALUE status, VALUE headers, VALUE chunk)
{
    struct pn_slot *slot = pn_slot_get(self);
    size_t first;

    expect_answer(slot, PN_UNANSWERED, "write_head");
    if (!NIL_P(chunk)) chunk = stable_chunk(chunk);
    begin_frame(slot, PN_FRAME_HEAD, status_code(status));
    append_headers(slot, headers);
    first = NIL_P(chunk) ? 0 : (size_t)RSTRING_LEN(chunk);
    if (first > BODY_FRAME_MAX) first = BODY_FRAME_MAX;
    end_frame(slot, first); /* the last thing that may refuse the response */
    slot->answer = PN_HEAD_SENT;
    if (first == 0) {
        send_buffer(slot, -1);
        return Qnil;
    }
    send_with_chunk(slot, RSTRING_PTR(chunk), first);
    send_body_frames(slot, chunk, first);
    RB_GC_GUARD(chunk);
    return Qnil;
}

/* write_body(chunk): raises ClientGone when the client has gone */
static VALUE slot_write_body(VALUE self, VALUE chunk)
{
    struct pn_slot *slot = pn_slot_get(self);

    expect_answer(slot, PN_HEAD_SENT, "write_body");
    chunk = stable_chunk(chunk);
    if (slot->broken) disconnected(slot);
    check_client(slot);
    send_body_frames(slot, chunk, 0);
    RB_GC_GUARD(chunk);
    return Qnil;
}

static void send_bare_frame(struct pn_slot *slot, enum pn_frame_type type)
{
    begin_frame(slot, type, 0);
    end_frame(slot, 0);
    send_buffer(slot, -1);
    slot->answer = PN_ANSWERED;
}

/* write_end: the streamed response is complete */
static VALUE slot_write_end(VALUE self)
{
    struct pn_slot *slot = pn_slot_get(self);

    expect_answer(slot, PN_HEAD_SENT, "write_end");
    send_bare_frame(slot, PN_FRAME_END);
    return Qnil;
}

/* write_aborted: the response whose head has been sent can't be completed */
static VALUE slot_write_aborted(VALUE self)
{
    struct pn_slot *slot = pn_slot_get(self);

    expect_answer(slot, PN_HEAD_SENT, "write_aborted");
    send_bare_frame(slot, PN_FRAME_ABORTED);
    return Qnil;
}

static void append_text(struct pn_slot *slot, VALUE text)
{
    size_t length;
    unsigned char *at;
    size_t i;

    StringValue(text);
    length = (size_t)RSTRING_LEN(text);
    if (length > FAILURE_TEXT_MAX) length = FAILURE_TEXT_MAX;
    at = reserve(&slot->out, length);
    memcpy(at, RSTRING_PTR(text), length);
    for (i = 0; i < length; i++) {
        if (at[i] == '\0') at[i] = '?'; /* NUL separates the texts */
    }
    slot->out.length += length;
}

/* write_failed(class_name, message, backtrace): instead of a response */
static VALUE slot_write_failed(VALUE self, VALUE class_name, VALUE message, VALUE backtrace)
{
    struct pn_slot *slot = pn_slot_get(self);

    expect_answer(slot, PN_UNANSWERED, "write_failed");
    begin_frame(slot, PN_FRAME_FAILED, 0);
    append_text(slot, class_name);
    append(&slot->out, "", 1);
    append_text(slot, message);
    append(&slot->out, "", 1);
    append_text(slot, backtrace);
    end_frame(slot, 0);
    send_buffer(slot, -1);
    slot->answer = PN_ANSWERED;
    return Qnil;
}

/* answer -> :none (no request), :pending, :begun (the head has been sent) or :complete */
static VALUE slot_answer(VALUE self)
{
    static const char *const names[] = {"none", "pending", "begun", "complete"};

    return ID2SYM(rb_intern(names[pn_slot_get(self)->answer]));
}

/* broken? -> whether the response stream has ended or been given up */
static VALUE slot_is_broken(VALUE self)
{
    return pn_slot_get(self)->broken ? Qtrue : Qfalse;
}

void pn_init_response(void)
{
    id_each = rb_intern("each");
    id_to_i = rb_intern("to_i");
    id_to_s = rb_intern("to_s");

    rb_define_method(pn_slot_class, "respond", slot_respond, 3);
    rb_define_method(pn_slot_class, "respond_with_file", slot_respond_with_file, 3);
    rb_define_method(pn_slot_class, "write_head", slot_write_head, 3);
    rb_define_method(pn_slot_class, "write_body", slot_write_body, 1);
    rb_define_method(pn_slot_class, "write_end", slot_write_end, 0);
    rb_define_method(pn_slot_class, "write_aborted", slot_write_aborted, 0);
    rb_define_method(pn_slot_class, "write_failed", slot_write_failed, 3);
    rb_define_method(pn_slot_class, "answer", slot_answer, 0);
    rb_define_method(pn_slot_class, "broken?", slot_is_broken, 0);
}
