package host

import "testing"

func TestPanicPlace(t *testing.T) {
	const head = "panic: boom\n\ngoroutine 1 [running]:\n"
	for _, tc := range []struct{ name, dump, want string }{
		{"a function", head + "main.event(0x0, 0x23aef8)\n\t/home/me/p/main.go:111 +0x58\nmain.process(0x2)\n\t/home/me/p/main.go:95 +0x12\n", "main.event (main.go:111)"},
		{"behind the runtime's own", head + "panic({0x1, 0x2})\n\truntime/panic.go:787 +0x1\nruntime.goPanicIndex(0x5, 0x3)\n\truntime/panic.go:115 +0x7\n" +
			"main.(*filter).match(0x1)\n\t/p/filter.go:7 +0x3\n", "main.(*filter).match (filter.go:7)"},
		{"in another goroutine", "panic: boom\n\ngoroutine 7 [running]:\nmain.work.func1()\n\t/p/work.go:9 +0x3\ncreated by main.work in goroutine 1\n\t/p/work.go:8 +0x3\n", "main.work.func1 (work.go:9)"},
		{"no dump", "panic: boom", ""},
		{"a dump that is cut off", head + "main.event(0x0", ""},
		{"a dump without source", head + "main.event(0x0)\nmain.process(0x2)\n", ""},
		{"nothing but the runtime", head + "runtime.throw({0x1})\n\truntime/panic.go:1 +0x1\n", ""},
		{"no function", head + "(\n\tx\n", ""},
		{"nonsense", " [running]:\n\n\n\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := panicPlace(tc.dump); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// The frames of what rewriting added are no concern of a plugin's author.
func TestOwnFrames(t *testing.T) {
	const trace = "\n\twasmill:host.tick() i64\n\t.$7(i32)\n\tmod.$8(i32) i32\n\tmod.$6(i32)\n\tmain.process(i32) i32\n\t.wasmill_process(i32,i32) i64"
	const want = "\n\tmod.$6(i32)\n\tmain.process(i32) i32\n\t.wasmill_process(i32,i32) i64"
	if got := ownFrames(trace, 7); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
