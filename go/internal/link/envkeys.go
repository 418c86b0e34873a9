package link

import (
	_ "embed"
	"strings"
)

// EnvKey is the number under which a well-known entry of the Rack environment
// travels: its line in env_keys.txt, from 1. 0 means that the name is sent.
type EnvKey uint8

//go:embed env_keys.txt
var envKeysText string

var (
	envKeyNames = append([]string{""}, strings.Fields(envKeysText)...)
	envKeyIndex = func() map[string]EnvKey {
		m := make(map[string]EnvKey, len(envKeyNames))
		for i, name := range envKeyNames[1:] {
			m[name] = EnvKey(i + 1)
		}
		return m
	}()
)

func (k EnvKey) String() string {
	if int(k) < len(envKeyNames) {
		return envKeyNames[k]
	}
	return ""
}

// LookupEnvKey finds the number of an entry by its name (HTTP_ACCEPT), 0 if
// the name has none.
func LookupEnvKey(name []byte) EnvKey { return envKeyIndex[string(name)] }

func mustKey(name string) EnvKey {
	k := envKeyIndex[name]
	if k == 0 {
		panic("env_keys.txt lacks " + name)
	}
	return k
}

// The entries that the engine itself fills in or looks at.
var (
	KeyRequestMethod  = mustKey("REQUEST_METHOD")
	KeyRequestURI     = mustKey("REQUEST_URI")
	KeyPathInfo       = mustKey("PATH_INFO")
	KeyQueryString    = mustKey("QUERY_STRING")
	KeyServerProtocol = mustKey("SERVER_PROTOCOL")
	KeyServerName     = mustKey("SERVER_NAME")
	KeyServerPort     = mustKey("SERVER_PORT")
	KeyRemoteAddr     = mustKey("REMOTE_ADDR")
	KeyRemotePort     = mustKey("REMOTE_PORT")
	KeyContentType    = mustKey("CONTENT_TYPE")
	KeyContentLength  = mustKey("CONTENT_LENGTH")
	KeyHTTPHost       = mustKey("HTTP_HOST")
	KeyHTTPCookie     = mustKey("HTTP_COOKIE")
	KeyHTTPVersion    = mustKey("HTTP_VERSION")
	KeyHTTPRequestID  = mustKey("HTTP_X_REQUEST_ID")

	KeyHTTPAcceptEncoding    = mustKey("HTTP_ACCEPT_ENCODING")
	KeyHTTPAuthorization     = mustKey("HTTP_AUTHORIZATION")
	KeyHTTPCacheControl      = mustKey("HTTP_CACHE_CONTROL")
	KeyHTTPConnection        = mustKey("HTTP_CONNECTION")
	KeyHTTPExpect            = mustKey("HTTP_EXPECT")
	KeyHTTPPragma            = mustKey("HTTP_PRAGMA")
	KeyHTTPIfMatch           = mustKey("HTTP_IF_MATCH")
	KeyHTTPIfModifiedSince   = mustKey("HTTP_IF_MODIFIED_SINCE")
	KeyHTTPIfNoneMatch       = mustKey("HTTP_IF_NONE_MATCH")
	KeyHTTPIfRange           = mustKey("HTTP_IF_RANGE")
	KeyHTTPIfUnmodifiedSince = mustKey("HTTP_IF_UNMODIFIED_SINCE")
	KeyHTTPRange             = mustKey("HTTP_RANGE")
	KeyHTTPUpgrade           = mustKey("HTTP_UPGRADE")
)

// EnvKeyCount is one more than the highest key.
var EnvKeyCount = len(envKeyNames)
