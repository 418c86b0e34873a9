/* Interim responses: what the application has to say before its response. */
#include "frame.h"

/* Of RFC 8297. */
#define EARLY_HINTS 103

/* Bytes. The kernel takes so much at once or not at all. */
#define INTERIM_MAX (16 * 1024)

static VALUE early_hints_class;
static ID id_slot, id_request;

/* One per request: whoever keeps the environment of a request that is over must
 * not get into the response to another one. */
VALUE pn_early_hints_new(struct pn_slot *slot)
{
    VALUE hints = rb_obj_alloc(early_hints_class);

    rb_ivar_set(hints, id_slot, slot->self);
    rb_ivar_set(hints, id_request, ULL2NUM(slot->request_id));
    return hints;
}

/* interim(request_id, pairs) -> whether they have been sent: not when the
 * response has begun, and not when the stream takes nothing at the moment.
 *
 * pairs is an Array of [name, value], all of them Strings: with them nothing
 * gives another thread a turn between the first line here and the last, so that
 * any thread may call it. */
static VALUE slot_interim(VALUE self, VALUE request_id, VALUE pairs)
{
    struct pn_slot *slot = pn_slot_get(self);

    Check_Type(pairs, T_ARRAY);
    if (NUM2ULL(request_id) != slot->request_id || slot->answer != PN_UNANSWERED || slot->responding) return Qfalse;
    pn_begin_frame(slot, PN_FRAME_INTERIM, EARLY_HINTS);
    pn_append_interim_headers(slot, pairs);
    pn_end_frame(slot, 0);
    if (slot->out.length > INTERIM_MAX) {
        rb_raise(pn_invalid_response, "early hints of %zu bytes are too long to be sent; at most %d are", slot->out.length,
                 INTERIM_MAX);
    }
    return pn_try_send_buffer(slot) ? Qtrue : Qfalse;
}

void pn_init_interim(void)
{
    id_slot = rb_intern("@slot");
    id_request = rb_intern("@request_id");

    /* Its methods are in phusion_passenger/early_hints.rb. */
    early_hints_class = rb_define_class_under(rb_define_module("PhusionPassenger"), "EarlyHints", rb_cObject);
    rb_gc_register_mark_object(early_hints_class);
    rb_define_method(pn_slot_class, "interim", slot_interim, 2);
}
