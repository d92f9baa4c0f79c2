package hosttest

import "github.com/wasmill/wasmill/sdk/abi"

// seen counts what the module has answered so far. Each answer was checked when
// it came; a part of the ABI that no answer uses has not been checked.
type seen struct {
	batches, events                                   int
	outputs, named, own, several, headers, refs, kept int
	without                                           int // outputs without an event
	drops, retries, dead, reasons                     int
}

func (n *seen) add(events []abi.Event, res *abi.Result) {
	n.batches++
	n.events += len(events)
	for i := range res.Outputs {
		o := &res.Outputs[i]
		n.outputs++
		count(&n.named, o.ID > 0)
		count(&n.own, o.Flags&abi.FlagPayloadRef == 0)
		count(&n.refs, o.Flags&abi.FlagPayloadRef != 0)
		count(&n.kept, o.Flags&abi.FlagKeepHeaders != 0)
		count(&n.headers, o.HeaderCount > 0)
		count(&n.without, o.Source == abi.NoSource)
		count(&n.several, i > 0 && o.Source != abi.NoSource && o.Source == res.Outputs[i-1].Source)
	}
	for i := range res.Outcomes {
		o := &res.Outcomes[i]
		count(&n.drops, o.Code == abi.CodeDrop)
		count(&n.retries, o.Code == abi.CodeRetry)
		count(&n.dead, o.Code == abi.CodeDeadLetter)
		count(&n.reasons, len(o.Reason) > 0)
	}
}

func count(n *int, yes bool) {
	if yes {
		*n++
	}
}

// answers says which parts of a response the answers to all batches had in them.
func (s *suite) answers() {
	n := &s.seen
	for _, part := range []struct {
		name, what, missing string
		n                   int
	}{
		{"answer: outputs", "output records: lengths, source index in order, parts inside the record", "it emitted nothing", n.outputs},
		{"answer: own payload", "outputs with a payload of their own", "it emitted none", n.own},
		{"answer: payload by reference", "outputs that refer to the payload of their event (flag 1)", "it emitted none", n.refs},
		{"answer: kept headers", "outputs that keep the headers of their event (flag 2)", "it emitted none", n.kept},
		{"answer: own headers", "outputs with headers of their own", "it emitted none", n.headers},
		{"answer: named outputs", "outputs to others than the default one", "it emitted none (say --outputs for those that it uses)", n.named},
		{"answer: several outputs", "several outputs of one event", "no event had more than one", n.several},
		{"answer: drop", "outcomes of code 1 (drop)", "it dropped nothing by name", n.drops},
		{"answer: retry", "outcomes of code 2 (retry)", "it asked for none", n.retries},
		{"answer: dead letter", "outcomes of code 3 (dead letter)", "it gave up none", n.dead},
		{"answer: reasons", "outcomes with a reason", "it gave none", n.reasons},
	} {
		s.running(part.name, part.what, func(c *Check) {
			if part.n == 0 {
				c.skip("%s, in %d batches with %d events", part.missing, n.batches, n.events)
				return
			}
			c.note("%d, all well-formed", part.n)
		})
	}
}
