// Package hapi builds and runs a HAPI FHIR server (JPA, R4) of this folder's Maven
// module, so that tests can meet a store of somebody else's. It needs a JDK of 17 or
// later and Maven.
//
// The server listens on a loopback port of its own choice, keeps everything in memory,
// and ends with the process that started it. It is as HAPI ships but for one setting:
// a search is never answered from an earlier one. It is no part of Wardkey.
package hapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const jar = "target/wardkey-e2e-hapi.jar"

// Build builds the module in dir if its sources are newer than what was built last.
// Maven's own output goes to out.
func Build(ctx context.Context, dir string, out io.Writer) error {
	fresh, err := upToDate(dir)
	if err != nil || fresh {
		return err
	}
	build := exec.CommandContext(ctx, "mvn", "-B", "-ntp", "-q", "clean", "package")
	build.Dir, build.Stdout, build.Stderr = dir, out, out
	if err := build.Run(); err != nil {
		return fmt.Errorf("build HAPI: %w", err)
	}
	return nil
}

func upToDate(dir string) (bool, error) {
	built, err := os.Stat(filepath.Join(dir, jar))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	fresh := true
	for _, source := range []string{"pom.xml", "src"} {
		err := filepath.WalkDir(filepath.Join(dir, source), func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			fresh = fresh && err == nil && !info.ModTime().After(built.ModTime())
			return err
		})
		if err != nil {
			return false, err
		}
	}
	return fresh, nil
}

// Server is a running HAPI.
type Server struct {
	// Base is its FHIR base URL.
	Base string

	cmd   *exec.Cmd
	input io.Closer // the server ends when this does
	ended chan error
}

// Start runs what [Build] built in dir, and returns when it can be asked: it says so
// itself when it listens. What it logs goes to log. Ending ctx kills it.
func Start(ctx context.Context, dir string, log io.Writer) (*Server, error) {
	cmd := exec.CommandContext(ctx, "java", "-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", jar)
	cmd.Dir, cmd.Stderr = dir, log
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start HAPI: %w", err)
	}
	s := &Server{cmd: cmd, input: input, ended: make(chan error, 1)}
	lines := bufio.NewScanner(output)
	for s.Base == "" && lines.Scan() {
		s.Base, _ = strings.CutPrefix(lines.Text(), "HAPI ")
	}
	go func() {
		// Wait closes the pipe, so all of it has to be read first.
		_, copied := io.Copy(log, output)
		s.ended <- errors.Join(copied, cmd.Wait())
	}()
	if s.Base == "" {
		return nil, fmt.Errorf("start HAPI: it ended before it listened: %w", errors.Join(lines.Err(), s.Stop()))
	}
	return s, nil
}

// Stop ends the server and waits for it.
func (s *Server) Stop() error {
	err := s.input.Close()
	select {
	case ended := <-s.ended:
		return errors.Join(err, ended)
	case <-time.After(20 * time.Second):
		return errors.Join(err, errors.New("HAPI did not end when told to"), s.cmd.Process.Kill(), <-s.ended)
	}
}
