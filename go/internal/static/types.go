package static

import (
	_ "embed"
	"path"
	"strings"
)

//go:embed types.txt
var typesText string

// mediaTypes has the Content-Type of a file by its extension, in lower case
// and without the dot. Text is taken to be UTF-8, as Rails writes it.
var mediaTypes = func() map[string]string {
	types := map[string]string{}
	for line := range strings.Lines(typesText) {
		extension, mediaType, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || extension == "#" {
			continue
		}
		if strings.HasPrefix(mediaType, "text/") {
			mediaType += "; charset=utf-8"
		}
		types[extension] = mediaType
	}
	return types
}()

const unknownType = "application/octet-stream"

// contentType is the media type of a file, by its name.
func contentType(name string) string {
	extension := path.Ext(name)
	if extension == "" {
		return unknownType
	}
	if t, ok := mediaTypes[strings.ToLower(extension[1:])]; ok {
		return t
	}
	return unknownType
}
