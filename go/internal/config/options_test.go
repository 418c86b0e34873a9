package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const good = `{"address":"127.0.0.1","port":3000,"environment":"production","app_root":"/app","startup_file":"/app/config.ru",
"max_pool_size":6,"min_instances":1,"thread_count":1,"max_request_queue_size":100,"start_timeout":90,"shutdown_timeout":0.5,
"max_preloader_idle_time":300,"ruby":"/usr/bin/ruby","preloader":"/p.rb","server_software":"x","socket_file":null,"unknown":1,
"static_cache_size":64,"static_symlink_dirs":["/app/","/srv/shared"],"asset_patterns":["^{assets}/.+-[0-9a-f]{8}\\.[^/]+$"],"page_caching":true,
"compression":true,"gzip_level":5,"brotli_level":4,"compression_min_size":1000,"turbocaching":true,"turbocache_size":16,
"spawn_method":"smart","pool_idle_time":300,"max_request_queue_time":0,"max_request_time":0,"force_max_concurrent_requests_per_process":-1,
"max_requests":0,"memory_limit":0,"hard_memory_limit":0,"memory_measure":"pss","rolling_restarts":false,"rolling_restart_size":1,
"resist_deployment_errors":true,"refork_after":0,"max_connections":0,"max_connections_per_ip":0,"sticky_sessions":false,"sticky_sessions_cookie_name":"_passenger_route",
"sticky_sessions_cookie_attributes":"SameSite=Lax",
"sendfile_dirs":["/app"],"x_accel_mappings":["/app/files/=/files","/srv/=/"],"instance_registry_dir":"/tmp"}`

func TestOptionsAreReadFromJSON(t *testing.T) {
	o, err := Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	if o.Port != 3000 || o.MaxPoolSize != 6 || o.ShutdownTimeout != 500*time.Millisecond || o.PreloaderFD != -1 || o.NotifyFD != -1 || o.SocketFile != "" {
		t.Errorf("read %+v", o)
	}
}

func TestSizesListsAndMappingsAreReadFromJSON(t *testing.T) {
	o, err := Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	if o.StaticCacheSize != 64<<20 || o.TurbocacheSize != 16<<20 || o.CompressionMinSize != 1000 || o.GzipLevel != 5 || o.BrotliLevel != 4 {
		t.Errorf("read %+v", o)
	}
	if !o.PageCaching || !o.Compression || !o.Turbocaching || o.PageCacheDir != "" || o.VaryTurbocacheByCookie != "" || o.InstanceRegistryDir != "/tmp" {
		t.Errorf("read %+v", o)
	}
	if want := []string{"/app", "/srv/shared"}; !slices.Equal(o.StaticSymlinkDirs, want) {
		t.Errorf("directories %q", o.StaticSymlinkDirs)
	}
	if want := []XAccelMapping{{"/app/files", "/files"}, {"/srv", ""}}; !slices.Equal(o.XAccelMappings, want) {
		t.Errorf("mappings %q", o.XAccelMappings)
	}
}

func TestThePoolIsSizedByTheMachineOnRequest(t *testing.T) {
	o, err := Parse(strings.Replace(good, `"max_pool_size":6,"min_instances":1`, `"max_pool_size":"auto","min_instances":9`, 1))
	if err != nil {
		t.Fatal(err)
	}
	if o.MaxPoolSize != PoolSizeAuto || o.MinInstances != 9 {
		t.Errorf("read %+v", o)
	}
}

func TestAForcedConcurrencyCountsMoreThanTheThreads(t *testing.T) {
	for forced, want := range map[int]int{-1: 5, 0: 5, 1: 1, 8: 8} {
		if got := (Options{ThreadCount: 5, ForceMaxConcurrentRequests: forced}).Threads(); got != want {
			t.Errorf("forced %d: %d threads", forced, got)
		}
	}
}

func TestTheAssetsPrefixIsTakenLiterally(t *testing.T) {
	patterns, err := CompileAssetPatterns([]string{`^{assets}/.+-[0-9a-f]{8}\.js$`}, "/a.b")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"/a.b/x-0123abcd.js": true, "/axb/x-0123abcd.js": false, "/a.b/x.js": false} {
		if patterns[0].MatchString(path) != want {
			t.Errorf("%s: match is %v", path, !want)
		}
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	for change, want := range map[string]string{
		`"port":3000→"port":"3000"`:                                                                     "port must be a whole number",
		`"port":3000→"port":70000`:                                                                      "port is 70000",
		`"max_pool_size":6→"max_pool_size":0`:                                                           "max_pool_size is 0",
		`"min_instances":1→"min_instances":9`:                                                           "min_instances is 9, more than max_pool_size (6)",
		`"ruby":"/usr/bin/ruby"→"ruby":""`:                                                              "ruby is missing",
		`"start_timeout":90→"start_timeout":-1`:                                                         "start_timeout must be",
		`"environment":"production"→"environment":7`:                                                    "environment must be a string",
		`"thread_count":1→"thread_count":1.5`:                                                           "thread_count must be a whole number",
		`"static_cache_size":64→"static_cache_size":-1`:                                                 "static_cache_size is -1",
		`"turbocache_size":16→"turbocache_size":0`:                                                      "turbocache_size is 0",
		`"gzip_level":5→"gzip_level":10`:                                                                "gzip_level is 10",
		`["^{assets}/→["(?<!x)`:                                                                         `asset_patterns has "(?<!x).+-[0-9a-f]{8}\\.[^/]+$", which is no regular expression`,
		`"asset_patterns":["→"asset_patterns":[7,"`:                                                     "asset_patterns must be a list of strings that are not empty, it has 7",
		`"sendfile_dirs":["/app"]→"sendfile_dirs":"/app"`:                                               "sendfile_dirs must be a list of strings",
		`"sendfile_dirs":["/app"]→"sendfile_dirs":["app"]`:                                              `sendfile_dirs has "app", which is no absolute path`,
		`"/app/files/=/files"→"/app/files"`:                                                             `x_accel_mappings has "/app/files", it must be DIR=/uri/prefix`,
		`"/app/files/=/files"→"files=/files"`:                                                           `x_accel_mappings has "files=/files"`,
		`"/app/files/=/files"→"/app/files=files"`:                                                       `x_accel_mappings has "/app/files=files"`,
		`"spawn_method":"smart"→"spawn_method":"fork"`:                                                  `spawn_method is "fork", it must be smart or direct`,
		`"max_pool_size":6→"max_pool_size":"some"`:                                                      "max_pool_size must be a whole number",
		`"memory_measure":"pss"→"memory_measure":"vsz"`:                                                 `memory_measure is "vsz"`,
		`"rolling_restart_size":1→"rolling_restart_size":0`:                                             "rolling_restart_size is 0",
		`"sticky_sessions_cookie_name":"_passenger_route"→"sticky_sessions_cookie_name":"a b"`:          "which is no name for a cookie",
		`"sticky_sessions_cookie_attributes":"SameSite=Lax"→"sticky_sessions_cookie_attributes":"a\nb"`: "characters that no header can have",
		`"spawn_method":"smart"→"refork_after":5,"spawn_method":"direct"`:                               "refork_after needs spawn_method smart",
		`"memory_limit":0→"memory_limit":9,"hard_memory_limit":5`:                                       "memory_limit is more than hard_memory_limit",
		`{"address"→{{"address"`:                                                                        "not valid JSON",
	} {
		from, to, _ := strings.Cut(change, "→")
		_, err := Parse(strings.Replace(good, from, to, 1))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", change, err)
		}
	}
}
