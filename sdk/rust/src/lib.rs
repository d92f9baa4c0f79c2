//! The SDK for [Wasmill](https://github.com/wasmill/wasmill) plugins in Rust. A
//! plugin is a library that registers a handler:
//!
//! ```
//! use wasmill::{Event, Out, Outcome, Result};
//!
//! wasmill::handler!(strong);
//!
//! fn strong(event: &Event, out: &mut Out) -> Result {
//!     match event.find("/properties/mag").as_f64() {
//!         Some(mag) if mag >= 4.5 => out.pass(),
//!         _ => Err(Outcome::DROP),
//!     }
//! }
//! ```
//!
//! One with a configuration or state implements [`Plugin`] and registers its type
//! with [`plugin!`]. `wasmill build` compiles either, or
//!
//! ```sh
//! cargo build --release --target wasm32-unknown-unknown
//! ```
//!
//! of a crate with `crate-type = ["cdylib"]`.
//!
//! # What a handler decides
//!
//! A handler that returns `Ok(())` is done with its event: what it handed to
//! [`Out`] is emitted, in that order. One that returns an [`Outcome`] emits
//! nothing: the event is dropped, tried again or put with the dead letters; any
//! `std::error::Error` is tried again, with its text as the reason. Other events
//! of the batch are not concerned.
//!
//! A panic ends the instance, because WebAssembly cannot unwind: its message and
//! place go into the fault that the runtime reports, the batch is run again on a
//! fresh instance, and the event at fault is found and set aside. It costs the
//! other events time; an `Err` costs them nothing.
//!
//! # Views
//!
//! What [`Event`] returns are views of a buffer that the next batch overwrites;
//! their lifetime keeps them inside the handler.
//!
//! # Testing
//!
//! On any other target than WebAssembly the module `testing` runs a plugin on
//! events, in a plain `cargo test`.
//!
//! # Without std
//!
//! With `default-features = false` a plugin can be `#![no_std]`: the crate needs no
//! allocator and brings the panic handler.

#![no_std]
#![warn(missing_docs)]

#[cfg(any(feature = "std", not(target_arch = "wasm32")))]
extern crate std;

mod buffer;
mod event;
mod grant;
#[doc(hidden)]
#[allow(missing_docs)]
pub mod guest;
mod host;
mod instance;
pub mod json;
mod log;
mod metric;
mod out;
mod outcome;
mod response;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod text;

pub use event::{Event, Headers};
#[cfg(any(feature = "std", not(target_arch = "wasm32")))]
pub use grant::secret;
pub use grant::{now, random, secret_into};
pub use guest::Plugin;
pub use instance::{Config, Instance};
pub use log::{log, Level};
pub use metric::{Counter, Gauge, Histogram};
pub use out::{Message, Out, Payload};
pub use outcome::{Error, Outcome, Result};
pub use text::Text;

/// Registers a function, or a closure, that handles each event by itself. Once in
/// a crate; see the crate's example.
#[macro_export]
macro_rules! handler {
    ($handler:expr) => {
        const _: () = {
            struct Handler;

            impl $crate::Plugin for Handler {
                fn open(_: &$crate::Instance<'_>) -> $crate::Result<Self, $crate::Error> {
                    ::core::result::Result::Ok(Handler)
                }

                fn process(&mut self, event: &$crate::Event<'_>, out: &mut $crate::Out<'_>) -> $crate::Result {
                    let handler: fn(&$crate::Event<'_>, &mut $crate::Out<'_>) -> $crate::Result = $handler;
                    handler(event, out)
                }
            }

            $crate::plugin!(Handler);
        };
    };
}

/// Registers a type that implements [`Plugin`]. Once in a crate.
///
/// ```
/// use wasmill::{Error, Event, Instance, Out, Outcome, Plugin, Result};
///
/// struct Strong {
///     min_magnitude: f64,
/// }
///
/// wasmill::plugin!(Strong);
///
/// impl Plugin for Strong {
///     fn open(instance: &Instance) -> Result<Self, Error> {
///         let config = instance.config();
///         config.only(&["min_magnitude"])?;
///         Ok(Strong { min_magnitude: config.f64("min_magnitude")?.unwrap_or(4.5) })
///     }
///
///     fn process(&mut self, event: &Event, out: &mut Out) -> Result {
///         match event.find("/properties/mag").as_f64() {
///             Some(mag) if mag >= self.min_magnitude => out.pass(),
///             Some(_) => Err(Outcome::DROP),
///             None => Err(Outcome::dead_letter("no magnitude")),
///         }
///     }
/// }
/// ```
#[macro_export]
macro_rules! plugin {
    ($plugin:ty) => {
        // Natively these are not exported: `testing` takes the type.
        #[allow(dead_code)]
        const _: () = {
            static MODULE: $crate::guest::Module<$plugin> = $crate::guest::Module::new();

            #[cfg_attr(target_arch = "wasm32", no_mangle)]
            extern "C" fn wasmill_abi_v1() -> i32 {
                1 << 16
            }

            #[cfg_attr(target_arch = "wasm32", no_mangle)]
            extern "C" fn wasmill_buffer(size: i32) -> *mut u8 {
                // SAFETY, here and below: the host calls the exports one after the other.
                unsafe { MODULE.guest() }.buffer(size)
            }

            #[cfg_attr(target_arch = "wasm32", no_mangle)]
            extern "C" fn wasmill_open(at: *const u8, len: usize) -> i32 {
                #[cfg(target_arch = "wasm32")]
                $crate::guest::hook_panics();
                unsafe { MODULE.guest() }.open(at, len)
            }

            #[cfg_attr(target_arch = "wasm32", no_mangle)]
            extern "C" fn wasmill_process(at: *const u8, len: usize) -> i64 {
                $crate::guest::packed(unsafe { MODULE.guest() }.process(at, len))
            }

            #[cfg_attr(target_arch = "wasm32", no_mangle)]
            extern "C" fn wasmill_close() -> i64 {
                $crate::guest::packed(unsafe { MODULE.guest() }.close())
            }
        };
    };
}
