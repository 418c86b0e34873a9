package core

import "testing"

func TestConnectionsGetTheDescriptorsThatNothingElseNeeds(t *testing.T) {
	for _, c := range []struct{ descriptors, workers, threads, want int }{
		{65536, 6, 1, 65536 - 129 - 30},
		{1024, 4, 5, 1024 - 129 - 36},
		{256, 6, 16, 128}, // little is left: it is shared
		{20, 1, 1, 10},
	} {
		if got := forConnections(c.descriptors, c.workers, c.threads); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
