/* Which thread of a worker waits at the queue, and which worker takes a request.
 *
 * The kernel gives a message to whoever has waited longest. For workers with one
 * thread that is all there is to it. One with several is still waiting when it
 * works on a request already, and must not get another one while a worker that
 * has nothing to do waits beside it: the two requests would share one GVL. So
 * every worker shows on the scoreboard how many requests it works on, and one that
 * works on any looks there before it takes the next. */
#include "slot.h"

#include <errno.h>
#include <time.h>

/* How long a worker leaves a request to an idle one, which has been woken for it
 * too: far longer than it takes to be scheduled, unless it is stopped or gone. */
#define YIELD_FIRST_NS 20000L
#define YIELD_LONGEST_NS 1000000L
#define YIELD_TOTAL_NS 50000000L

static void turn_mark(void *p)
{
    struct pn_turn *turn = p;

    rb_gc_mark(turn->scoreboard);
}

static void turn_free(void *p)
{
    struct pn_turn *turn = p;

    sem_destroy(&turn->token);
    xfree(turn);
}

const rb_data_type_t pn_turn_type = {
    .wrap_struct_name = "PhusionPassenger::Native::Turn",
    .function = {.dmark = turn_mark, .dfree = turn_free},
    .flags = RUBY_TYPED_FREE_IMMEDIATELY,
};

static VALUE turn_allocate(VALUE klass)
{
    struct pn_turn *turn;
    VALUE self = TypedData_Make_Struct(klass, struct pn_turn, &pn_turn_type, turn);

    turn->scoreboard = Qnil;
    if (sem_init(&turn->token, 0, 1) < 0) rb_sys_fail("sem_init");
    return self;
}

/* Turn.new, or Turn.new(scoreboard, crew, place): crew is the number of the
 * record before those of the workers, place that of this worker among them. */
static VALUE turn_initialize(int argc, VALUE *argv, VALUE self)
{
    struct pn_turn *turn;

    TypedData_Get_Struct(self, struct pn_turn, &pn_turn_type, turn);
    if (argc == 0) return self;
    rb_check_arity(argc, 3, 3);
    turn->crew = pn_scoreboard_record(argv[0], argv[1]);
    turn->self = pn_scoreboard_record(argv[0], LONG2NUM(NUM2LONG(argv[1]) + 1 + NUM2LONG(argv[2])));
    turn->scoreboard = argv[0];
    pn_turn_show(turn, true);
    return self;
}

/* present: whether this worker takes requests, so that others leave them to it. */
void pn_turn_show(struct pn_turn *turn, bool present)
{
    if (turn != NULL && turn->self != NULL) {
        atomic_store_explicit(&turn->self->present, present ? 1u : 0u, memory_order_release);
    }
}

void pn_turn_begin_request(struct pn_slot *slot)
{
    if (slot->turn == NULL || slot->turn->self == NULL) return;
    slot->counted = true;
    atomic_fetch_add_explicit(&slot->turn->self->busy, 1, memory_order_acq_rel);
}

/* Called before the end of the response is sent, since the client's next request
 * may be there before this thread asks for it; at the latest when it does. */
void pn_turn_end_request(struct pn_slot *slot)
{
    if (!slot->counted) return;
    slot->counted = false;
    atomic_fetch_sub_explicit(&slot->turn->self->busy, 1, memory_order_acq_rel);
}

/* Whether nothing speaks against taking whatever comes first. */
bool pn_turn_is_idle(struct pn_turn *turn)
{
    return turn == NULL || turn->self == NULL || atomic_load_explicit(&turn->self->busy, memory_order_acquire) == 0 ||
           atomic_load_explicit(&turn->crew->places, memory_order_relaxed) < 2;
}

/* Whether the next request should be left to a worker that has nothing to do. */
bool pn_turn_yields(struct pn_turn *turn)
{
    struct pn_process *process;
    uint32_t places, i;

    if (pn_turn_is_idle(turn)) return false;
    places = atomic_load_explicit(&turn->crew->places, memory_order_relaxed);
    for (i = 0; i < places; i++) {
        process = (struct pn_process *)(turn->crew + 1 + i);
        if (process != turn->self && atomic_load_explicit(&process->present, memory_order_acquire) != 0 &&
            atomic_load_explicit(&process->busy, memory_order_acquire) == 0) {
            return true;
        }
    }
    return false;
}

/* Waits, without the GVL, as long as the next request should be left to another
 * worker, but not for ever: that one may have been stopped by somebody. Returns
 * false if the thread is wanted for something else. */
bool pn_turn_let_others(struct pn_turn *turn)
{
    struct timespec pause = {0, YIELD_FIRST_NS};
    long waited = 0;

    while (waited < YIELD_TOTAL_NS && pn_turn_yields(turn)) {
        if (nanosleep(&pause, NULL) < 0 && errno == EINTR) return false;
        waited += pause.tv_nsec;
        if (pause.tv_nsec < YIELD_LONGEST_NS) pause.tv_nsec *= 2;
    }
    return true;
}

void pn_init_turn(void)
{
    VALUE turn = rb_define_class_under(pn_module, "Turn", rb_cObject);

    rb_define_alloc_func(turn, turn_allocate);
    rb_define_method(turn, "initialize", turn_initialize, -1);
}
