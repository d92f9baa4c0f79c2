use core::time::Duration;

use crate::host;

/// The host's clock, since the Unix epoch. It needs the grant `clock`: a module
/// that calls it does not load without.
pub fn now() -> Duration {
    Duration::from_nanos(host::now().max(0) as u64)
}

/// Fills b with random bytes. It needs the grant `random`.
pub fn random(b: &mut [u8]) {
    host::random(b);
}

/// The value that `[plugins.NAME.secrets]` gives that name. It needs the grant
/// `secret`.
#[cfg(any(feature = "std", not(target_arch = "wasm32")))]
pub fn secret(name: &str) -> Option<std::vec::Vec<u8>> {
    let mut value = std::vec![0; 256];
    loop {
        let n = secret_into(name, &mut value)?;
        let fits = n <= value.len();
        value.resize(n, 0);
        if fits {
            return Some(value);
        }
    }
}

/// Writes the value that `[plugins.NAME.secrets]` gives that name to buf, if it
/// fits, and returns its length. It needs the grant `secret`.
pub fn secret_into(name: &str, buf: &mut [u8]) -> Option<usize> {
    usize::try_from(host::secret(name, buf)).ok()
}
