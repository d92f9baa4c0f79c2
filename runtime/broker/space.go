package broker

// space is what the file system of a store has, in bytes.
type space struct{ free, total int64 }

// reserve is the part of the disk that topics may not fill. The server needs it
// for everything else that it writes (positions of consumers, state of streams),
// and messages are refused in good order before one of them fails half written.
// What arrives between two looks at the disk may come out of it.
func (s space) reserve() int64 { return min(max(s.total/50, 512<<10), 64<<20) }

// short says that topics may take nothing more. Once they were refused it takes
// a little more space to accept them again: what is refused is sent again soon.
func (s space) short(refusing bool) bool {
	need := s.reserve()
	if refusing {
		need += need / 4
	}
	return s.free < need
}

// near says that the disk is worth a closer look.
func (s space) near() bool { return s.free < 8*s.reserve() }
