package pool

import (
	"testing"
	"time"
)

func TestLimitsAreJudged(t *testing.T) {
	l := Limits{Requests: 100, Memory: 200, HardMemory: 300}
	for name, c := range map[string]struct {
		limits Limits
		use    Use
		want   Verdict
		reason string
	}{
		"within all":                 {l, Use{Requests: 99, Memory: 200, Now: 0}, Keep, ""},
		"as many requests as it may": {l, Use{Requests: 100, Memory: 0, Now: 0}, Replace, ReasonRequests},
		"too much memory":            {l, Use{Requests: 1, Memory: 201, Now: 0}, Replace, ReasonMemory},
		"far too much memory":        {l, Use{Requests: 1, Memory: 301, Now: 0}, Kill, ReasonHardMemory},
		"far too much since":         {l, Use{Requests: 1, Memory: 100, Now: 301}, Kill, ReasonHardMemory},
		"a resident size that is only above the soft limit": {l, Use{Requests: 1, Memory: 100, Now: 250}, Keep, ""},
		"too much in its first request":                     {l, Use{Working: 1, Memory: 201}, Replace, ReasonMemory},
		"too much from birth":                               {l, Use{Requests: 0, Memory: 201, Now: 0}, Keep, ""},
		"both":                                              {l, Use{Requests: 500, Memory: 301, Now: 0}, Kill, ReasonHardMemory},
		"no limits":                                         {Limits{}, Use{Requests: 1 << 40, Memory: 1 << 50, Now: 1 << 50}, Keep, ""},
		"only the hard one":                                 {Limits{HardMemory: 300}, Use{Requests: 1, Memory: 250, Now: 300}, Keep, ""},
	} {
		if verdict, reason := c.limits.Judge(c.use); verdict != c.want || reason != c.reason {
			t.Errorf("%s: %d because of %q", name, verdict, reason)
		}
	}
}

func TestAWorkerWithAnOverdueRequestIsKilledOnlyWhenNothingElseIsLost(t *testing.T) {
	const grace = 2 * time.Second
	for name, c := range map[string]struct {
		overdue, working int
		since            time.Duration
		want             Verdict
	}{
		"none overdue":                    {0, 3, time.Hour, Keep},
		"just now":                        {1, 1, 0, Replace},
		"after the grace":                 {1, 1, grace, Kill},
		"another thread still works":      {1, 2, time.Hour, Replace},
		"all threads hang":                {3, 3, grace, Kill},
		"the scoreboard is a step behind": {2, 1, grace, Kill},
	} {
		if got := Overtime(c.overdue, c.working, c.since, grace); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestTheBrakeSlowsOnlyWorkersThatDieWithoutHavingServed(t *testing.T) {
	b := Brake{Backoff: Backoff{First: time.Second, Longest: 30 * time.Second}, Free: 3, Lasting: 5 * time.Second}
	for range 1000 {
		b.Died(noon, time.Millisecond, 1)
	}
	if b.Wait(noon) != 0 || b.On() {
		t.Fatal("workers that have served are held back")
	}
	b.Died(noon, time.Minute, 0)
	for i, want := range []time.Duration{0, 0, 0, time.Second, 2 * time.Second, 4 * time.Second} {
		b.Died(noon, time.Millisecond, 0)
		if got := b.Wait(noon); got != want {
			t.Errorf("after %d deaths: %v, want %v", i+1, got, want)
		}
	}
	if !b.On() || b.Failures() != 6 {
		t.Errorf("on: %t after %d", b.On(), b.Failures())
	}
	if b.Wait(noon.Add(time.Minute)) != 0 {
		t.Error("waits for ever")
	}
	b.Release()
	if b.Wait(noon) != 0 || b.On() {
		t.Error("is on after its release")
	}
}

func TestThePoolIsSizedByProcessorsAndMemory(t *testing.T) {
	const gigabyte = 1 << 30
	for name, c := range map[string]struct {
		auto  Auto
		total int64
		count int
		want  int
	}{
		"by processors as long as nothing is known":  {Auto{2, 4 * gigabyte, 1}, 0, 0, 4},
		"half a processor":                           {Auto{0.5, 0, 1}, 0, 0, 1},
		"one and a half with threads":                {Auto{1.5, 0, 5}, 0, 0, 2},
		"by memory where that is scarce":             {Auto{16, 4 * gigabyte, 1}, 2 * gigabyte, 4, 6},
		"never none":                                 {Auto{4, gigabyte, 1}, 2 * gigabyte, 1, 1},
		"by processors where memory is plenty":       {Auto{2, 64 * gigabyte, 1}, gigabyte, 4, 4},
		"memory that nobody knows does not limit it": {Auto{4, 0, 1}, 8 * gigabyte, 4, 8},
	} {
		if got := c.auto.Max(c.total, c.count); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
