//! Bytes that grow, without an allocator: in a guest they are pages of linear
//! memory, which an allocator beside them bears.

use core::{fmt, ptr, slice};

/// A buffer that starts at a multiple of 8. Once it could not grow it is
/// `failed` until it is cleared, and takes nothing more.
pub struct Buffer {
    start: *mut u8,
    len: usize,
    capacity: usize,
    failed: bool,
}

impl Buffer {
    pub const fn new() -> Self {
        Buffer { start: ptr::null_mut(), len: 0, capacity: 0, failed: false }
    }

    pub fn clear(&mut self) {
        self.len = 0;
        self.failed = false;
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn failed(&self) -> bool {
        self.failed
    }

    pub fn as_slice(&self) -> &[u8] {
        if self.start.is_null() {
            return &[];
        }
        // SAFETY: start points to capacity bytes, of which len are initialised.
        unsafe { slice::from_raw_parts(self.start, self.len) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        if self.start.is_null() {
            return &mut [];
        }
        // SAFETY: as in as_slice, and self is borrowed for as long.
        unsafe { slice::from_raw_parts_mut(self.start, self.len) }
    }

    /// Cuts the buffer back to a length it had before.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.reserve(bytes.len()) {
            return;
        }
        // SAFETY: reserve made room for them behind len, and bytes cannot be
        // part of a buffer that is borrowed mutably.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(self.len), bytes.len()) };
        self.len += bytes.len();
    }

    /// Appends zeros up to the next multiple of 8.
    pub fn pad8(&mut self) {
        let n = self.len.wrapping_neg() & 7;
        self.push(&[0u8; 8][..n]);
    }

    /// Makes the buffer n bytes long, zeros where nothing was written, and
    /// returns its address; null when there is no memory.
    pub fn resize(&mut self, n: usize) -> *mut u8 {
        self.clear();
        if !self.reserve(n.max(1)) {
            return ptr::null_mut();
        }
        self.len = n;
        self.start
    }

    #[inline]
    fn reserve(&mut self, more: usize) -> bool {
        if more <= self.capacity - self.len && !self.failed {
            return true;
        }
        self.grow(more)
    }

    #[cold]
    fn grow(&mut self, more: usize) -> bool {
        const LEAST: usize = 64 << 10;
        const MOST: usize = 1 << 30; // a frame stays below 2 GiB
        let least = match self.len.checked_add(more) {
            Some(n) if n <= MOST && !self.failed => n,
            _ => {
                self.failed = true;
                return false;
            }
        };
        let wanted = least.max(self.capacity.saturating_mul(2)).max(LEAST).min(MOST);
        for size in [wanted, least] {
            if let Some((start, capacity)) = memory::grow(self.start, self.capacity, self.len, size) {
                self.start = start;
                self.capacity = capacity;
                return true;
            }
        }
        self.failed = true;
        false
    }
}

impl fmt::Write for Buffer {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.push(s.as_bytes());
        if self.failed {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(target_arch = "wasm32")]
mod memory {
    use core::arch::wasm32::{memory_grow, memory_size};
    use core::ptr;

    const PAGE: usize = 64 << 10;

    /// Returns at least `size` zeroed bytes that begin with the `len` bytes at
    /// `old`. A region at the end of memory is extended; one that is not is left
    /// behind, which costs less than all that follow it, since sizes double.
    pub fn grow(old: *mut u8, capacity: usize, len: usize, size: usize) -> Option<(*mut u8, usize)> {
        let end = memory_size(0) * PAGE;
        if !old.is_null() && old as usize + capacity == end {
            let pages = (size - capacity + PAGE - 1) / PAGE;
            if memory_grow(0, pages) == usize::MAX {
                return None;
            }
            return Some((old, capacity + pages * PAGE));
        }
        let pages = (size + PAGE - 1) / PAGE;
        let at = memory_grow(0, pages);
        if at == usize::MAX {
            return None;
        }
        let new = (at * PAGE) as *mut u8;
        // SAFETY: the pages are new and nobody else's; old holds len bytes.
        unsafe { ptr::copy_nonoverlapping(old, new, len) };
        Some((new, pages * PAGE))
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod memory {
    use core::ptr;
    use std::alloc::{alloc_zeroed, Layout};

    /// Tests are short: the old region is left behind, as in a guest.
    pub fn grow(old: *mut u8, _: usize, len: usize, size: usize) -> Option<(*mut u8, usize)> {
        let layout = Layout::from_size_align(size, 8).ok()?;
        // SAFETY: size is not 0, and old holds len bytes when it is not null.
        unsafe {
            let new = alloc_zeroed(layout);
            if new.is_null() {
                return None;
            }
            if len > 0 {
                ptr::copy_nonoverlapping(old, new, len);
            }
            Some((new, size))
        }
    }
}
