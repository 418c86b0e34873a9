package config

import (
	"strings"
	"testing"
	"time"
)

const good = `{"address":"127.0.0.1","port":3000,"environment":"production","app_root":"/app","startup_file":"/app/config.ru",
"max_pool_size":6,"min_instances":1,"thread_count":1,"max_request_queue_size":100,"start_timeout":90,"shutdown_timeout":0.5,
"max_preloader_idle_time":300,"ruby":"/usr/bin/ruby","preloader":"/p.rb","server_software":"x","socket_file":null,"unknown":1}`

func TestOptionsAreReadFromJSON(t *testing.T) {
	o, err := Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	if o.Port != 3000 || o.MaxPoolSize != 6 || o.ShutdownTimeout != 500*time.Millisecond || o.PreloaderFD != -1 || o.NotifyFD != -1 || o.SocketFile != "" {
		t.Errorf("read %+v", o)
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	for change, want := range map[string]string{
		`"port":3000→"port":"3000"`:                  "port must be a whole number",
		`"port":3000→"port":70000`:                   "port is 70000",
		`"max_pool_size":6→"max_pool_size":0`:        "max_pool_size is 0",
		`"min_instances":1→"min_instances":9`:        "min_instances is 9, more than max_pool_size (6)",
		`"ruby":"/usr/bin/ruby"→"ruby":""`:           "ruby is missing",
		`"start_timeout":90→"start_timeout":-1`:      "start_timeout must be",
		`"environment":"production"→"environment":7`: "environment must be a string",
		`"thread_count":1→"thread_count":1.5`:        "thread_count must be a whole number",
		`{"address"→{{"address"`:                     "not valid JSON",
	} {
		from, to, _ := strings.Cut(change, "→")
		_, err := Parse(strings.Replace(good, from, to, 1))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", change, err)
		}
	}
}
