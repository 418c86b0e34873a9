/* The status and the headers of a response. */
#include "frame.h"

#include <strings.h>

static ID id_each, id_to_i, id_to_s;

int pn_status_code(VALUE status)
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

struct header_walk {
    struct pn_slot *slot;
    bool hijack; /* the application takes the connection over */
    bool special; /* the application has framed the body itself, or asks for a partial hijack */
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

/* Names that begin with !~ are talk between the application and its server,
 * never for the client. */
static bool is_talk(struct pn_slot *slot, const char *name, long length)
{
    if (length < 2 || name[1] != '~') return false;
    if (length == 18 && name_is(name, length, "!~request-oob-work")) slot->oob_wanted = true;
    return true;
}

/* Whoever takes the connection over says what it carries. */
static bool is_for_hijack(const char *name, long length)
{
    switch (length) {
      case 7:
        return name_is(name, length, "upgrade") || name_is(name, length, "trailer");
      case 10:
        return name_is(name, length, "connection");
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
    at = pn_reserve(out, 6 + name_length + length);
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
    if (RB_UNLIKELY(*bytes == '!') && is_talk(walk->slot, bytes, length)) return;
    if (length >= 5 && name_is(bytes, 5, "rack.")) {
        if (length == 11 && memcmp(bytes, "rack.hijack", 11) == 0) walk->special = true;
        return;
    }
    if (is_left_out(bytes, length) && !(walk->hijack && is_for_hijack(bytes, length))) {
        if (length == 17 && RB_TYPE_P(value, T_STRING) && RSTRING_LEN(value) == 7 &&
            name_is(RSTRING_PTR(value), 7, "chunked")) {
            walk->special = true;
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

/* Room for the length of the header block, which seal_headers fills in. */
static size_t open_headers(struct pn_slot *slot)
{
    size_t start = slot->out.length;

    pn_reserve(&slot->out, 4);
    slot->out.length += 4;
    return start;
}

static void seal_headers(struct pn_slot *slot, size_t start)
{
    pn_put32(slot->out.bytes + start, (uint32_t)(slot->out.length - start - 4));
}

static bool append_headers(struct pn_slot *slot, VALUE headers, bool hijack)
{
    struct header_walk walk = {slot, hijack, false};
    size_t start = open_headers(slot);

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
    seal_headers(slot, start);
    return walk.special;
}

void pn_append_interim_headers(struct pn_slot *slot, VALUE pairs)
{
    struct header_walk walk = {slot, false, false};
    size_t start = open_headers(slot);
    long i;

    for (i = 0; i < RARRAY_LEN(pairs); i++) {
        VALUE pair = RARRAY_AREF(pairs, i), name, value;

        Check_Type(pair, T_ARRAY);
        name = rb_ary_entry(pair, 0);
        value = rb_ary_entry(pair, 1);
        Check_Type(name, T_STRING);
        Check_Type(value, T_STRING);
        append_header(&walk, name, value);
    }
    seal_headers(slot, start);
}

bool pn_append_headers(struct pn_slot *slot, VALUE headers)
{
    return append_headers(slot, headers, false);
}

void pn_append_hijack_headers(struct pn_slot *slot, VALUE headers)
{
    append_headers(slot, headers, true);
}

void pn_init_headers(void)
{
    id_each = rb_intern("each");
    id_to_i = rb_intern("to_i");
    id_to_s = rb_intern("to_s");
}
