// Package host loads untrusted WebAssembly modules and calls them.
//
// A Host owns what all plugins share: the compile cache. Load turns a module
// into a Generation: one loaded version of a plugin with its own wazero Runtime,
// which is closed whole when the generation retires. A Generation makes
// Instances, one for each (stage, partition); an Instance takes one batch a call
// and survives every fault of its guest by starting a fresh one.
//
// Two invariants are upheld here and named in the code. A4: a plugin can never
// stop, slow beyond its share, crash or starve the process or another plugin.
// A6: nothing a guest returns is trusted: every pointer, length, count and
// subject is checked before it is used. (Subjects are checked by the pipeline,
// which knows where an output may go.)
//
// What a guest gets: linear memory up to its limit; its standard output and
// error, line by line, in the log; a monotonic clock; pseudo-random numbers
// that are the same in every run. No files, arguments, environment, network or
// threads. The real clock, real randomness and secrets come only under grants.
package host
