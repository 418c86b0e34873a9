// Command libpassenger is the engine as a C shared library, loaded by the
// Ruby extension. It is the only package that imports "C"; everything it
// exports has the prefix passenger_.
package main

/*
#include <stdint.h>
#include <stdlib.h>

extern char **environ;
*/
import "C"

import (
	"sync"
	"unsafe"

	"passenger/go/internal/config"
	"passenger/go/internal/core"
)

// engines are the running servers by handle: C holds numbers, never Go pointers.
var engines = struct {
	sync.Mutex
	last   int64
	byName map[int64]*core.Engine
}{byName: map[int64]*core.Engine{}}

// passenger_start starts a server with the options in a JSON object. It
// returns a handle, or 0 with a message in *failure that the caller frees.
//
//export passenger_start
func passenger_start(options *C.char, length C.int64_t, failure **C.char) C.int64_t {
	o, err := config.Parse(C.GoStringN(options, C.int(length)))
	if err == nil {
		o.Environ = environment()
		var e *core.Engine
		if e, err = core.Start(o); err == nil {
			engines.Lock()
			defer engines.Unlock()
			engines.last++
			handle := engines.last
			engines.byName[handle] = e
			go func() {
				e.Wait()
				engines.Lock()
				defer engines.Unlock()
				delete(engines.byName, handle)
			}()
			return C.int64_t(handle)
		}
	}
	*failure = C.CString(err.Error())
	return 0
}

// passenger_stop winds a server down and returns at once; 0 if there is none
// of that handle (any more).
//
//export passenger_stop
func passenger_stop(handle C.int64_t, force C.int32_t) C.int32_t {
	e := engine(handle)
	if e == nil {
		return 0
	}
	e.Stop(force != 0)
	return 1
}

// passenger_restart loads the app of a server anew and returns at once.
//
//export passenger_restart
func passenger_restart(handle C.int64_t) C.int32_t {
	e := engine(handle)
	if e == nil {
		return 0
	}
	go e.Restart()
	return 1
}

// environment is the process's environment as C and Ruby see it. Go's own view
// is that of the moment the process began, and is not even that any more when
// Ruby has set a long process title.
func environment() []string {
	var list []string
	for p := C.environ; p != nil && *p != nil; p = (**C.char)(unsafe.Add(unsafe.Pointer(p), unsafe.Sizeof(*p))) {
		list = append(list, C.GoString(*p))
	}
	return list
}

var version = C.CString(core.Version)

// passenger_version is the version of the engine; the string is the library's.
//
//export passenger_version
func passenger_version() *C.char { return (*C.char)(unsafe.Pointer(version)) }

func engine(handle C.int64_t) *core.Engine {
	engines.Lock()
	defer engines.Unlock()
	return engines.byName[int64(handle)]
}

func main() {}
