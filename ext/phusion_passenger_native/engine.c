/* Starts and stops the engine: libpassenger.so, a C shared library written in
 * Go. It is loaded when the engine is started and not before, because a
 * process that has a Go runtime must never fork application code. */
#include "native.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

typedef int64_t (*start_function)(const char *options, int64_t length, char **error);
typedef int32_t (*stop_function)(int64_t handle, int32_t force);
typedef int32_t (*restart_function)(int64_t handle);
typedef char *(*version_function)(void);

/* A Go runtime can't be unloaded or loaded twice, so there is one per process. */
static struct {
    char *path;
    start_function start;
    stop_function stop;
    restart_function restart;
    version_function version;
} engine;

static void *symbol(void *library, const char *path, const char *name)
{
    void *address = dlsym(library, name);

    if (address == NULL) {
        const char *reason = dlerror();
        rb_raise(pn_engine_error,
                 "%s is not the engine of this version of passenger (%s). Reinstall the gem, or run "
                 "`bundle exec rake clean compile` in a source checkout.",
                 path, reason ? reason : name);
    }
    return address;
}

static void *load_library(void *path)
{
    return dlopen((const char *)path, RTLD_NOW | RTLD_LOCAL);
}

static void load_engine(VALUE library_path)
{
    char *path = StringValueCStr(library_path);
    void *library;

    if (engine.path != NULL) {
        if (strcmp(engine.path, path) == 0) return;
        rb_raise(pn_engine_error, "the engine %s is loaded already: %s can't be loaded into the same process",
                 engine.path, path);
    }
    library = rb_thread_call_without_gvl(load_library, path, NULL, NULL);
    if (library == NULL) {
        const char *reason = dlerror();
        rb_raise(pn_engine_error,
                 "the engine can't be loaded: %s. Reinstall the gem, or run `bundle exec rake compile` in a source "
                 "checkout.",
                 reason ? reason : path);
    }
    engine.start = (start_function)symbol(library, path, "passenger_start");
    engine.stop = (stop_function)symbol(library, path, "passenger_stop");
    engine.restart = (restart_function)symbol(library, path, "passenger_restart");
    engine.version = (version_function)symbol(library, path, "passenger_version");
    engine.path = strdup(path);
}

static void require_engine(const char *what)
{
    if (engine.path == NULL) rb_raise(pn_engine_error, "%s: the engine has not been started in this process", what);
}

struct start_call {
    const char *options;
    int64_t length;
    char *error;
    int64_t handle;
};

static void *call_start(void *argument)
{
    struct start_call *call = argument;

    call->handle = engine.start(call->options, call->length, &call->error);
    return NULL;
}

/* engine_start(library_path, options_json) -> Integer handle */
static VALUE engine_start(VALUE self, VALUE library_path, VALUE options_json)
{
    struct start_call call = {NULL, 0, NULL, 0};
    VALUE options, message;

    StringValue(options_json);
    options = rb_str_new_frozen(options_json);
    load_engine(library_path);

    call.options = RSTRING_PTR(options);
    call.length = RSTRING_LEN(options);
    rb_thread_call_without_gvl(call_start, &call, NULL, NULL);
    RB_GC_GUARD(options);

    if (call.handle > 0) {
        free(call.error);
        return LL2NUM(call.handle);
    }
    /* Go has returned: from here on raising is safe. */
    message = rb_utf8_str_new_cstr(call.error ? call.error : "the engine gave no reason");
    free(call.error);
    rb_exc_raise(rb_exc_new_str(pn_engine_error, message));
}

struct handle_call {
    int64_t handle;
    int32_t force;
    int32_t result;
};

static void *call_stop(void *argument)
{
    struct handle_call *call = argument;

    call->result = engine.stop(call->handle, call->force);
    return NULL;
}

static void *call_restart(void *argument)
{
    struct handle_call *call = argument;

    call->result = engine.restart(call->handle);
    return NULL;
}

/* engine_stop(handle, force) -> Integer as passenger_stop gave it */
static VALUE engine_stop(VALUE self, VALUE handle, VALUE force)
{
    struct handle_call call = {NUM2LL(handle), RTEST(force), 0};

    require_engine("engine_stop");
    rb_thread_call_without_gvl(call_stop, &call, NULL, NULL);
    return INT2NUM(call.result);
}

/* engine_restart(handle) -> Integer as passenger_restart gave it */
static VALUE engine_restart(VALUE self, VALUE handle)
{
    struct handle_call call = {NUM2LL(handle), 0, 0};

    require_engine("engine_restart");
    rb_thread_call_without_gvl(call_restart, &call, NULL, NULL);
    return INT2NUM(call.result);
}

static void *call_version(void *argument)
{
    (void)argument;
    return engine.version();
}

/* engine_version(library_path) -> String */
static VALUE engine_version(VALUE self, VALUE library_path)
{
    const char *version;

    load_engine(library_path);
    version = rb_thread_call_without_gvl(call_version, NULL, NULL, NULL);
    return rb_utf8_str_new_cstr(version);
}

void pn_init_engine(void)
{
    rb_define_module_function(pn_module, "engine_start", engine_start, 2);
    rb_define_module_function(pn_module, "engine_stop", engine_stop, 2);
    rb_define_module_function(pn_module, "engine_restart", engine_restart, 1);
    rb_define_module_function(pn_module, "engine_version", engine_version, 1);
}
