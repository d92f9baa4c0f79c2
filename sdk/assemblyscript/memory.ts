// Memory that the garbage collector does not see: regions that grow and are kept,
// and an arena that is emptied after each event.

/** A region that grows. It keeps what is in it and is never given back. */
export class Region {
  ptr: usize = 0;
  size: usize = 0;
  room: usize = 0;

  /** Makes room for that many bytes in all. */
  reserve(need: usize): void {
    if (need <= this.room) return;
    let room: usize = this.room ? this.room : 64 << 10;
    while (room < need) room <<= 1;
    const ptr = heap.alloc(room);
    if (this.ptr) {
      memory.copy(ptr, this.ptr, this.size);
      heap.free(this.ptr);
    }
    this.ptr = ptr;
    this.room = room;
  }
}

// The arena is a list of chunks, newest first; each begins with the address of the
// one before and its size.
const HEAD: usize = 16;
const FIRST: usize = 32 << 10;

let chunk: usize = 0; // the one in use
let at: usize = 0; // in it
let end: usize = 0; // of it
let keptChunk: usize = 0; // with keptAt: up to here for the instance's life
let keptAt: usize = 0;

/** Returns memory, 8-aligned, until the handler returns; in an opener, for the life of the instance. */
export function alloc(size: usize): usize {
  size = (size + 7) & ~7;
  if (end - at < size) {
    const room = max(FIRST, HEAD + size);
    const fresh = heap.alloc(room);
    store<usize>(fresh, chunk);
    store<usize>(fresh, room, sizeof<usize>());
    chunk = fresh;
    at = fresh + HEAD;
    end = fresh + room;
  }
  const ptr = at;
  at += size;
  return ptr;
}

/** Gives back what was allocated since keep. */
export function forget(): void {
  while (chunk != keptChunk) {
    const before = load<usize>(chunk);
    heap.free(chunk);
    chunk = before;
  }
  at = keptAt;
  end = chunk + load<usize>(chunk, sizeof<usize>());
}

/** What has been allocated stays for the life of the instance. */
export function keep(): void {
  alloc(8); // so that there is a chunk
  keptChunk = chunk;
  keptAt = at;
}

/** Says whether something has been allocated since keep. */
// @ts-ignore: decorator
@inline
export function used(): bool {
  return at != keptAt;
}
