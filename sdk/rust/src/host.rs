//! What a plugin reaches outside of itself. In a guest these are imports, which
//! are in the module only when something calls them, so that a plugin asks for
//! no grant that it does not use. In tests it is the host of `testing`.

#[cfg(target_arch = "wasm32")]
mod imports {
    #[link(wasm_import_module = "wasmill_v1")]
    extern "C" {
        fn log(level: i32, line: *const u8, len: usize);
        fn metric_define(name: *const u8, len: usize, kind: i32) -> i32;
        fn metric_add(id: i32, n: i64);
        fn metric_observe(id: i32, v: f64);
        #[link_name = "now"]
        fn clock_now() -> i64;
        #[link_name = "random"]
        fn random_fill(b: *mut u8, len: usize);
        fn secret_get(name: *const u8, len: usize, buf: *mut u8, cap: usize) -> i64;
    }

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    extern "C" {
        fn fd_write(fd: i32, parts: *const [usize; 2], count: usize, written: *mut usize) -> i32;
    }

    // SAFETY of all below: the host reads and writes exactly the bytes of the
    // slices, before it returns.

    pub fn write_log(level: i32, line: &[u8]) {
        unsafe { log(level, line.as_ptr(), line.len()) }
    }

    pub fn define(name: &str, kind: i32) -> i32 {
        unsafe { metric_define(name.as_ptr(), name.len(), kind) }
    }

    pub fn add(id: i32, _: &str, n: i64) {
        unsafe { metric_add(id, n) }
    }

    pub fn observe(id: i32, _: &str, v: f64) {
        unsafe { metric_observe(id, v) }
    }

    pub fn now() -> i64 {
        unsafe { clock_now() }
    }

    pub fn random(b: &mut [u8]) {
        const MOST: usize = 1 << 20; // what the host gives at once
        for part in b.chunks_mut(MOST) {
            unsafe { random_fill(part.as_mut_ptr(), part.len()) }
        }
    }

    pub fn secret(name: &str, buf: &mut [u8]) -> i64 {
        unsafe { secret_get(name.as_ptr(), name.len(), buf.as_mut_ptr(), buf.len()) }
    }

    /// Writes to standard error, which the host puts into the fault it reports.
    pub fn stderr(line: &[u8]) {
        let part = [line.as_ptr() as usize, line.len()];
        let mut written = 0;
        unsafe { fd_write(2, &part, 1, &mut written) };
    }
}

#[cfg(target_arch = "wasm32")]
pub use imports::*;

#[cfg(not(target_arch = "wasm32"))]
pub use crate::testing::outside::*;
