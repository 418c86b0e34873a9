/* A slot: one thread of a worker, with its place at the queue, its response
 * stream and its record on the scoreboard. */
#ifndef PN_SLOT_H
#define PN_SLOT_H

#include "native.h"
#include "protocol.h"

#include <semaphore.h>

/* Entries of the environment whose value is the same in most requests: the
 * last value is kept, frozen, and used again. */
enum pn_recurring {
    PN_RECURRING_METHOD,
    PN_RECURRING_PROTOCOL,
    PN_RECURRING_SERVER_NAME,
    PN_RECURRING_SERVER_PORT,
    PN_RECURRING_HTTP_VERSION,
    PN_RECURRING_COUNT
};

enum pn_receipt {
    PN_RECEIVED,
    PN_QUEUE_ENDED,
    PN_NOTHING_YET,
    PN_INTERRUPTED,
    PN_RECEIVE_FAILED
};

/* How far the response to the current request has got. */
enum pn_answer {
    PN_NO_REQUEST,
    PN_UNANSWERED,
    PN_HEAD_SENT,
    PN_ANSWERED
};

/* Of a worker with several threads: the right to be the one of them that waits
 * at the queue, and how busy this worker is, next to the others. */
struct pn_turn {
    sem_t token;
    VALUE scoreboard;        /* that the rest is on; nil for a worker that has no others beside it */
    struct pn_crew *crew;
    struct pn_process *self; /* NULL without a scoreboard */
};

struct pn_buffer {
    unsigned char *bytes;
    size_t length, capacity;
};

struct pn_slot {
    int queue_fd, stream_fd;
    int direct_fd; /* the worker's own queue; -1: there is none */
    int epoll_fd;  /* waits for both queues; -1 without a direct one */
    uint64_t let_others_at; /* when other threads of the process had their turn last, on CLOCK_MONOTONIC */
    int own_in_a_row; /* requests from the direct queue since the last look at the common one */
    struct pn_record *record;
    struct pn_turn *turn; /* NULL in a worker with one thread */
    VALUE scoreboard, turn_object, template, input;
    VALUE recurring[PN_RECURRING_COUNT];

    /* The message being received or worked on. */
    unsigned char *inbox;
    size_t inbox_length;
    int inbox_flags;
    int body_fd; /* -1 once something owns it */
    enum pn_receipt receipt;
    int receive_error;

    VALUE self;
    uint64_t request_id;
    bool head_request;
    bool hijacked; /* the application has the connection of the current request */
    enum pn_answer answer;
    struct pn_buffer out;

    bool counted; /* the worker shows others that it works on the current request */
    bool broken; /* the stream can't carry another frame */
    bool responding; /* a frame of the response to the current request has been begun: the buffer is taken */
    bool client_gone; /* nobody waits for the current response */
    bool offer_unanswered; /* the answer to the last offer may still come */
    bool waiting; /* its thread is, or is about to be, without the GVL in receive */
    bool oob_wanted; /* the application has asked for out-of-band work with the current response */
    _Atomic bool stop, pause;
};

struct pn_slot *pn_slot_get(VALUE self);

/* Builds the Rack environment of the message in the slot's inbox. */
VALUE pn_env_build(struct pn_slot *slot);

/* hijack.c: what is called to take the connection of the slot's request over. */
VALUE pn_hijack_new(struct pn_slot *slot, VALUE env);

/* interim.c: what is called to send early hints before the response to the
 * slot's request. */
VALUE pn_early_hints_new(struct pn_slot *slot);

/* Defined by response.c on the class Slot. */
extern VALUE pn_slot_class;

/* scoreboard.c */
void *pn_scoreboard_record(VALUE scoreboard, VALUE index);

/* turn.c */
extern const rb_data_type_t pn_turn_type;
void pn_turn_begin_request(struct pn_slot *slot);
void pn_turn_end_request(struct pn_slot *slot);
void pn_turn_show(struct pn_turn *turn, bool present);
bool pn_turn_is_idle(struct pn_turn *turn);
bool pn_turn_yields(struct pn_turn *turn);
bool pn_turn_let_others(struct pn_turn *turn);

#endif
