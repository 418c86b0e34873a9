package pool

import "math"

// Auto sizes the pool by what the machine, or its cgroup, has: max_pool_size auto.
type Auto struct {
	CPUs    float64 // processors that may be used
	Memory  int64   // bytes that may be used; 0: not known
	Threads int     // of a worker
}

// Share is which part of the memory the workers may have together: the rest is
// for the server, the preloader, files in the page cache, and for spikes.
const autoShare = 0.75

// ByCPU is how many workers the processors can keep busy. One that has a single
// thread waits for the database and for others half of its time; one that has
// several fills that time itself.
func (a Auto) ByCPU() int {
	factor := 2.0
	if a.Threads > 1 {
		factor = 1
	}
	return max(int(math.Ceil(a.CPUs*factor)), 1)
}

// Max is how many workers there may be if each takes what the present ones take
// on average: total is the memory of count workers, shared parts divided
// between them. As long as that is not known the processors decide.
func (a Auto) Max(total int64, count int) int {
	most := a.ByCPU()
	if a.Memory <= 0 || total <= 0 || count <= 0 {
		return most
	}
	fit := int(float64(a.Memory) * autoShare / (float64(total) / float64(count)))
	return max(min(most, fit), 1)
}
