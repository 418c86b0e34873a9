/* What the files of the extension share. */
#ifndef PN_NATIVE_H
#define PN_NATIVE_H


#include <ruby.h>
#include <ruby/encoding.h>
#include <ruby/thread.h>
#include <stdbool.h>

/* PhusionPassenger::Native */
extern VALUE pn_module;
/* Bytes that break docs/protocol.md: the connection can't go on. */
extern VALUE pn_protocol_error;
/* The other side has gone. */
extern VALUE pn_disconnected;
/* Nobody waits for the response any more. */
extern VALUE pn_client_gone;
/* What the app returned is not a response that can be sent. */
extern VALUE pn_invalid_response;
/* The engine refused to start, or can't be loaded. */
extern VALUE pn_engine_error;

void pn_init_engine(void);
void pn_init_control(void);
void pn_init_process(void);
void pn_init_env(void);
void pn_init_scoreboard(void);
void pn_init_turn(void);
void pn_init_slot(void);
void pn_init_response(void);
void pn_init_hijack(void);
void pn_init_interim(void);

/* True in a process that the application forked off a worker: the sockets of
 * the worker are closed there, and answering from there would corrupt them. */
bool pn_in_foreign_fork(void);

#endif
