package abi

// A block of headers is a run of entries: u32 key length, u32 value length,
// key, value. Keys may repeat; order is kept.

// AppendHeader appends one entry to block and returns it.
func AppendHeader(block []byte, key, value string) []byte {
	block = le.AppendUint32(block, uint32(len(key)))
	block = le.AppendUint32(block, uint32(len(value)))
	block = append(block, key...)
	return append(block, value...)
}

// NextHeader returns the first entry of block and what follows it. ok is false
// when block is empty or does not hold a whole entry.
func NextHeader(block []byte) (key, value, rest []byte, ok bool) {
	if len(block) < HeaderEntrySize {
		return nil, nil, nil, false
	}
	k, v := uint64(le.Uint32(block)), uint64(le.Uint32(block[4:]))
	if HeaderEntrySize+k+v > uint64(len(block)) {
		return nil, nil, nil, false
	}
	end := HeaderEntrySize + int(k)
	return block[HeaderEntrySize:end:end], block[end : end+int(v) : end+int(v)], block[end+int(v):], true
}

// FindHeader returns the value of the first entry with that key. Keys compare
// byte by byte, as in NATS.
func FindHeader(block []byte, key string) ([]byte, bool) {
	for len(block) > 0 {
		k, v, rest, ok := NextHeader(block)
		if !ok {
			return nil, false
		}
		if string(k) == key {
			return v, true
		}
		block = rest
	}
	return nil, false
}

// CheckHeaders reports whether block holds exactly count entries that can
// travel as NATS headers: a key of printable ASCII without space or colon, a
// value without CR, LF or NUL.
func CheckHeaders(block []byte, count int) error {
	at := 0
	for n := range count {
		k, v, rest, ok := NextHeader(block[at:])
		if !ok {
			return bad("header entry is out of bounds", at, uint64(n))
		}
		if len(k) == 0 {
			return bad("header key is empty", at, uint64(n))
		}
		for _, c := range k {
			if c <= ' ' || c >= 0x7f || c == ':' {
				return bad("header key has a byte that is not allowed", at, uint64(c))
			}
		}
		for _, c := range v {
			if c == '\r' || c == '\n' || c == 0 {
				return bad("header value has a byte that is not allowed", at, uint64(c))
			}
		}
		at = len(block) - len(rest)
	}
	if at != len(block) {
		return bad("headers exceed their count", at, uint64(count))
	}
	return nil
}
