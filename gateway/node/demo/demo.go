// Package demo is a whole hospital in one process: an identity provider, a FHIR
// store with synthetic patients, four custodians, the chain and the gateway,
// each on a socket of its own, in a directory such as a real installation would
// have.
//
// [Run] makes the directory, opens the hospital, plays the story in which every
// promise of Wardkey is put to the test, from outside and by somebody who means
// harm ([Rogue]), and then serves for whoever wants to try it: demo.json
// ([Document]) says where everything is and as whom to call. On a directory that
// has served before it goes on where it stopped.
//
// It is a demonstration: one process deals the shares of all custodians, holds
// everybody's keys, and its identity provider asks for no password. The roles
// themselves are those of package node, started from the same files.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/samber/lo"
)

// DefaultAddr is where the gateway listens when nothing else is said.
const DefaultAddr = "127.0.0.1:8080"

// ErrFailed is returned by [Run] when a step of the story failed, or a
// directory did not verify. What failed has been told.
var ErrFailed = errors.New("the demonstration did not show what it should")

// Options say how to run. The zero value serves from a temporary directory on
// [DefaultAddr], or on a free port when that is taken.
type Options struct {
	Dir  string    // [Run]: a temporary one, removed at the end, if empty; [Start]: required
	Addr string    // host:port of the gateway; DefaultAddr, or else any free port, if empty
	Once bool      // end after the story, or after verifying the directory
	JSON bool      // verdicts as JSON lines, and nothing else, to Out
	Out  io.Writer // verdicts, and what to try; discarded if nil
	Err  io.Writer // progress and remarks; discarded if nil

	// Patients reduces a new hospital to so many patients, at least the five that
	// have a part, with all of their observations and some of the rest. Everything
	// is loaded if zero. It is for tests in a hurry.
	Patients int
}

// Run runs the demonstration until ctx is done, or once. It returns after
// everything has been stopped. With JSON, what fails outside the story has a
// verdict too, on "start" or "run"; only what ctx broke off has none.
func Run(ctx context.Context, o Options) (err error) {
	o = o.quiet()
	stage := "start"
	defer func() {
		if o.JSON && err != nil && !errors.Is(err, ErrFailed) && !errors.Is(err, context.Canceled) {
			teller(o.Out, true)(Verdict{Step: stage, Detail: err.Error()})
		}
	}()
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "wardkey-demo-"); err != nil {
			return fmt.Errorf("make a temporary directory: %w", err)
		}
		defer func() {
			if errors.Is(err, ErrFailed) {
				say(o.Err, "what there is to look into is in %s\n", o.Dir)
				return
			}
			err = errors.Join(err, os.RemoveAll(o.Dir))
		}()
	}
	h, err := Start(ctx, o)
	if err != nil {
		return err
	}
	stage = "run"
	d := &demonstration{Options: o, human: lo.Ternary(o.JSON, o.Err, o.Out)}
	err = d.run(ctx, h)
	// Ctrl-C has ended ctx; closing takes the time it needs.
	return errors.Join(err, h.Close(context.WithoutCancel(ctx)))
}

func (o Options) quiet() Options {
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Err == nil {
		o.Err = io.Discard
	}
	return o
}

// A demonstration is one run.
type demonstration struct {
	Options
	human io.Writer // for people
}

// run plays the story in a new hospital, or verifies one that has served before,
// and then serves.
func (d *demonstration) run(ctx context.Context, h *Hospital) error {
	steps, err := d.steps(ctx, h)
	if err != nil {
		return err
	}
	ok := play(ctx, steps, teller(d.Out, d.JSON))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	caution(d.human)
	switch {
	case d.Once:
		return lo.Ternary(ok, nil, ErrFailed)
	case !ok:
		say(d.human, "A step failed; serving all the same, for you to look.\n")
	}
	return d.serve(ctx, h)
}

func (d *demonstration) steps(ctx context.Context, h *Hospital) ([]step, error) {
	switch {
	case h.cast != nil:
		t, err := h.tale(ctx, d.Err)
		if err != nil {
			return nil, err
		}
		return t.steps(), nil
	case d.Once:
		return verification(h), nil
	}
	if !h.pocket.Sealed {
		say(d.Err, "this directory's story was broken off before everything was sealed; serving what there is\n")
	}
	return nil, nil
}

// serve signs everybody in afresh, writes demo.json, says what to try, and waits
// for the end.
func (d *demonstration) serve(ctx context.Context, h *Hospital) error {
	document, err := h.Document(ctx)
	if err != nil {
		return err
	}
	if err := document.write(h.dir); err != nil {
		return err
	}
	invite(d.human, document)
	<-ctx.Done()
	say(d.human, "stopping\n")
	return nil
}

// caution says what the demonstration is not. It cannot be said often enough:
// everything looks as it would in a hospital.
func caution(w io.Writer) {
	say(w, `
This is a demonstration and protects nothing real: it deals the committee's key
itself, keeps all keys of everybody in one directory, and its identity provider
asks for no password. Put no living person's record into it.
`)
}

// invite prints where everything is and what to try.
func invite(w io.Writer, doc Document) {
	say(w, `
The hospital is open. Ctrl-C closes it.
  FHIR    %[1]s
  chain   %[2]s/checkpoint
  store   %[3]s (sealed records, behind the gateway's back)
  people  %[4]s (identity provider)
  admin   %[5]s/readyz
  all of it, with everybody's tokens and keys: %[6]s

A patient reads their own record; a doctor without a grant finds nothing; the
store has ciphertext alone:
  curl -H "Authorization: Bearer %[9]s" %[1]s/Patient/%[7]s
  curl -H "Authorization: Bearer %[10]s" %[1]s/Patient/%[7]s
  curl %[3]s/Patient/%[7]s
Stop two custodians, and nothing opens any more; start one again, and it does:
  curl -X POST %[5]s/demo/custodians/1/stop
  curl -X POST %[5]s/demo/custodians/2/stop
  curl -X POST %[5]s/demo/custodians/1/start
Prove the whole log from its files:
  wardkey verify %[8]s
`, doc.FHIR, doc.Chain, doc.Upstream, doc.IDP, doc.Admin, filepath.Join(doc.Dir, documentFile), doc.Patients.A, doc.Log,
		doc.Tokens.Patient, doc.Tokens.Doctor)
}
