/* The frames of a slot's stream. */
#ifndef PN_FRAME_H
#define PN_FRAME_H

#include "slot.h"

#include <sys/uio.h>

/* Bytes. What is sent from where it is and not copied into the slot's buffer
 * has at least this size: strings so long are never embedded in their object,
 * which Ruby may move. */
#define PN_REFERENCE_MIN (4 * 1024)

/* Room for so many more bytes in the buffer; returns where they go. */
unsigned char *pn_reserve(struct pn_buffer *buffer, size_t more);
void pn_append(struct pn_buffer *buffer, const void *bytes, size_t length);

/* Raises unless the response to the slot's request has got as far as wanted. */
void pn_expect_answer(struct pn_slot *slot, enum pn_answer wanted, const char *what);

/* Starts a frame in the slot's buffer. */
void pn_begin_frame(struct pn_slot *slot, enum pn_frame_type type, int status);
/* Writes the length of the frame's payload, of which `more` bytes are not in
 * the buffer; raises InvalidResponse when it is too long. */
void pn_end_frame(struct pn_slot *slot, size_t more);

/* Puts a frame without payload behind the finished one in the buffer. */
void pn_append_frame(struct pn_slot *slot, enum pn_frame_type type);

void pn_send_frame(struct pn_slot *slot, struct iovec *parts, int count, int descriptor);
/* The frame is the slot's buffer; descriptor is -1 or goes along. */
void pn_send_buffer(struct pn_slot *slot, int descriptor);

/* The same for a frame that may as well be dropped, by whichever thread: it is
 * sent at once or not at all. Returns whether it has been sent. */
bool pn_try_send_buffer(struct pn_slot *slot);

/* response.c: sends a chunk, which is stable, from an offset on. Raises
 * ClientGone when nobody takes the rest. */
void pn_send_body_frames(struct pn_slot *slot, VALUE chunk, size_t offset);

/* Raises Disconnected and gives the stream up. */
NORETURN(void pn_stream_ended(struct pn_slot *slot));

/* hijack.c: whether that is a 101 whose new protocol the application speaks by itself. */
bool pn_is_switch(VALUE status, VALUE headers);

/* headers.c: raise InvalidResponse for what can't be sent. */
int pn_status_code(VALUE status);
/* Appends u32 length and header block to the frame. Returns whether the body is
 * something other than what the application's body says: it is chunked, or will
 * be written by rack.hijack. */
bool pn_append_headers(struct pn_slot *slot, VALUE headers);
/* The same with the headers that describe the connection: it is the application's. */
void pn_append_hijack_headers(struct pn_slot *slot, VALUE headers);
/* The same with an Array of pairs of Strings, without giving another thread a turn. */
void pn_append_interim_headers(struct pn_slot *slot, VALUE pairs);
void pn_init_headers(void);

#endif
