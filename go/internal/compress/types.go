package compress

import "bytes"

// longestListed is the length of the longest type in listed.
const longestListed = 40

// listed says whether a media type in lower case is one that compresses,
// besides text/*, *+json and *+xml. Formats that are compressed in themselves
// (JPEG, PNG, WOFF2, PDF, zip) only lose time.
func listed(mediaType string) bool {
	switch mediaType {
	case "application/json", "application/x-ndjson", "application/jsonlines", "application/json-seq",
		"application/javascript", "application/x-javascript", "application/ecmascript",
		"application/xml", "application/xml-dtd", "application/xml-external-parsed-entity",
		"application/wasm", "application/graphql", "application/sql",
		"application/yaml", "application/x-yaml", "application/toml",
		"application/rtf", "application/postscript", "application/x-sh",
		"application/x-www-form-urlencoded",
		"application/vnd.apple.mpegurl", "application/vnd.ms-fontobject",
		"application/x-font-ttf", "application/x-font-otf", "application/x-font-truetype", "application/x-font-opentype",
		"font/ttf", "font/otf", "font/sfnt", "font/collection",
		"image/x-icon", "image/vnd.microsoft.icon", "image/bmp", "image/x-ms-bmp":
		return true
	}
	return false
}

// Compressible says whether bodies of that type shrink. Parameters and case do
// not matter. Event streams are none: what is sent must not wait in an encoder.
func Compressible(contentType []byte) bool {
	if i := bytes.IndexByte(contentType, ';'); i >= 0 {
		contentType = contentType[:i]
	}
	contentType = trim(contentType)
	if hasPrefix(contentType, "text/") {
		return len(contentType) > len("text/") && !equalFold(contentType, "text/event-stream")
	}
	if hasSuffix(contentType, "+json") || hasSuffix(contentType, "+xml") {
		return true
	}
	if len(contentType) > longestListed {
		return false
	}
	var lower [longestListed]byte
	for i, c := range contentType {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		lower[i] = c
	}
	return listed(string(lower[:len(contentType)]))
}

func hasPrefix(b []byte, lower string) bool {
	return len(b) >= len(lower) && equalFold(b[:len(lower)], lower)
}

func hasSuffix(b []byte, lower string) bool {
	return len(b) >= len(lower) && equalFold(b[len(b)-len(lower):], lower)
}
