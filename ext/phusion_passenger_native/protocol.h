/* The layouts of docs/protocol.md. Integers are little-endian on the wire. */
#ifndef PN_PROTOCOL_H
#define PN_PROTOCOL_H

#include <stdint.h>
#include <stdatomic.h>
#include <string.h>

#define PN_PROTOCOL_VERSION 1

/* Request message (queue). */
#define PN_REQUEST_TYPE 1
#define PN_REQUEST_HEADER_BYTES 32
#define PN_REQUEST_MAX_BYTES (192 * 1024)
#define PN_FLAG_BODY_FD 1
#define PN_FLAG_HTTPS 2
#define PN_FLAG_INTERIM 4

/* Response frames (slot stream). */
#define PN_FRAME_HEADER_BYTES 16
#define PN_FRAME_MAX_PAYLOAD_BYTES (16u * 1024 * 1024)

enum pn_frame_type {
    PN_FRAME_HEAD = 1,
    PN_FRAME_BODY = 2,
    PN_FRAME_END = 3,
    PN_FRAME_COMPLETE = 4,
    PN_FRAME_FILE = 5,
    PN_FRAME_OFFER = 6,
    PN_FRAME_SENT = 7,
    PN_FRAME_FAILED = 8,
    PN_FRAME_ABORTED = 9,
    PN_FRAME_HIJACK = 10,
    PN_FRAME_INTERIM = 11
};

/* Messages of the engine on the slot stream. */
#define PN_NOTICE_BYTES 16

enum pn_notice {
    PN_NOTICE_CLIENT_GONE = 1,
    PN_NOTICE_SOCKET = 2,
    PN_NOTICE_NO_SOCKET = 3
};

/* Control messages. */
#define PN_CONTROL_MAX_BYTES (64 * 1024)
#define PN_CONTROL_MAX_DESCRIPTORS 253 /* SCM_MAX_FD of the kernel */

/* A record of the scoreboard: one cache line, shared with the engine. */
struct pn_record {
    _Atomic uint32_t state;
    _Atomic uint32_t pid;
    _Atomic uint64_t request_id;
    _Atomic uint64_t started_at; /* ns, CLOCK_MONOTONIC */
    _Atomic uint64_t finished;
    _Atomic uint64_t sequence;
    /* Of the request before: the engine may read a response late. */
    _Atomic uint64_t previous_id;
    _Atomic uint64_t previous_started_at;
    unsigned char reserved[8];
};
_Static_assert(sizeof(struct pn_record) == 64, "a record is one cache line");

/* Behind the records of the slots: one that says how many of the following are
 * in use, then one for each worker. They have the size of a record, too. */
struct pn_crew {
    _Atomic uint32_t places;
    unsigned char reserved[60];
};
struct pn_process {
    _Atomic uint32_t present; /* takes requests */
    _Atomic uint32_t busy;    /* requests that it works on */
    unsigned char reserved[56];
};
_Static_assert(sizeof(struct pn_crew) == 64 && sizeof(struct pn_process) == 64, "records of the scoreboard are of one size");

#define PN_STATE_IDLE 1u
#define PN_STATE_WORKING 2u

/* The upper 40 bits of a request id are its sequence number. */
#define PN_SEQUENCE_SHIFT 24

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define PN_LE16(x) (x)
#define PN_LE32(x) (x)
#define PN_LE64(x) (x)
#else
#define PN_LE16(x) __builtin_bswap16(x)
#define PN_LE32(x) __builtin_bswap32(x)
#define PN_LE64(x) __builtin_bswap64(x)
#endif

/* memcpy because fields need not be aligned; compilers make it one load. */
static inline uint16_t pn_get16(const unsigned char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return PN_LE16(v);
}

static inline uint32_t pn_get32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return PN_LE32(v);
}

static inline uint64_t pn_get64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return PN_LE64(v);
}

static inline void pn_put16(unsigned char *p, uint16_t v)
{
    v = PN_LE16(v);
    memcpy(p, &v, sizeof v);
}

static inline void pn_put32(unsigned char *p, uint32_t v)
{
    v = PN_LE32(v);
    memcpy(p, &v, sizeof v);
}

static inline void pn_put64(unsigned char *p, uint64_t v)
{
    v = PN_LE64(v);
    memcpy(p, &v, sizeof v);
}

#endif
