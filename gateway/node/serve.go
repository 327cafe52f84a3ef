package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/wardkey/wardkey/gateway"
)

// grace is how long requests under way have to finish when a role is closed.
const grace = 10 * time.Second

// servers are the listeners of one role.
type servers struct {
	log  *slog.Logger
	list []*http.Server
	wg   sync.WaitGroup
}

// bind opens a listener. Binding is apart from serving, so that a port that is
// taken is known before anything answers.
func bind(ctx context.Context, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// serve answers on l until close.
func (s *servers) serve(name string, l net.Listener, h http.Handler, conf *tls.Config) {
	srv := gateway.NewServer(h, s.log)
	srv.TLSConfig = conf
	s.list = append(s.list, srv)
	s.log.Info("listening", slog.String("listener", name), slog.String("address", l.Addr().String()))
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	s.wg.Go(func() {
		if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("listener ended", slog.String("listener", name), slog.Any("error", err))
		}
	})
}

// close takes no more requests, lets those under way finish within ctx and the
// grace, then cuts what is left.
func (s *servers) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	errs := make([]error, len(s.list))
	var ending sync.WaitGroup
	for i, srv := range s.list {
		ending.Go(func() {
			if err := srv.Shutdown(ctx); err != nil {
				errs[i] = errors.Join(err, srv.Close())
			}
		})
	}
	ending.Wait()
	s.wg.Wait()
	return errors.Join(errs...)
}
