/* Large bodies that the worker writes to the client by itself. */
#ifndef PN_HANDOVER_H
#define PN_HANDOVER_H

#include "slot.h"

/* Sends the response whose head is in the slot's buffer: its body, which is
 * stable, goes onto the client's socket as far as the client takes it at once,
 * and the rest through the stream. */
void pn_respond_with_offer(struct pn_slot *slot, VALUE body);

/* Reads what the engine has to say about the current request, without waiting. */
void pn_read_notices(struct pn_slot *slot);

/* When a request is over: an answer that came too late is not left lying in the
 * stream, where it would keep the client's connection from being closed. */
void pn_settle_offer(struct pn_slot *slot);

#endif
