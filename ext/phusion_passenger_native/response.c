/* The answering half of a slot: complete, streamed and failed responses. */
#include "frame.h"
#include "handover.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* Bytes. A frame up to this size is copied into one buffer and sent with one
 * system call. */
#define COPY_MAX (64 * 1024)

/* Bytes. A complete body from this size on is offered to be written by this
 * process. Below it the talk about the offer costs more than the copies saved,
 * and the parts are copied into one frame. */
#define OFFER_MIN (64 * 1024)

/* Bytes. Longer pieces of a streamed body are cut, so that the engine can pass
 * on the beginning while the rest is on its way. */
#define BODY_FRAME_MAX (1024 * 1024)

/* Bytes of an exception's message and backtrace. */
#define FAILURE_TEXT_MAX (64 * 1024)

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

/* A copy that shares the bytes: what the application does to its string while
 * this thread waits for the engine doesn't matter then. */
static VALUE stable_chunk(VALUE chunk)
{
    StringValue(chunk);
    return rb_str_new_frozen(chunk);
}

/* The body as one string whose bytes stay as they are. */
static VALUE whole_body(VALUE body, size_t length)
{
    VALUE whole;
    long i;

    if (RARRAY_LEN(body) == 1) return stable_chunk(RARRAY_AREF(body, 0));
    whole = rb_str_buf_new((long)length);
    for (i = 0; i < RARRAY_LEN(body); i++) {
        VALUE part = RARRAY_AREF(body, i);

        rb_str_cat(whole, RSTRING_PTR(part), RSTRING_LEN(part));
    }
    return whole;
}

static void respond_with_array(struct pn_slot *slot, VALUE body)
{
    size_t length = body_length(body);
    long i;

    if (length >= OFFER_MIN) {
        pn_respond_with_offer(slot, whole_body(body, length));
        return;
    }
    pn_end_frame(slot, length);
    pn_reserve(&slot->out, length);
    for (i = 0; i < RARRAY_LEN(body); i++) {
        VALUE part = RARRAY_AREF(body, i);

        pn_append(&slot->out, RSTRING_PTR(part), (size_t)RSTRING_LEN(part));
    }
    pn_send_buffer(slot, -1);
}

/* A response to HEAD has the head of the one to GET, and the engine knows that
 * only if it gets the file. */
static bool is_headed_file(const struct pn_slot *slot, VALUE body)
{
    return slot->head_request && !RB_TYPE_P(body, T_ARRAY) && rb_respond_to(body, rb_intern("to_path"));
}

static void send_bare_frame(struct pn_slot *slot, enum pn_frame_type type)
{
    pn_begin_frame(slot, type, 0);
    pn_end_frame(slot, 0);
    pn_send_buffer(slot, -1);
    slot->answer = PN_ANSWERED;
}

/* respond(status, headers, body) -> true if the response has been sent, or is
 * not wanted because the application has hijacked the connection; false if
 * nothing has been sent, because the body is not an Array or the headers ask for
 * a partial hijack. Never closes the body. */
static VALUE slot_respond(VALUE self, VALUE status, VALUE headers, VALUE body)
{
    struct pn_slot *slot = pn_slot_get(self);
    int code;
    bool bodiless, special;

    if (slot->hijacked && slot->answer == PN_HEAD_SENT) {
        send_bare_frame(slot, PN_FRAME_END);
        return Qtrue;
    }
    if (pn_is_switch(status, headers)) return Qfalse;
    code = pn_status_code(status);
    bodiless = slot->head_request || code == 204 || code == 304;

    pn_expect_answer(slot, PN_UNANSWERED, "respond");
    if (!bodiless && !RB_TYPE_P(body, T_ARRAY)) return Qfalse;
    if (code != 204 && code != 304 && is_headed_file(slot, body)) return Qfalse;
    pn_begin_frame(slot, PN_FRAME_COMPLETE, code);
    special = pn_append_headers(slot, headers);
    if (bodiless) {
        pn_end_frame(slot, 0);
        pn_send_buffer(slot, -1);
    }
    else {
        if (special) return Qfalse;
        respond_with_array(slot, body);
    }
    slot->answer = PN_ANSWERED;
    return Qtrue;
}

/* respond_with_file(status, headers, path, fd): the engine gets the descriptor
 * of the open file and sends all of it. The path is for its messages. */
static VALUE slot_respond_with_file(VALUE self, VALUE status, VALUE headers, VALUE path, VALUE fd)
{
    struct pn_slot *slot = pn_slot_get(self);
    int file = NUM2INT(fd);

    pn_expect_answer(slot, PN_UNANSWERED, "respond_with_file");
    StringValueCStr(path);
    if (RSTRING_LEN(path) == 0 || RSTRING_PTR(path)[0] != '/') {
        rb_raise(rb_eArgError, "respond_with_file takes an absolute path, not %+" PRIsVALUE, path);
    }
    pn_begin_frame(slot, PN_FRAME_FILE, pn_status_code(status));
    pn_append_headers(slot, headers);
    pn_append(&slot->out, RSTRING_PTR(path), (size_t)RSTRING_LEN(path));
    pn_end_frame(slot, 0);
    pn_send_buffer(slot, file);
    slot->answer = PN_ANSWERED;
    return Qnil;
}

/* ---- Streamed responses -------------------------------------------------- */

/* Sends the frame in the slot's buffer with the chunk, which is stable, behind it. */
static void send_with_chunk(struct pn_slot *slot, const char *bytes, size_t length)
{
    pn_end_frame(slot, length);
    if (length < PN_REFERENCE_MIN || slot->out.length + length <= COPY_MAX) {
        pn_append(&slot->out, bytes, length);
        pn_send_buffer(slot, -1);
    }
    else {
        struct iovec parts[2] = {{slot->out.bytes, slot->out.length}, {(void *)bytes, length}};

        pn_send_frame(slot, parts, 2, -1);
    }
}

/* The engine says when the client of a response has gone; an endless stream
 * then ends here instead of never. */
static void check_client(struct pn_slot *slot)
{
    pn_read_notices(slot);
    if (slot->client_gone) {
        rb_raise(pn_client_gone, "the client has closed the connection before the end of the response");
    }
}

void pn_send_body_frames(struct pn_slot *slot, VALUE chunk, size_t offset)
{
    while (offset < (size_t)RSTRING_LEN(chunk)) {
        size_t length = (size_t)RSTRING_LEN(chunk) - offset;

        check_client(slot);
        if (length > BODY_FRAME_MAX) length = BODY_FRAME_MAX;
        pn_begin_frame(slot, PN_FRAME_BODY, 0);
        send_with_chunk(slot, RSTRING_PTR(chunk) + offset, length);
        offset += length;
    }
}

/* write_head(status, headers, chunk): chunk is the beginning of the body, or nil */
static VALUE slot_write_head(VALUE self, VALUE status, VALUE headers, VALUE chunk)
{
    struct pn_slot *slot = pn_slot_get(self);
    size_t first;

    pn_expect_answer(slot, PN_UNANSWERED, "write_head");
    if (!NIL_P(chunk)) chunk = stable_chunk(chunk);
    pn_begin_frame(slot, PN_FRAME_HEAD, pn_status_code(status));
    pn_append_headers(slot, headers);
    first = NIL_P(chunk) ? 0 : (size_t)RSTRING_LEN(chunk);
    if (first > BODY_FRAME_MAX) first = BODY_FRAME_MAX;
    pn_end_frame(slot, first); /* the last thing that may refuse the response */
    slot->answer = PN_HEAD_SENT;
    if (first == 0) {
        pn_send_buffer(slot, -1);
        return Qnil;
    }
    send_with_chunk(slot, RSTRING_PTR(chunk), first);
    pn_send_body_frames(slot, chunk, first);
    RB_GC_GUARD(chunk);
    return Qnil;
}

/* write_body(chunk): raises ClientGone when the client has gone */
static VALUE slot_write_body(VALUE self, VALUE chunk)
{
    struct pn_slot *slot = pn_slot_get(self);

    pn_expect_answer(slot, PN_HEAD_SENT, "write_body");
    chunk = stable_chunk(chunk);
    if (slot->broken) pn_stream_ended(slot);
    pn_send_body_frames(slot, chunk, 0);
    RB_GC_GUARD(chunk);
    return Qnil;
}

/* write_end: the streamed response is complete */
static VALUE slot_write_end(VALUE self)
{
    struct pn_slot *slot = pn_slot_get(self);

    pn_expect_answer(slot, PN_HEAD_SENT, "write_end");
    send_bare_frame(slot, PN_FRAME_END);
    return Qnil;
}

/* write_aborted: the response whose head has been sent can't be completed */
static VALUE slot_write_aborted(VALUE self)
{
    struct pn_slot *slot = pn_slot_get(self);

    pn_expect_answer(slot, PN_HEAD_SENT, "write_aborted");
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
    at = pn_reserve(&slot->out, length);
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

    pn_expect_answer(slot, PN_UNANSWERED, "write_failed");
    pn_begin_frame(slot, PN_FRAME_FAILED, 0);
    append_text(slot, class_name);
    pn_append(&slot->out, "", 1);
    append_text(slot, message);
    pn_append(&slot->out, "", 1);
    append_text(slot, backtrace);
    pn_end_frame(slot, 0);
    pn_send_buffer(slot, -1);
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
    pn_init_headers();

    rb_define_method(pn_slot_class, "respond", slot_respond, 3);
    rb_define_method(pn_slot_class, "respond_with_file", slot_respond_with_file, 4);
    rb_define_method(pn_slot_class, "write_head", slot_write_head, 3);
    rb_define_method(pn_slot_class, "write_body", slot_write_body, 1);
    rb_define_method(pn_slot_class, "write_end", slot_write_end, 0);
    rb_define_method(pn_slot_class, "write_aborted", slot_write_aborted, 0);
    rb_define_method(pn_slot_class, "write_failed", slot_write_failed, 3);
    rb_define_method(pn_slot_class, "answer", slot_answer, 0);
    rb_define_method(pn_slot_class, "broken?", slot_is_broken, 0);
}
