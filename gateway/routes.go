package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// An interaction answers one call; [Gateway.fhir] gives it its session, purpose
// and scope first.
type interaction func(ctx context.Context, k *call) (answer, error)

// routes lists everything that is served. A method missing here is answered
// with 405 and Allow, a path with 404.
func (g *Gateway) routes() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(discard{})
	e.HTTPErrorHandler = func(err error, c echo.Context) { _ = g.fail(c, nil, err) }
	e.Pre(g.guard)
	e.Use(g.noOptions)

	for path, handler := range map[string]echo.HandlerFunc{
		"/fhir/metadata":                        g.metadata,
		"/fhir/.well-known/smart-configuration": g.smartConfiguration,
	} {
		g.get(e, path, public(handler))
		e.OPTIONS(path, preflight)
	}

	e.POST("/fhir", g.batch)
	g.get(e, "/fhir/_history", g.fhir(interactionHistorySystem, noBody, g.unsupportedHistory))
	g.get(e, "/fhir/:type", g.fhir(interactionSearch, noBody, g.search))
	e.POST("/fhir/:type/_search", g.fhir(interactionSearch, isForm, g.search))
	e.POST("/fhir/:type", g.fhir(interactionCreate, isJSON, g.create))
	e.PUT("/fhir/:type", g.fhir(interactionUpdate, isJSON, unsupported))
	e.DELETE("/fhir/:type", g.fhir(interactionDelete, noBody, unsupported))
	e.PATCH("/fhir/:type", g.fhir(interactionUpdate, anything, unsupported))
	g.get(e, "/fhir/:type/_history", g.fhir(interactionHistory, noBody, g.unsupportedHistory))
	g.get(e, "/fhir/:type/:id", g.fhir(interactionRead, noBody, g.read))
	e.PUT("/fhir/:type/:id", g.fhir(interactionUpdate, isJSON, g.update))
	e.DELETE("/fhir/:type/:id", g.fhir(interactionDelete, noBody, g.delete))
	e.PATCH("/fhir/:type/:id", g.fhir(interactionUpdate, anything, unsupported))
	g.get(e, "/fhir/:type/:id/_history", g.fhir(interactionHistory, noBody, g.history))
	g.get(e, "/fhir/:type/:id/_history/:revision", g.fhir(interactionVRead, noBody, g.read))

	e.POST("/api/grants/preview", g.api(aboutGrant, g.previewGrant))
	e.POST("/api/grants", g.api(aboutGrant, g.createGrant))
	e.GET("/api/grants", g.api(aboutGrant, g.listGrants))
	e.POST("/api/grants/:id/withdraw", g.api(aboutWithdraw, g.withdrawGrant))
	e.POST("/api/relations/preview", g.api(aboutRelation, g.previewRelation))
	e.POST("/api/relations", g.apiOpen(aboutRelation, g.createRelation))
	e.POST("/api/enrol", g.apiOpen(aboutEnrol, g.enrol))

	e.POST("/oauth/session", g.beginSession)
	e.POST("/oauth/token", g.token)
	e.POST("/oauth/revoke", g.revoke)

	if g.c.Tiles != nil {
		tiles := echo.WrapHandler(g.c.Tiles)
		g.get(e, "/chain/*", tiles)
	}
	return e
}

// get serves HEAD like GET: the same decision, the same entry, the same headers.
func (g *Gateway) get(e *echo.Echo, path string, h echo.HandlerFunc) {
	e.GET(path, h)
	e.HEAD(path, h)
}

// content is what a request's body may be.
type content int

const (
	noBody   content = iota
	isJSON           // FHIR's JSON
	isForm           // a search's parameters
	anything         // for what is refused by name anyway
)

// is tells whether a content type is the one wanted.
func (b content) is(contentType string) bool {
	switch b {
	case isJSON:
		return jsonType(contentType)
	case isForm:
		return formType(contentType)
	default:
		return b == anything
	}
}

// fhir makes a handler of an interaction.
func (g *Gateway) fhir(name string, body content, do interaction) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx := c.Request().Context()
		k, err := g.begin(ctx, c, name)
		if err != nil {
			return g.fail(c, k, err)
		}
		if k.body, err = g.readBody(c, body); err != nil {
			return g.fail(c, k, err)
		}
		a, err := do(ctx, k)
		if err != nil {
			return g.fail(c, k, g.faulted(ctx, k, err))
		}
		return g.send(c, k, a)
	}
}

// unsupported refuses an interaction by name, to those who have its scope.
func unsupported(context.Context, *call) (answer, error) { return answer{}, refuse(notSupported, nil) }

// public lets browsers of any origin read what is public anyway (SMART App Launch
// 2.2, "Considerations for CORS").
func public(h echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set("Access-Control-Allow-Origin", "*")
		return h(c)
	}
}

// preflight answers a browser that asks before it reads something public. No
// header that could carry a token is allowed.
func preflight(c echo.Context) error {
	h := c.Response().Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "GET, HEAD")
	h.Set("Access-Control-Allow-Headers", "Accept, Content-Type")
	h.Set("Access-Control-Max-Age", "3600")
	return c.NoContent(http.StatusNoContent)
}

// noOptions refuses OPTIONS wherever there is no route for it: the router would
// answer it by itself.
func (g *Gateway) noOptions(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		allow, unrouted := c.Get(echo.ContextKeyHeaderAllow).(string)
		if c.Request().Method == http.MethodOptions && unrouted {
			return g.fail(c, nil, &refusal{kind: badMethod, allow: allow})
		}
		return next(c)
	}
}

// discard is an io.Writer that does not write: what echo has to say goes through
// the gateway's own log.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// front bounds how many requests are under way at once, and holds all of them
// back while the log is in doubt and until earlier writes are settled.
func (g *Gateway) front() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case g.places <- struct{}{}:
			defer func() { <-g.places }()
		default:
			g.refuseAtTheDoor(w, busy)
			return
		}
		switch {
		case g.c.Hold() != "":
			g.refuseAtTheDoor(w, held)
		case !g.intents.settled():
			g.refuseAtTheDoor(w, upstreamDown)
		case g.returned.full():
			g.refuseAtTheDoor(w, logDown)
		default:
			g.fhirEcho.ServeHTTP(w, r)
		}
	})
}

func (g *Gateway) refuseAtTheDoor(w http.ResponseWriter, k kind) {
	p := k.problem()
	w.Header().Set("Content-Type", mediaFHIR+"; charset=utf-8")
	w.Header().Set("Cache-Control", "private, no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(p.status)
	_, _ = w.Write((&refusal{kind: k}).outcome().JSON())
}

// NewServer returns a server for one of the gateway's handlers with time and size
// limits that suit it: nobody holds a connection by sending slowly.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
	}
	if log != nil {
		s.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	}
	return s
}
