package main

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/wasmill/wasmill/runtime/config"
	"github.com/wasmill/wasmill/runtime/status"
)

// checkEvery is how long what was found in a file that has not changed stands:
// the files that it names may have.
const checkEvery = 2 * time.Second

// fileCheck says what is wrong with a TOML file as it is now. It is safe for
// concurrent use.
type fileCheck struct {
	file     string
	builtins []string

	mu struct {
		sync.Mutex
		at      time.Time // of the last look; zero: never
		changed time.Time // when the file was, at the last look
		size    int64
		errors  []string
	}
}

// look returns the errors, one line each.
func (f *fileCheck) look() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.file)
	if err == nil && time.Since(f.mu.at) < checkEvery && info.ModTime().Equal(f.mu.changed) && info.Size() == f.mu.size {
		return f.mu.errors
	}
	f.mu.errors, f.mu.at = nil, time.Time{}
	src, err := os.ReadFile(f.file)
	if err != nil {
		f.mu.errors = []string{err.Error()}
		return f.mu.errors
	}
	if info != nil {
		f.mu.at, f.mu.changed, f.mu.size = time.Now(), info.ModTime(), info.Size()
	}
	_, findings := config.Parse(f.file, src, f.builtins...)
	for _, finding := range findings {
		if finding.Severity == config.SeverityError {
			f.mu.errors = append(f.mu.errors, finding.String())
		}
	}
	return f.mu.errors
}

// with adds the errors to a status.
func (f *fileCheck) with(of func(context.Context) status.Status) func(context.Context) status.Status {
	return func(ctx context.Context) status.Status {
		st := of(ctx)
		st.ConfigErrors = f.look()
		return st
	}
}
