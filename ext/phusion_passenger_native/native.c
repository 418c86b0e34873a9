/* PhusionPassenger::Native: see docs/protocol.md and docs/internals.md. */
#include "native.h"

VALUE pn_module, pn_protocol_error, pn_disconnected, pn_client_gone, pn_invalid_response, pn_engine_error;

__attribute__((visibility("default"))) void Init_native(void)
{
    VALUE passenger = rb_define_module("PhusionPassenger");

    pn_module = rb_define_module_under(passenger, "Native");
    pn_protocol_error = rb_define_class_under(pn_module, "ProtocolError", rb_eStandardError);
    pn_disconnected = rb_define_class_under(pn_module, "Disconnected", rb_eIOError);
    pn_client_gone = rb_define_class_under(pn_module, "ClientGone", rb_eIOError);
    pn_invalid_response = rb_define_class_under(pn_module, "InvalidResponse", rb_eStandardError);
    pn_engine_error = rb_define_class_under(pn_module, "EngineError", rb_eStandardError);

    pn_init_engine();
    pn_init_control();
    pn_init_process();
    pn_init_env();
    pn_init_scoreboard();
    pn_init_turn();
    pn_init_slot();
    pn_init_response();
    pn_init_hijack();
    pn_init_interim();
}
