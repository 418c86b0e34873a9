/* The scoreboard: memory that the engine and all workers of a generation share. */
#include "slot.h"

#include <sys/mman.h>
#include <sys/stat.h>

struct scoreboard {
    struct pn_record *records;
    size_t count;
};

static void scoreboard_free(void *p)
{
    struct scoreboard *board = p;

    if (board->records != NULL) munmap(board->records, board->count * sizeof(struct pn_record));
    xfree(board);
}

static const rb_data_type_t scoreboard_type = {
    .wrap_struct_name = "PhusionPassenger::Native::Scoreboard",
    .function = {.dfree = scoreboard_free},
    .flags = RUBY_TYPED_FREE_IMMEDIATELY,
};

static VALUE scoreboard_allocate(VALUE klass)
{
    struct scoreboard *board;

    return TypedData_Make_Struct(klass, struct scoreboard, &scoreboard_type, board);
}

/* Scoreboard.new(fd): maps it; the descriptor may be closed afterwards */
static VALUE scoreboard_initialize(VALUE self, VALUE fd)
{
    struct scoreboard *board;
    struct stat status;
    void *memory;

    TypedData_Get_Struct(self, struct scoreboard, &scoreboard_type, board);
    if (fstat(NUM2INT(fd), &status) < 0) rb_sys_fail("scoreboard: fstat");
    if (status.st_size < (off_t)sizeof(struct pn_record)) {
        rb_raise(pn_protocol_error, "the scoreboard has %ld bytes, less than one record", (long)status.st_size);
    }
    memory = mmap(NULL, status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, NUM2INT(fd), 0);
    if (memory == MAP_FAILED) rb_sys_fail("scoreboard: mmap");
    board->records = memory;
    board->count = status.st_size / sizeof(struct pn_record);
    return self;
}

/* forget: for a fork of the worker that serves nothing. Slots that still point
 * to their records find memory of this process there. */
static VALUE scoreboard_forget(VALUE self)
{
    struct scoreboard *board;

    TypedData_Get_Struct(self, struct scoreboard, &scoreboard_type, board);
    if (board->records != NULL && mmap(board->records, board->count * sizeof(struct pn_record), PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
        rb_sys_fail("scoreboard: mmap");
    }
    return Qnil;
}

/* The record with that number; those behind the slots are of other kinds, and
 * of the same size. */
void *pn_scoreboard_record(VALUE self, VALUE index)
{
    struct scoreboard *board;
    long i = NUM2LONG(index);

    TypedData_Get_Struct(self, struct scoreboard, &scoreboard_type, board);
    if (i < 0 || (size_t)i >= board->count) {
        rb_raise(pn_protocol_error, "record %ld is not on the scoreboard, which has %zu", i, board->count);
    }
    return &board->records[i];
}

void pn_init_scoreboard(void)
{
    VALUE scoreboard = rb_define_class_under(pn_module, "Scoreboard", rb_cObject);

    rb_define_alloc_func(scoreboard, scoreboard_allocate);
    rb_define_method(scoreboard, "initialize", scoreboard_initialize, 1);
    rb_define_method(scoreboard, "forget", scoreboard_forget, 0);
}
