// Package config reads the options that the Ruby side has resolved. Names and
// meanings are those of Passenger; defaults are the Ruby side's business
// (lib/phusion_passenger/options.rb), so every value is required to be there.
package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// Options of one server.
type Options struct {
	Address     string
	Port        int
	SocketFile  string // instead of Address and Port
	Environment string
	AppRoot     string
	StartupFile string // config.ru, absolute

	SpawnMethod         string // SpawnSmart, SpawnDirect
	MaxPoolSize         int    // PoolSizeAuto: as many as the machine can do with
	MinInstances        int
	PoolIdleTime        time.Duration // 0: no worker is too many
	ThreadCount         int
	MaxRequestQueueSize int           // 0: any number
	MaxRequestQueueTime time.Duration // 0: any time
	MaxRequestTime      time.Duration // 0: any time
	MaxConnections      int           // 0: as many as there are file descriptors for
	MaxConnectionsPerIP int           // 0: any number
	// ForceMaxConcurrentRequests is force_max_concurrent_requests_per_process: 0
	// and -1 leave it to ThreadCount and the app.
	ForceMaxConcurrentRequests int
	MaxRequests                int    // of a worker; 0: any number
	MemoryLimit                int64  // bytes; 0: none
	HardMemoryLimit            int64  // bytes; 0: none
	MemoryMeasure              string // MeasurePSS, MeasureRSS
	RollingRestarts            bool
	RollingRestartSize         int // workers that are replaced at a time
	ResistDeploymentErrors     bool
	ReforkAfter                int // requests; 0: never
	// AbortWebsockets is abort_websockets_on_process_shutdown: connections that
	// the app has taken over are closed when their process is to leave.
	AbortWebsockets bool
	EarlyHints      bool // rack.early_hints is offered

	StickySessions                 bool
	StickySessionsCookieName       string
	StickySessionsCookieAttributes string

	StartTimeout      time.Duration
	ShutdownTimeout   time.Duration
	PreloaderIdleTime time.Duration // 0: never dropped

	LogFile            string // "": standard error for the engine, standard output for the app
	StaticFilesDir     string
	RestartDir         string
	DataBufferDir      string
	FriendlyErrorPages bool
	// InstanceRegistryDir is where the server's instance directory is made.
	InstanceRegistryDir string

	StaticCacheSize   int64    // bytes; 0: no file is kept in memory
	StaticSymlinkDirs []string // besides StaticFilesDir itself
	AssetPatterns     []string // see CompileAssetPatterns
	PageCaching       bool
	PageCacheDir      string // "": what the app says

	Compression        bool
	GzipLevel          int // 1 to 9
	BrotliLevel        int // 0 to 11
	CompressionMinSize int // bytes

	Turbocaching           bool
	TurbocacheSize         int64  // bytes
	VaryTurbocacheByCookie string // "": none

	SendfileDirs   []string
	XAccelMappings []XAccelMapping // in the order in which they were given

	Ruby           string
	Preloader      string
	PreloaderFD    int // of a preloader that is there already, with PreloaderPID
	PreloaderPID   int
	LogToStdout    bool
	ServerSoftware string
	NotifyFD       int

	// Environ is the environment that preloaders inherit. It is not in the
	// JSON: its bytes need not be UTF-8.
	Environ []string
}

// The values of SpawnMethod and MemoryMeasure, and that of MaxPoolSize which is
// no number.
const (
	SpawnSmart   = "smart"
	SpawnDirect  = "direct"
	MeasurePSS   = "pss"
	MeasureRSS   = "rss"
	PoolSizeAuto = 0
)

// Threads is how many requests a worker handles at once, as far as the options say.
func (o Options) Threads() int {
	if o.ForceMaxConcurrentRequests > 0 {
		return o.ForceMaxConcurrentRequests
	}
	return o.ThreadCount
}

// Parse reads the JSON object that carries the options.
func Parse(text string) (Options, error) {
	if !gjson.Valid(text) {
		return Options{}, errors.New("the options are not valid JSON")
	}
	p := parser{root: gjson.Parse(text)}
	o := Options{
		Address:             p.text("address"),
		Port:                p.number("port", 0, 65535),
		SocketFile:          p.text("socket_file"),
		Environment:         p.required("environment"),
		AppRoot:             p.required("app_root"),
		StartupFile:         p.required("startup_file"),
		SpawnMethod:         p.choice("spawn_method", SpawnSmart, SpawnDirect),
		MaxPoolSize:         p.poolSize("max_pool_size"),
		MinInstances:        p.number("min_instances", 0, 1024),
		ThreadCount:         p.number("thread_count", 1, 250),
		MaxRequestQueueSize: p.number("max_request_queue_size", 0, 1<<30),
		MaxRequestQueueTime: p.seconds("max_request_queue_time"),
		MaxRequestTime:      p.seconds("max_request_time"),
		MaxConnections:      p.number("max_connections", 0, 1<<30),
		MaxConnectionsPerIP: p.number("max_connections_per_ip", 0, 1<<30),
		PoolIdleTime:        p.seconds("pool_idle_time"),

		ForceMaxConcurrentRequests:     p.number("force_max_concurrent_requests_per_process", -1, 250),
		MaxRequests:                    p.number("max_requests", 0, 1<<30),
		MemoryLimit:                    p.megabytes("memory_limit", 0),
		HardMemoryLimit:                p.megabytes("hard_memory_limit", 0),
		MemoryMeasure:                  p.choice("memory_measure", MeasurePSS, MeasureRSS),
		RollingRestarts:                p.flag("rolling_restarts"),
		RollingRestartSize:             p.number("rolling_restart_size", 1, 1024),
		ResistDeploymentErrors:         p.flag("resist_deployment_errors"),
		ReforkAfter:                    p.number("refork_after", 0, 1<<30),
		AbortWebsockets:                p.flag("abort_websockets_on_process_shutdown"),
		EarlyHints:                     p.flag("early_hints"),
		StickySessions:                 p.flag("sticky_sessions"),
		StickySessionsCookieName:       p.cookieName("sticky_sessions_cookie_name"),
		StickySessionsCookieAttributes: p.cookieAttributes("sticky_sessions_cookie_attributes"),

		StartTimeout:       p.seconds("start_timeout"),
		ShutdownTimeout:    p.seconds("shutdown_timeout"),
		PreloaderIdleTime:  p.seconds("max_preloader_idle_time"),
		LogFile:            p.text("log_file"),
		StaticFilesDir:     p.text("static_files_dir"),
		RestartDir:         p.text("restart_dir"),
		DataBufferDir:      p.text("data_buffer_dir"),
		FriendlyErrorPages: p.flag("friendly_error_pages"),
		Ruby:               p.required("ruby"),
		Preloader:          p.required("preloader"),
		PreloaderFD:        p.optionalNumber("preloader_fd", -1),
		PreloaderPID:       p.optionalNumber("preloader_pid", 0),
		LogToStdout:        p.flag("log_to_stdout"),
		ServerSoftware:     p.required("server_software"),
		NotifyFD:           p.optionalNumber("notify_fd", -1),

		InstanceRegistryDir:    p.text("instance_registry_dir"),
		StaticCacheSize:        p.megabytes("static_cache_size", 0),
		StaticSymlinkDirs:      p.directories("static_symlink_dirs"),
		AssetPatterns:          p.texts("asset_patterns"),
		PageCaching:            p.flag("page_caching"),
		PageCacheDir:           p.text("page_cache_dir"),
		Compression:            p.flag("compression"),
		GzipLevel:              p.number("gzip_level", 1, 9),
		BrotliLevel:            p.number("brotli_level", 0, 11),
		CompressionMinSize:     p.number("compression_min_size", 0, 1<<30),
		Turbocaching:           p.flag("turbocaching"),
		TurbocacheSize:         p.megabytes("turbocache_size", 1),
		VaryTurbocacheByCookie: p.text("vary_turbocache_by_cookie"),
		SendfileDirs:           p.directories("sendfile_dirs"),
		XAccelMappings:         p.mappings("x_accel_mappings"),
	}
	if p.err == nil {
		_, p.err = CompileAssetPatterns(o.AssetPatterns, DefaultAssetsPrefix)
	}
	if o.DataBufferDir == "" {
		o.DataBufferDir = "/tmp"
	}
	if o.ReforkAfter > 0 && o.SpawnMethod == SpawnDirect {
		p.fail("refork_after", "needs spawn_method smart: with direct spawning no process is forked from another")
	}
	if o.HardMemoryLimit > 0 && o.MemoryLimit > o.HardMemoryLimit {
		p.fail("memory_limit", "is more than hard_memory_limit, so that it would never count")
	}
	if o.MaxPoolSize != PoolSizeAuto && o.MinInstances > o.MaxPoolSize {
		p.fail("min_instances", fmt.Sprintf("is %d, more than max_pool_size (%d)", o.MinInstances, o.MaxPoolSize))
	}
	return o, p.err
}

// parser collects the first thing that is wrong.
type parser struct {
	root gjson.Result
	err  error
}

func (p *parser) fail(key, what string) {
	if p.err == nil {
		p.err = fmt.Errorf("option %s %s", key, what)
	}
}

func (p *parser) text(key string) string {
	v := p.root.Get(key)
	if v.Exists() && v.Type != gjson.String && v.Type != gjson.Null {
		p.fail(key, "must be a string")
	}
	return v.String()
}

func (p *parser) required(key string) string {
	s := p.text(key)
	if s == "" {
		p.fail(key, "is missing")
	}
	return s
}

func (p *parser) number(key string, min, max int) int {
	v := p.root.Get(key)
	n := int(v.Int())
	if v.Type != gjson.Number || float64(n) != v.Float() {
		p.fail(key, "must be a whole number")
	} else if n < min || n > max {
		p.fail(key, fmt.Sprintf("is %d, it must be from %d to %d", n, min, max))
	}
	return n
}

func (p *parser) optionalNumber(key string, missing int) int {
	v := p.root.Get(key)
	if !v.Exists() || v.Type == gjson.Null {
		return missing
	}
	return p.number(key, 0, 1<<31-1)
}

func (p *parser) seconds(key string) time.Duration {
	v := p.root.Get(key)
	if v.Type != gjson.Number || v.Float() < 0 {
		p.fail(key, "must be a number of seconds")
	}
	return time.Duration(v.Float() * float64(time.Second))
}

func (p *parser) flag(key string) bool {
	v := p.root.Get(key)
	if v.Exists() && v.Type != gjson.True && v.Type != gjson.False && v.Type != gjson.Null {
		p.fail(key, "must be true or false")
	}
	return v.Bool()
}

func (p *parser) choice(key string, values ...string) string {
	s := p.required(key)
	if !slices.Contains(values, s) {
		p.fail(key, fmt.Sprintf("is %q, it must be %s", s, strings.Join(values, " or ")))
	}
	return s
}

func (p *parser) poolSize(key string) int {
	if v := p.root.Get(key); v.Type == gjson.String && v.Str == "auto" {
		return PoolSizeAuto
	}
	return p.number(key, 1, 1024)
}

// cookieName is a token (RFC 6265).
func (p *parser) cookieName(key string) string {
	s := p.required(key)
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) }) {
		p.fail(key, fmt.Sprintf("is %q, which is no name for a cookie", s))
	}
	return s
}

func (p *parser) cookieAttributes(key string) string {
	s := p.text(key)
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
		p.fail(key, "has characters that no header can have")
	}
	return s
}
