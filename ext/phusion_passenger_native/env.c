/* Builds the Rack environment of a request. */
#include "slot.h"

#include "env_keys.h"

#include <sys/socket.h>

enum env_key {
    KEY_BY_NAME = 0,
#define X(name) KEY_##name,
    PN_ENV_KEYS(X)
#undef X
};

/* Frozen and interned, so that they are the same objects as the literals in
 * the application and in Rack, and comparing them is comparing pointers. */
static VALUE env_keys[PN_ENV_KEY_COUNT + 1];
static VALUE key_https, key_input, key_scheme, key_response_finished, key_after_reply, key_hijack,
             key_early_hints;
static VALUE value_https, value_on, value_rb_mode, empty_string;
static VALUE string_io_class;
static ID id_for_fd;

static VALUE interned(const char *bytes, long length)
{
    return rb_enc_interned_str(bytes, length, rb_utf8_encoding());
}

static VALUE interned_constant(const char *text)
{
    VALUE string = interned(text, (long)strlen(text));

    rb_gc_register_mark_object(string);
    return string;
}

/* StringIO is a default gem and must not be loaded before the application has
 * set up its bundle; the worker requires it before it makes its slots. */
static VALUE string_io(VALUE string)
{
    if (string_io_class == Qfalse) {
        VALUE found = rb_const_get(rb_cObject, rb_intern("StringIO"));

        rb_gc_register_address(&string_io_class);
        string_io_class = found;
    }
    return rb_class_new_instance(1, &string, string_io_class);
}

static VALUE recurring_value(struct pn_slot *slot, enum pn_recurring which, const char *bytes, long length)
{
    VALUE last = slot->recurring[which];

    if (last != Qnil && RSTRING_LEN(last) == length && memcmp(RSTRING_PTR(last), bytes, length) == 0) return last;
    return slot->recurring[which] = interned(bytes, length);
}

static VALUE field_value(struct pn_slot *slot, unsigned key, const char *bytes, long length)
{
    switch (key) {
      case KEY_REQUEST_METHOD:
        slot->head_request = length == 4 && memcmp(bytes, "HEAD", 4) == 0;
        return recurring_value(slot, PN_RECURRING_METHOD, bytes, length);
      case KEY_SERVER_PROTOCOL:
        return recurring_value(slot, PN_RECURRING_PROTOCOL, bytes, length);
      case KEY_SERVER_NAME:
        return recurring_value(slot, PN_RECURRING_SERVER_NAME, bytes, length);
      case KEY_SERVER_PORT:
        return recurring_value(slot, PN_RECURRING_SERVER_PORT, bytes, length);
      case KEY_HTTP_VERSION:
        return recurring_value(slot, PN_RECURRING_HTTP_VERSION, bytes, length);
      case KEY_QUERY_STRING:
        if (length == 0) return empty_string;
        break;
    }
    return rb_str_new(bytes, length);
}

NORETURN(static void cut_off(const char *what));
static void cut_off(const char *what)
{
    rb_raise(pn_protocol_error, "request message: %s is cut off", what);
}

static void add_fields(struct pn_slot *slot, VALUE env, const unsigned char *at, const unsigned char *end)
{
    while (at < end) {
        unsigned key = *at++;
        uint32_t length;
        VALUE name;

        if (key == KEY_BY_NAME) {
            uint16_t name_length;

            if (end - at < 2) cut_off("the length of a field's name");
            name_length = pn_get16(at);
            at += 2;
            if (end - at < name_length) cut_off("a field's name");
            name = interned((const char *)at, name_length);
            at += name_length;
        }
        else if (key <= PN_ENV_KEY_COUNT) {
            name = env_keys[key];
        }
        else {
            rb_raise(pn_protocol_error, "request message: field %u is not in this version's env_keys.txt", key);
        }
        if (end - at < 4) cut_off("the length of a field");
        length = pn_get32(at);
        at += 4;
        if ((size_t)(end - at) < length) cut_off("a field");
        rb_hash_aset(env, name, field_value(slot, key, (const char *)at, length));
        at += length;
    }
}

static VALUE body_file(struct pn_slot *slot)
{
    VALUE arguments[2] = {INT2NUM(slot->body_fd), value_rb_mode};
    VALUE file = rb_funcallv(rb_cFile, id_for_fd, 2, arguments);

    slot->body_fd = -1; /* the File closes it from now on */
    return file;
}

VALUE pn_env_build(struct pn_slot *slot)
{
    const unsigned char *message = slot->inbox;
    uint64_t fields_length, body_length;
    unsigned flags;
    VALUE env;

    if (slot->inbox_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        rb_raise(pn_protocol_error, "request message is longer than %d bytes or carries several descriptors",
                 PN_REQUEST_MAX_BYTES);
    }
    if (slot->inbox_length < PN_REQUEST_HEADER_BYTES) {
        rb_raise(pn_protocol_error, "request message has %zu bytes, fewer than its header", slot->inbox_length);
    }
    if (message[0] != PN_PROTOCOL_VERSION || message[1] != PN_REQUEST_TYPE) {
        rb_raise(pn_protocol_error,
                 "request message has protocol version %d and type %d, this worker speaks version %d: the engine and "
                 "the application process come from different installations of passenger",
                 message[0], message[1], PN_PROTOCOL_VERSION);
    }
    flags = message[2];
    fields_length = pn_get32(message + 4);
    body_length = pn_get64(message + 16);
    if (fields_length > slot->inbox_length - PN_REQUEST_HEADER_BYTES) cut_off("the list of fields");

    env = rb_hash_dup(slot->template);
    add_fields(slot, env, message + PN_REQUEST_HEADER_BYTES, message + PN_REQUEST_HEADER_BYTES + fields_length);

    if (flags & PN_FLAG_HTTPS) {
        rb_hash_aset(env, key_https, value_on);
        rb_hash_aset(env, key_scheme, value_https);
    }
    if (flags & PN_FLAG_BODY_FD) {
        if (slot->body_fd < 0) rb_raise(pn_protocol_error, "request message: the descriptor of the body is missing");
        slot->input = body_file(slot);
        rb_hash_aset(env, key_input, slot->input);
    }
    else if (body_length > 0) {
        const unsigned char *body = message + PN_REQUEST_HEADER_BYTES + fields_length;

        if (slot->inbox_length - PN_REQUEST_HEADER_BYTES - fields_length != body_length) cut_off("the body");
        rb_hash_aset(env, key_input, string_io(rb_str_new((const char *)body, (long)body_length)));
    }
    rb_hash_aset(env, key_response_finished, rb_ary_new());
    rb_hash_aset(env, key_after_reply, rb_ary_new());
    rb_hash_aset(env, key_hijack, pn_hijack_new(slot, env));
    if (flags & PN_FLAG_INTERIM) rb_hash_aset(env, key_early_hints, pn_early_hints_new(slot));
    return env;
}

/* env_template(Hash) -> Hash with the same entries and room for those of a
 * request: duplicating it gives a table that need not grow. */
static VALUE env_template(VALUE self, VALUE entries)
{
    const long room = 48; /* entries; the table then has 64 */
    VALUE template;
    long i;

    Check_Type(entries, T_HASH);
#ifdef HAVE_RB_HASH_NEW_CAPA
    template = rb_hash_new_capa(room);
    (void)i;
#else
    /* An emptied table keeps its size. */
    template = rb_hash_new();
    for (i = 0; i < room; i++) rb_hash_aset(template, LONG2FIX(i), Qtrue);
    rb_hash_clear(template);
#endif
    rb_funcall(template, rb_intern("update"), 1, entries);
    return template;
}

void pn_init_env(void)
{
    static const char *const names[] = {
#define X(name) #name,
        PN_ENV_KEYS(X)
#undef X
    };
    int i;

    for (i = 0; i < PN_ENV_KEY_COUNT; i++) env_keys[i + 1] = interned_constant(names[i]);
    key_https = interned_constant("HTTPS");
    key_input = interned_constant("rack.input");
    key_scheme = interned_constant("rack.url_scheme");
    key_response_finished = interned_constant("rack.response_finished");
    key_after_reply = interned_constant("rack.after_reply");
    key_hijack = interned_constant("rack.hijack");
    key_early_hints = interned_constant("rack.early_hints");
    value_https = interned_constant("https");
    value_on = interned_constant("on");
    value_rb_mode = interned_constant("rb");
    empty_string = interned_constant("");
    string_io_class = Qfalse;
    id_for_fd = rb_intern("for_fd");

    rb_define_module_function(pn_module, "env_template", env_template, 1);
}
