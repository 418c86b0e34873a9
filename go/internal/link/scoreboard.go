package link

import (
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SlotState is what a worker thread is doing, as it says itself.
type SlotState uint32

// The states of a slot on the scoreboard.
const (
	SlotVacant  SlotState = 0
	SlotIdle    SlotState = 1
	SlotWorking SlotState = 2
)

func (s SlotState) String() string {
	switch s {
	case SlotVacant:
		return "vacant"
	case SlotIdle:
		return "idle"
	case SlotWorking:
		return "working"
	}
	return fmt.Sprintf("unknown(%d)", uint32(s))
}

// slotRecord is one cache line of the scoreboard. Workers write it, the engine
// reads it; every field is accessed atomically.
type slotRecord struct {
	state     uint32
	pid       uint32
	requestID uint64
	startedAt uint64
	finished  uint64
	sequence  uint64
	// Of the request before: a worker begins the next one before the engine has
	// read the end of its response.
	previousID        uint64
	previousStartedAt uint64
	_                 [8]byte
}

// crewRecord says how many of the process records behind it are in use.
type crewRecord struct {
	places uint32
	_      [60]byte
}

// processRecord is what workers with several threads know of each other.
type processRecord struct {
	present uint32 // takes requests
	busy    uint32 // requests that it works on
	_       [56]byte
}

// Scoreboard is the memory shared by the engine and the workers of one
// generation. It says which slot works on which request, and which worker has
// nothing to do.
type Scoreboard struct {
	file      *os.File
	mem       []byte
	records   []slotRecord
	crew      *crewRecord
	processes []processRecord
	taken     []bool // places, by index
}

// NewScoreboard makes a scoreboard of n slots, and so with places for no more
// than n workers, in a memfd.
func NewScoreboard(n int) (*Scoreboard, error) {
	record := int(unsafe.Sizeof(slotRecord{}))
	size := (n + 1 + n) * record
	fd, err := unix.MemfdCreate("passenger-scoreboard", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating the scoreboard: %w", err)
	}
	file := os.NewFile(uintptr(fd), "scoreboard")
	if err := file.Truncate(int64(size)); err != nil {
		file.Close()
		return nil, fmt.Errorf("sizing the scoreboard: %w", err)
	}
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("mapping the scoreboard: %w", err)
	}
	return &Scoreboard{
		file: file, mem: mem,
		records:   unsafe.Slice((*slotRecord)(unsafe.Pointer(&mem[0])), n),
		crew:      (*crewRecord)(unsafe.Pointer(&mem[n*record])),
		processes: unsafe.Slice((*processRecord)(unsafe.Pointer(&mem[(n+1)*record])), n),
		taken:     make([]bool, n),
	}, nil
}

// TakePlace reserves the lowest free place for a worker. Workers look at all
// up to the highest one, so there should be no gaps. TakePlace and LeavePlace
// must not be called at the same time.
func (s *Scoreboard) TakePlace() int {
	place := slices.Index(s.taken, false)
	s.taken[place] = true
	s.countPlaces()
	return place
}

// LeavePlace frees the place of a worker that has gone.
func (s *Scoreboard) LeavePlace(place int) {
	s.taken[place] = false
	atomic.StoreUint32(&s.processes[place].present, 0)
	atomic.StoreUint32(&s.processes[place].busy, 0)
	s.countPlaces()
}

func (s *Scoreboard) countPlaces() {
	places := len(s.taken)
	for places > 0 && !s.taken[places-1] {
		places--
	}
	atomic.StoreUint32(&s.crew.places, uint32(places))
}

// Busy is how many requests the worker at a place works on, and whether it
// takes any. Workers with one thread do not say.
func (s *Scoreboard) Busy(place int) (requests int, present bool) {
	p := &s.processes[place]
	return int(atomic.LoadUint32(&p.busy)), atomic.LoadUint32(&p.present) == 1
}

// File is the memfd, to be passed to the preloader.
func (s *Scoreboard) File() *os.File { return s.file }

// Slots is the number of records.
func (s *Scoreboard) Slots() int { return len(s.records) }

// SlotStatus is a snapshot of one record.
type SlotStatus struct {
	State     SlotState
	PID       int
	RequestID uint64
	StartedAt int64 // ns on CLOCK_MONOTONIC
	Finished  uint64
	Sequence  uint64
}

// Slot reads the record of slot i.
func (s *Scoreboard) Slot(i int) SlotStatus {
	r := &s.records[i]
	return SlotStatus{
		State:     SlotState(atomic.LoadUint32(&r.state)),
		PID:       int(atomic.LoadUint32(&r.pid)),
		RequestID: atomic.LoadUint64(&r.requestID),
		StartedAt: int64(atomic.LoadUint64(&r.startedAt)),
		Finished:  atomic.LoadUint64(&r.finished),
		Sequence:  atomic.LoadUint64(&r.sequence),
	}
}

// StartedAt is when slot i took the request id (ns on CLOCK_MONOTONIC); 0 if
// that is too long ago to tell, which is two requests. It is for statistics.
func (s *Scoreboard) StartedAt(i int, id uint64) int64 {
	r := &s.records[i]
	startedAt := atomic.LoadUint64(&r.startedAt)
	if atomic.LoadUint64(&r.requestID) == id {
		return int64(startedAt)
	}
	if atomic.LoadUint64(&r.previousID) == id {
		return int64(atomic.LoadUint64(&r.previousStartedAt))
	}
	return 0
}

// RequestID is the request that slot i works on, or has worked on last.
func (s *Scoreboard) RequestID(i int) uint64 { return atomic.LoadUint64(&s.records[i].requestID) }

// Vacate clears the record of a slot whose worker has gone, but for the
// highest sequence number it has taken: the search for lost requests needs it.
func (s *Scoreboard) Vacate(i int) {
	r := &s.records[i]
	atomic.StoreUint32(&r.state, uint32(SlotVacant))
	atomic.StoreUint32(&r.pid, 0)
	atomic.StoreUint64(&r.requestID, 0)
	atomic.StoreUint64(&r.finished, 0)
}

// HighestSequence is the highest sequence number that any slot has taken.
func (s *Scoreboard) HighestSequence() uint64 {
	var max uint64
	for i := range s.records {
		if q := atomic.LoadUint64(&s.records[i].sequence); q > max {
			max = q
		}
	}
	return max
}

// Set writes a record as a worker does. Only stand-in workers use it.
func (s *Scoreboard) Set(i int, st SlotStatus) {
	r := &s.records[i]
	if id := atomic.LoadUint64(&r.requestID); id != st.RequestID {
		atomic.StoreUint64(&r.previousStartedAt, atomic.LoadUint64(&r.startedAt))
		atomic.StoreUint64(&r.previousID, id)
	}
	atomic.StoreUint64(&r.requestID, st.RequestID)
	atomic.StoreUint64(&r.startedAt, uint64(st.StartedAt))
	atomic.StoreUint64(&r.sequence, st.Sequence)
	atomic.StoreUint64(&r.finished, st.Finished)
	atomic.StoreUint32(&r.pid, uint32(st.PID))
	atomic.StoreUint32(&r.state, uint32(st.State))
}

// Close unmaps and closes the scoreboard. No reader may be left.
func (s *Scoreboard) Close() error {
	if err := unix.Munmap(s.mem); err != nil {
		return err
	}
	s.records, s.crew, s.processes, s.mem = nil, nil, nil, nil
	return s.file.Close()
}
