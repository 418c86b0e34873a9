/* Connections that the application takes over: it gets one end of a pair of
 * sockets, and the engine, which joins the other one to the client. */
#include "frame.h"

#include <sys/socket.h>
#include <unistd.h>

#define SWITCHING_PROTOCOLS 101

static VALUE hijack_class, key_hijack;
static ID id_slot, id_env, id_request;

/* One per request: whoever keeps the environment of a request that is over must
 * not get hold of another one's connection. */
VALUE pn_hijack_new(struct pn_slot *slot, VALUE env)
{
    VALUE hijack = rb_obj_alloc(hijack_class);

    rb_ivar_set(hijack, id_slot, slot->self);
    rb_ivar_set(hijack, id_env, env);
    rb_ivar_set(hijack, id_request, ULL2NUM(slot->request_id));
    return hijack;
}

static bool switches_protocols(VALUE status)
{
    ID id_to_i = rb_intern("to_i");

    if (FIXNUM_P(status)) return FIX2LONG(status) == SWITCHING_PROTOCOLS;
    return rb_respond_to(status, id_to_i) && rb_funcall(status, id_to_i, 0) == INT2FIX(SWITCHING_PROTOCOLS);
}

bool pn_is_switch(VALUE status, VALUE headers)
{
    return switches_protocols(status) && RB_TYPE_P(headers, T_HASH) && !NIL_P(rb_hash_lookup(headers, key_hijack));
}

struct hijacking {
    struct pn_slot *slot;
    int ours, theirs; /* -1: closed, or given away */
};

static VALUE send_socket(VALUE argument)
{
    struct hijacking *h = (struct hijacking *)argument;

    pn_send_buffer(h->slot, h->theirs);
    return Qnil;
}

/* hijack(request_id, status, headers) -> descriptor of the application's end
 *
 * status is nil if the application writes the head of the response by itself;
 * else the engine sends status and headers, and the application what follows.
 * Raises IOError unless the request is in work and unanswered. Afterwards the
 * response is to be ended by respond, write_end or write_aborted. */
static VALUE slot_hijack(VALUE self, VALUE request_id, VALUE status, VALUE headers)
{
    struct pn_slot *slot = pn_slot_get(self);
    struct hijacking h = {slot, -1, -1};
    int code = 0, fds[2], state;

    if (NUM2ULL(request_id) != slot->request_id || slot->answer != PN_UNANSWERED) {
        rb_raise(rb_eIOError, "the connection cannot be hijacked any more: its request has been answered");
    }
    if (!NIL_P(status)) code = switches_protocols(status) ? SWITCHING_PROTOCOLS : pn_status_code(status);
    pn_begin_frame(slot, PN_FRAME_HIJACK, code);
    if (NIL_P(status)) {
        pn_put32(pn_reserve(&slot->out, 4), 0);
        slot->out.length += 4;
    }
    else {
        pn_append_hijack_headers(slot, headers);
    }
    pn_end_frame(slot, 0);

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) rb_sys_fail("hijack: socketpair");
    rb_update_max_fd(fds[0]);
    rb_update_max_fd(fds[1]);
    h.ours = fds[0];
    h.theirs = fds[1];
    slot->answer = PN_HEAD_SENT;
    slot->hijacked = true;
    rb_protect(send_socket, (VALUE)&h, &state);
    close(h.theirs);
    if (state) {
        close(h.ours);
        rb_jump_tag(state);
    }
    return INT2NUM(h.ours);
}

void pn_init_hijack(void)
{
    key_hijack = rb_enc_interned_str("rack.hijack", 11, rb_utf8_encoding());
    rb_gc_register_mark_object(key_hijack);
    id_slot = rb_intern("@slot");
    id_env = rb_intern("@env");
    id_request = rb_intern("@request_id");

    /* Its methods are in phusion_passenger/hijack.rb. */
    hijack_class = rb_define_class_under(rb_define_module("PhusionPassenger"), "Hijack", rb_cObject);
    rb_gc_register_mark_object(hijack_class);
    rb_define_method(pn_slot_class, "hijack", slot_hijack, 3);
}
