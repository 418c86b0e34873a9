// Package config reads the options that the Ruby side has resolved. Names and
// meanings are those of Passenger; defaults are the Ruby side's business
// (lib/phusion_passenger/options.rb), so every value is required to be there.
package config

import (
	"errors"
	"fmt"
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

	MaxPoolSize         int
	MinInstances        int
	ThreadCount         int
	MaxRequestQueueSize int // 0: any number
	StartTimeout        time.Duration
	ShutdownTimeout     time.Duration
	PreloaderIdleTime   time.Duration // 0: never dropped

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
		MaxPoolSize:         p.number("max_pool_size", 1, 1024),
		MinInstances:        p.number("min_instances", 0, 1024),
		ThreadCount:         p.number("thread_count", 1, 250),
		MaxRequestQueueSize: p.number("max_request_queue_size", 0, 1<<30),
		StartTimeout:        p.seconds("start_timeout"),
		ShutdownTimeout:     p.seconds("shutdown_timeout"),
		PreloaderIdleTime:   p.seconds("max_preloader_idle_time"),
		LogFile:             p.text("log_file"),
		StaticFilesDir:      p.text("static_files_dir"),
		RestartDir:          p.text("restart_dir"),
		DataBufferDir:       p.text("data_buffer_dir"),
		FriendlyErrorPages:  p.flag("friendly_error_pages"),
		Ruby:                p.required("ruby"),
		Preloader:           p.required("preloader"),
		PreloaderFD:         p.optionalNumber("preloader_fd", -1),
		PreloaderPID:        p.optionalNumber("preloader_pid", 0),
		LogToStdout:         p.flag("log_to_stdout"),
		ServerSoftware:      p.required("server_software"),
		NotifyFD:            p.optionalNumber("notify_fd", -1),

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
	if o.MinInstances > o.MaxPoolSize {
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
