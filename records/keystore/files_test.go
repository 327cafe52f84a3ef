package keystore_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/wardkey/wardkey/records/keystore"
	"github.com/wardkey/wardkey/records/keystore/keystoretest"
)

func openFiles(t *testing.T, dir string) *keystore.Files {
	t.Helper()
	files, err := keystore.OpenFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	})
	return files
}

func TestFilesKeepTheContract(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	keystoretest.Contract(t, func(t *testing.T) keystore.Keystore { return openFiles(t, dir) })
}

func TestFilesAreTheirOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "keys")
	files := openFiles(t, dir)
	for _, secret := range []string{"one", "two"} { // made, then replaced
		if err := files.Save(context.Background(), "share", []byte(secret)); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, "share"): 0o600} {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != want {
				t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
			}
		}
	}
}

func TestFilesOpenToOthersAreRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := keystore.OpenFiles(dir); !errors.Is(err, keystore.ErrExposed) {
		t.Errorf("OpenFiles() error = %v, want ErrExposed", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	files := openFiles(t, dir)
	path := filepath.Join(dir, "share")
	if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Load(context.Background(), "share"); !errors.Is(err, keystore.ErrExposed) {
		t.Errorf("Load() error = %v, want ErrExposed", err)
	}
	if err := files.Save(context.Background(), "share", []byte("other")); !errors.Is(err, keystore.ErrExposed) {
		t.Errorf("Save() error = %v, want ErrExposed", err)
	}
}

func TestFilesThatAreNotPlainAreRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("not ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := openFiles(t, dir)
	for name, put := range map[string]func(path string) error{
		"link":      func(path string) error { return os.Symlink(outside, path) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		if err := put(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if secret, err := files.Load(context.Background(), name); err == nil {
			t.Errorf("%s: loaded %q", name, secret)
		}
		if err := files.Save(context.Background(), name, []byte("ours")); err == nil {
			t.Errorf("%s: saved", name)
		}
	}
	if got, err := os.ReadFile(outside); err != nil || string(got) != "not ours" {
		t.Errorf("outside holds %q, %v", got, err)
	}
}

func TestNothingButTheSecretIsLeftBehind(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	files, another := openFiles(t, dir), openFiles(t, dir)
	ctx := context.Background()
	for _, secret := range []string{"one", "two"} {
		if err := files.Save(ctx, "share", []byte(secret)); err != nil {
			t.Fatal(err)
		}
	}
	if err := another.Save(ctx, "share", []byte("three")); !errors.Is(err, keystore.ErrConflict) {
		t.Fatalf("Save() error = %v, want ErrConflict", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != "share" {
		t.Errorf("the directory holds %v", entries)
	}
}

func TestAnEmptyOrHugeFileIsNoSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	files := openFiles(t, dir)
	for name, content := range map[string]string{"empty": "", "huge": strings.Repeat("x", keystore.MaxSize+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := files.Load(context.Background(), name); !errors.Is(err, keystore.ErrSize) {
			t.Errorf("%s: error %v, want ErrSize", name, err)
		}
	}
}
