// Command generate prints the access log of the example: half an hour of a made
// up shop with four hosts, always the same. There are no real visitors in it;
// the addresses are those set aside for documentation (RFC 5737).
package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"
)

func main() {
	w := bufio.NewWriter(os.Stdout)
	for _, line := range lines() {
		fmt.Fprintln(w, line)
	}
	if err := w.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// site is one virtual host: how many requests a second it gets, how many of a
// thousand fail, and what is asked for.
type site struct {
	host     string
	perMille int // of all requests
	failures int // of a thousand requests
	paths    []string
}

// trouble is when and where something is broken.
type trouble struct {
	host, path string
	from, to   time.Duration
}

const length = 30 * time.Minute

func lines() []string {
	sites := []site{
		{"www.shop.example", 500, 2, []string{"/", "/search", "/item/17", "/item/23", "/style.css"}},
		{"api.shop.example", 300, 4, []string{"/v1/cart", "/v1/price", "/v1/stock", "/v1/login"}},
		{"img.shop.example", 150, 1, []string{"/17.jpg", "/23.jpg", "/logo.svg"}},
		{"admin.shop.example", 50, 0, []string{"/", "/orders"}},
	}
	troubles := []trouble{
		{"api.shop.example", "/v1/stock", 8 * time.Minute, 11 * time.Minute},
		{"www.shop.example", "/search", 21*time.Minute + 20*time.Second, 22*time.Minute + 10*time.Second},
	}
	r := rand.New(rand.NewPCG(2018, 2)) //nolint:gosec // it has to be the same every time
	begin := time.Date(2018, 2, 6, 18, 0, 0, 0, time.UTC)
	type line struct {
		written time.Duration // a line is written when its request has ended
		text    string
	}
	var all []line
	for at := time.Duration(0); at < length; at += time.Duration(100+r.IntN(700)) * time.Millisecond {
		s := pick(sites, r.IntN(1000))
		path := s.paths[r.IntN(len(s.paths))]
		status, took := 200, time.Duration(5+r.IntN(400))*time.Millisecond
		switch broken := slices.ContainsFunc(troubles, func(t trouble) bool {
			return t.host == s.host && t.path == path && at >= t.from && at < t.to
		}); {
		case broken && r.IntN(10) < 8:
			status, took = 503, time.Duration(1000+r.IntN(7000))*time.Millisecond
		case r.IntN(1000) < s.failures:
			status = 500
		case r.IntN(1000) < 30:
			status = 404
		case r.IntN(1000) < 50:
			status = 304
		}
		size := fmt.Sprint(200 + r.IntN(20000))
		if status == 304 {
			size = "-"
		}
		all = append(all, line{at + took, fmt.Sprintf(`%s 192.0.2.%d - - [%s] "GET %s HTTP/1.1" %d %s "-" "Mozilla/5.0"`,
			s.host, 1+r.IntN(250), begin.Add(at).Format("02/Jan/2006:15:04:05 -0700"), path, status, size)})
	}
	slices.SortStableFunc(all, func(a, b line) int { return int(a.written - b.written) })
	texts := make([]string, len(all))
	for i, l := range all {
		texts[i] = l.text
	}
	return texts
}

func pick(sites []site, n int) site {
	for _, s := range sites {
		if n < s.perMille {
			return s
		}
		n -= s.perMille
	}
	return sites[0]
}
