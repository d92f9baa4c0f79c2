//! One instance behind the ABI. The exports, or natively `testing`, only find the bytes.

use core::cell::UnsafeCell;

use crate::buffer::Buffer;
use crate::event::{Batch, Event};
use crate::instance::{Instance, Outputs};
use crate::log::report;
use crate::out::Out;
use crate::outcome::{Error, Result};
use crate::response::{Response, NO_SOURCE};

/// A plugin with state or a configuration. Register it with
/// [`plugin!`](crate::plugin).
pub trait Plugin: Sized {
    /// Makes a new instance; called once, before its first event. An error refuses
    /// the instance, and with it the configuration that wanted it.
    fn open(instance: &Instance<'_>) -> Result<Self, Error>;

    /// Processes one event, see [`Outcome`] for what the result means. Events come
    /// one after the other, in order.
    fn process(&mut self, event: &Event<'_>, out: &mut Out<'_>) -> Result;

    /// Called when the instance ends: when the runtime stops, or when a reload
    /// replaces the plugin; not when it is thrown away after a fault. It may emit,
    /// but has no event to pass on.
    fn close(&mut self, out: &mut Out<'_>) -> Result<(), Error> {
        let _ = out;
        Ok(())
    }
}

/// The state of an instance.
pub struct Guest<P> {
    plugin: Option<P>,
    preset: bool, // the plugin was there before open
    closed: bool,
    input: Buffer,
    response: Response,
    outputs: Outputs,
}

const FAILED: i32 = -28; // EINVAL; the cause is on stderr
const NO_MEMORY: i32 = -48; // ENOMEM

impl<P: Plugin> Guest<P> {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Guest {
            plugin: None,
            preset: false,
            closed: false,
            input: Buffer::new(),
            response: Response::new(),
            outputs: Outputs::new(),
        }
    }

    /// A guest whose plugin is there before it is opened.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn with(plugin: P) -> Self {
        Guest { plugin: Some(plugin), preset: true, ..Guest::new() }
    }

    /// Makes room for the host's bytes; null when there is none.
    pub fn buffer(&mut self, size: i32) -> *mut u8 {
        match usize::try_from(size) {
            Ok(n) => self.input.resize(n),
            Err(_) => core::ptr::null_mut(),
        }
    }

    /// Opens the instance that the document in the input buffer describes.
    pub fn open(&mut self, at: *const u8, len: usize) -> i32 {
        match self.try_open(at, len) {
            Ok(()) => 0,
            Err(e) => {
                report(e);
                FAILED
            }
        }
    }

    fn try_open(&mut self, at: *const u8, len: usize) -> Result<(), Error> {
        let document = received(&self.input, at, len)?;
        let instance = Instance::read(document)?;
        if self.closed {
            return Err(Error::new("the instance is closed"));
        }
        self.outputs.keep(&instance);
        if !self.preset {
            self.plugin = Some(P::open(&instance)?);
        }
        Ok(())
    }

    /// Runs the plugin on the batch in the input buffer.
    pub fn process(&mut self, at: *const u8, len: usize) -> Result<&[u8], i32> {
        if self.plugin.is_none() && !self.closed {
            // wasmill_open is optional for a host that has nothing to say in it.
            if let Err(e) = Instance::read(&[]).and_then(|i| P::open(&i)).map(|p| self.plugin = Some(p)) {
                report(e);
                return Err(FAILED);
            }
        }
        let Guest { plugin, input, response, outputs, .. } = self;
        let plugin = match plugin {
            Some(plugin) => plugin,
            None => {
                report("the instance is closed");
                return Err(FAILED);
            }
        };
        response.reset();
        if let Err(e) = received(input, at, len).and_then(|frame| run(plugin, frame, response, outputs)) {
            report(e);
            return Err(FAILED);
        }
        finish(response)
    }

    /// Ends the instance; the response holds what it emitted.
    pub fn close(&mut self) -> Result<&[u8], i32> {
        self.closed = true;
        self.response.reset();
        if let Some(mut plugin) = self.plugin.take() {
            let mut out = Out::new(&mut self.response, &self.outputs, NO_SOURCE);
            if let Err(e) = plugin.close(&mut out) {
                report(e);
                return Err(FAILED);
            }
        }
        finish(&mut self.response)
    }
}

/// Hands the events of a batch to the plugin.
fn run<P: Plugin>(plugin: &mut P, frame: &[u8], response: &mut Response, outputs: &Outputs) -> Result<(), Error> {
    let mut batch = Batch::read(frame).map_err(Error::new)?;
    let mut index = 0;
    while let Some(event) = batch.next().map_err(Error::new)? {
        let mark = response.mark();
        if let Err(outcome) = plugin.process(&event, &mut Out::new(response, outputs, index)) {
            response.rollback(mark);
            response.outcome(index, outcome.code as u8, outcome.delay_ms(), &outcome.reason);
        }
        index += 1;
    }
    Ok(())
}

/// Returns the bytes that the host handed over, which must begin the input buffer.
fn received(input: &Buffer, at: *const u8, len: usize) -> Result<&[u8], Error> {
    if len == 0 {
        return Ok(&[]);
    }
    match input.as_slice().get(..len) {
        Some(bytes) if bytes.as_ptr() == at => Ok(bytes),
        _ => Err(Error::new("the host handed over bytes that are not in the buffer of wasmill_buffer")),
    }
}

fn finish(response: &mut Response) -> Result<&[u8], i32> {
    match response.finish() {
        Some(bytes) => Ok(bytes),
        None => {
            report("out of memory: the response does not fit");
            Err(NO_MEMORY)
        }
    }
}

/// Where the one instance of a module lives.
pub struct Module<P>(UnsafeCell<Guest<P>>);

// SAFETY: only the exports of a guest reach it, which has one thread and which
// the host calls one after the other.
unsafe impl<P> Sync for Module<P> {}

impl<P: Plugin> Module<P> {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Module(UnsafeCell::new(Guest::new()))
    }

    /// # Safety
    /// No other reference that it returned is alive.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn guest(&self) -> &mut Guest<P> {
        &mut *self.0.get()
    }
}

/// Packs what wasmill_process and wasmill_close return.
pub fn packed(response: Result<&[u8], i32>) -> i64 {
    match response {
        Ok(bytes) => (bytes.as_ptr() as i64) << 32 | bytes.len() as i64,
        Err(code) => i64::from(code),
    }
}

/// Has a panic say on stderr what and where, before it traps.
#[cfg(all(feature = "std", target_arch = "wasm32"))]
pub fn hook_panics() {
    std::panic::set_hook(std::boxed::Box::new(|info| {
        let what = info.payload();
        let text = match (what.downcast_ref::<&str>(), what.downcast_ref::<std::string::String>()) {
            (Some(text), _) => text,
            (_, Some(text)) => text.as_str(),
            _ => "(a value without text)",
        };
        match info.location() {
            Some(at) => report(format_args!("panic: {}; at {}:{}", text, at.file(), at.line())),
            None => report(format_args!("panic: {}", text)),
        }
    }));
}

#[cfg(all(not(feature = "std"), target_arch = "wasm32"))]
pub fn hook_panics() {}

#[cfg(all(not(feature = "std"), target_arch = "wasm32"))]
#[panic_handler]
fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    report(info);
    core::arch::wasm32::unreachable()
}
