package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/gateway/smart"
	"github.com/wardkey/wardkey/policy"
)

// apiBody bounds a statement.
const apiBody = 256 << 10

// apiHandler answers a call of /api: a status and an object for JSON.
type apiHandler func(ctx context.Context, k *call) (int, any, error)

// api is for calls that need a session. A session without any scope may do
// nothing here either.
func (g *Gateway) api(about string, do apiHandler) echo.HandlerFunc {
	return g.apiCall(about, do, true)
}

// apiOpen is for statements that carry their own proof: nobody is asked who they
// are to bring one, but who says so must be so.
func (g *Gateway) apiOpen(about string, do apiHandler) echo.HandlerFunc {
	return g.apiCall(about, do, false)
}

func (g *Gateway) apiCall(about string, do apiHandler, session bool) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx := c.Request().Context()
		k := &call{interaction: about, correlation: requestID(c), now: g.now(), header: c.Request().Header, id: c.Param("id"), session: &smart.Session{}}
		status, object, err := func() (int, any, error) {
			if err := g.beginAPI(c, k, session); err != nil {
				return 0, nil, err
			}
			return do(ctx, k)
		}()
		if err != nil {
			return g.fail(c, k, g.logRefused(ctx, k, err))
		}
		g.stamp(c.Response().Header(), k)
		return writeObject(c, status, object)
	}
}

func (g *Gateway) beginAPI(c echo.Context, k *call, needed bool) error {
	r := c.Request()
	if needed || len(r.Header.Values("Authorization")) > 0 {
		session, err := g.authenticate(r)
		if err != nil {
			return err
		}
		k.session = session
		if len(session.Scope) == 0 {
			return g.refuseEarly(r.Context(), k, policy.Scope, refuse(scopeMissing, nil))
		}
	}
	var err error
	if k.query, err = parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if !acceptable(r.Header, k.query) {
		return refuse(badAccept, nil)
	}
	delete(k.query, "_format")
	if r.Method == http.MethodGet {
		_, err = g.readBody(c, noBody)
		return err
	}
	if err := only(k.query); err != nil {
		return err
	}
	contentType, err := one(r.Header, "Content-Type")
	if err != nil {
		return err
	}
	if !jsonType(contentType) || r.Header.Get("Content-Encoding") != "" {
		return refuse(badMedia, nil)
	}
	if k.body, err = readLimited(c, apiBody); err != nil {
		return err
	}
	return nil
}

// drained is how much of a body that is too large is read and thrown away: a
// client that is still sending when the connection is closed sees no answer.
const drained = 16 << 20

// readLimited takes a body of at most limit bytes.
func readLimited(c echo.Context, limit int64) ([]byte, error) {
	r := c.Request()
	var body []byte
	if r.ContentLength <= limit {
		var err error
		if body, err = io.ReadAll(io.LimitReader(r.Body, limit+1)); err != nil {
			return nil, refuse(malformed, err)
		}
		if int64(len(body)) <= limit {
			return body, nil
		}
	}
	c.Response().Header().Set("Connection", "close")
	if r.ContentLength <= limit+drained {
		_, _ = io.CopyN(io.Discard, r.Body, limit+drained-int64(len(body)))
	}
	return nil, refuse(tooLarge, nil)
}

// strictJSON reads one JSON value and nothing else: no unknown members, no
// members twice, no trailing data. What is signed must have one reading.
func strictJSON(data []byte, into any) error {
	if err := onceEach(data); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return badRequest("the JSON is not what is expected here")
	}
	return nil
}

// onceEach refuses a document with trailing data, nesting beyond reason, or a
// member that is there twice in one object, in any spelling: encoding/json
// matches names without regard to case.
func onceEach(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	type level struct {
		names  map[string]bool // nil in an array
		isName bool
		at     string // the member being read
	}
	var open []level
	for {
		token, err := dec.Token()
		if err != nil {
			return badRequest("not JSON")
		}
		if _, delim := token.(json.Delim); len(open) == 0 && !delim {
			return badRequest("not a JSON object")
		}
		top := len(open) - 1
		switch t := token.(type) {
		case json.Delim:
			switch t {
			case '{', '[':
				if top >= 0 {
					open[top].isName = open[top].names != nil
				}
				if len(open) >= 32 {
					return badRequest("JSON nested too deeply")
				}
				next := level{}
				if t == '{' {
					next = level{names: map[string]bool{}, isName: true}
				}
				open = append(open, next)
			default:
				if open = open[:top]; len(open) == 0 {
					if _, err := dec.Token(); !errors.Is(err, io.EOF) {
						return badRequest("something follows the JSON")
					}
					return nil
				}
			}
		default:
			if open[top].names == nil {
				continue
			}
			if name, ok := t.(string); ok && open[top].isName {
				folded := strings.ToLower(name)
				open[top].at = lo.Ternary(paramName(name), name, "…")
				if open[top].names[folded] {
					path := lo.FilterMap(open, func(l level, _ int) (string, bool) { return l.at, l.at != "" })
					return badRequest(strings.Join(path, ".") + ": is there twice")
				}
				open[top].names[folded] = true
				open[top].isName = false
				continue
			}
			open[top].isName = true
		}
	}
}

// ownPatient wants the session to be that patient's own.
func ownPatient(k *call, patient string) error {
	if ref, err := fhir.ParseRef(patient, ""); err != nil || ref.Type != "Patient" || ref.Version != "" {
		return badRequest("not a patient")
	}
	if k.patient = patient; k.session.Subject.ID != patient {
		return refuse(forbidden, nil)
	}
	return nil
}

// state appends an entry whose statement the policy's state takes in, after
// asking the state whether it would, and waits until enough custodians hold it.
// Its answer is the entry's index.
func (g *Gateway) state(ctx context.Context, k *call, e chain.Entry) (uint64, error) {
	if err := g.c.State.Check(policy.Event{
		Index: g.c.Chain.Size(), At: g.now(), Kind: string(e.Kind), Actor: e.Actor, Patient: e.Patient, SignIn: e.SignIn, Statement: e.Statement,
	}); err != nil {
		k.patient = e.Patient
		return 0, refuseWith(statementRefused, statementFault(err), err)
	}
	receipts, err := g.appendFor(ctx, k, e)
	if err != nil {
		return 0, err
	}
	index := receipts[0].Index
	return index, g.confirmed(ctx, index)
}

// refuseWith is a refusal with a detail and a cause.
func refuseWith(k kind, detail string, err error) error {
	return &refusal{kind: k, detail: detail, err: err}
}

// entryBy begins an entry of a statement that the session brings.
func (k *call) entryBy(kind chain.Kind, patient string, statement []byte) chain.Entry {
	sub := k.session.Subject
	return chain.Entry{
		Kind: kind, Actor: sub.ID, Role: strings.Join(sub.Roles, " "), SignIn: sub.SignIn, Client: sub.Client, Session: sub.Session,
		Patient: patient, Correlation: k.correlation, Statement: statement,
	}
}
