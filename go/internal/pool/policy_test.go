package pool

import (
	"math/rand/v2"
	"testing"
)

// everyView calls check with all small pools.
func everyView(check func(Policy, View)) {
	for most := 1; most <= 4; most++ {
		for least := 0; least <= most; least++ {
			for surge := 1; surge <= 2; surge++ {
				for target := 0; target <= most+1; target++ {
					for ready := 0; ready <= most; ready++ {
						for away := 0; away <= 1; away++ {
							for starting := 0; starting <= most; starting++ {
								for retiring := 0; retiring <= most; retiring++ {
									check(Policy{Max: most, Min: least, Surge: surge},
										View{Target: target, Ready: ready, Away: away, Starting: starting, Retiring: retiring})
								}
							}
						}
					}
				}
			}
		}
	}
}

func TestNoStepExceedsTheMaximumOrWhatMayReplace(t *testing.T) {
	everyView(func(p Policy, v View) {
		step := p.Next(v)
		most := p.Max
		if v.Retiring > 0 {
			most += p.Surge
		}
		if step.Start < 0 || step.Start > 0 && v.Ready+v.Away+v.Starting+v.Retiring+step.Start > most {
			t.Fatalf("%+v with %+v starts %d", p, v, step.Start)
		}
	})
}

func TestRetiringWorkersLeaveOnlyWhenEnoughOthersTakeRequests(t *testing.T) {
	everyView(func(p Policy, v View) {
		step := p.Next(v)
		target := min(max(v.Target, p.Min), p.Max)
		if step.Leave < 0 || step.Leave > v.Retiring {
			t.Fatalf("%+v with %+v lets %d leave", p, v, step.Leave)
		}
		if step.Leave > 0 && v.Ready+v.Retiring-step.Leave < target {
			t.Fatalf("%+v with %+v lets %d leave, which leaves %d", p, v, step.Leave, v.Ready+v.Retiring-step.Leave)
		}
	})
}

func TestNobodyLeavesForAWorkerThatHasJustBecomeReady(t *testing.T) {
	p := Policy{Max: 3, Surge: 1}
	if step := p.Next(View{Target: 3, Retiring: 3, Unproven: 1}); step != (Step{}) {
		t.Errorf("%+v", step)
	}
	if step := p.Next(View{Target: 3, Retiring: 3, Ready: 1}); step != (Step{Leave: 1}) {
		t.Errorf("when it has proved itself: %+v", step)
	}
}

func TestThereIsAlwaysAWayOn(t *testing.T) {
	everyView(func(p Policy, v View) {
		target := min(max(v.Target, p.Min), p.Max)
		if v.Starting > 0 || v.Away > 0 || v.Ready+v.Retiring > p.Max+p.Surge {
			return // something will happen by itself, or cannot be
		}
		step := p.Next(v)
		if done := v.Ready >= target && v.Retiring == 0; !done && step == (Step{}) {
			t.Fatalf("%+v with %+v is stuck", p, v)
		}
	})
}

// A random life of a pool: workers start, become ready, go away and come back,
// die and are marked for replacement, in any order.
func TestAPoolThatIsLeftAloneGetsWhereItShouldBe(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := Policy{Max: 1 + r.IntN(6), Surge: 1 + r.IntN(3)}
		p.Min = r.IntN(p.Max + 1)
		v := View{Target: p.Min}
		live := func(events bool) {
			if events {
				switch r.IntN(6) {
				case 0:
					v.Target = p.Min + r.IntN(p.Max-p.Min+1)
				case 1:
					if v.Ready > 0 {
						v.Ready, v.Retiring = v.Ready-1, v.Retiring+1
					}
				case 2:
					v.Ready = max(v.Ready-1, 0) // one has died
				case 3:
					v.Starting = max(v.Starting-1, 0)
				case 4:
					if v.Ready > 0 && v.Away == 0 {
						v.Ready, v.Away = v.Ready-1, 1
					}
				case 5:
					v.Retiring += v.Ready // a rolling restart
					v.Ready = 0
				}
			}
			if v.Starting > 0 {
				v.Starting, v.Ready = v.Starting-1, v.Ready+1
			}
			if !events && v.Away > 0 {
				v.Away, v.Ready = v.Away-1, v.Ready+1
			}
			// The surplus is marked by the caller.
			if surplus := v.Ready + v.Away + v.Starting - v.Target; surplus > 0 {
				n := min(surplus, v.Ready)
				v.Ready, v.Retiring = v.Ready-n, v.Retiring+n
			}
			before := v.Ready + v.Retiring
			step := p.Next(v)
			v.Starting += step.Start
			v.Retiring -= step.Leave
			if after := v.Ready + v.Retiring; after < before && after < min(v.Target, p.Max) {
				t.Fatalf("seed %d: %+v fell from %d to %d workers that take requests", seed, v, before, after)
			}
			if n := v.Ready + v.Away + v.Starting + v.Retiring; n > p.Max+p.Surge {
				t.Fatalf("seed %d: %+v has %d workers, at most %d and %d more are allowed", seed, v, n, p.Max, p.Surge)
			}
		}
		for range 200 {
			live(true)
		}
		for range 60 {
			live(false)
		}
		if v.Ready != v.Target || v.Retiring+v.Starting+v.Away != 0 {
			t.Fatalf("seed %d: %+v in the end, with %+v", seed, v, p)
		}
	}
}

func TestWorkersAreReplacedAFewAtATime(t *testing.T) {
	p := Policy{Max: 6, Surge: 2}
	for name, c := range map[string]struct {
		view View
		want Step
	}{
		"all are old":                     {View{Target: 6, Retiring: 6}, Step{Start: 2}},
		"the first two start":             {View{Target: 6, Retiring: 6, Starting: 2}, Step{}},
		"they are ready":                  {View{Target: 6, Retiring: 6, Ready: 2}, Step{Leave: 2}},
		"the next two":                    {View{Target: 6, Retiring: 4, Ready: 2}, Step{Start: 2}},
		"one of those that wait has died": {View{Target: 6, Retiring: 3, Ready: 2}, Step{Start: 3}},
		"only few are needed":             {View{Target: 2, Retiring: 2}, Step{Start: 2}},
		"a smaller pool":                  {View{Target: 1, Retiring: 4}, Step{Start: 1, Leave: 3}},
	} {
		if got := p.Next(c.view); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestAGenerationBeginsWithOneStepOrWithAll(t *testing.T) {
	p := Policy{Max: 6, Min: 1, Surge: 2}
	for name, c := range map[string]struct {
		target  int
		rolling bool
		want    int
	}{
		"all at once":            {4, false, 4},
		"rolling":                {6, true, 2},
		"rolling with only one":  {1, true, 1},
		"a target of none":       {0, false, 1},
		"a target above the max": {9, false, 6},
	} {
		if got := p.First(c.target, c.rolling); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
