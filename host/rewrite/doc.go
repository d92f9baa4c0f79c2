// Package rewrite makes a module interruptible: it adds the checks with which a
// host can stop a guest at a deadline, the garbage collector can stop it to
// collect, and other goroutines get their turn (invariant A4). The inserted
// checks are the whole difference: a rewritten module computes what the
// original computes, trap for trap.
//
// # What is added
//
// Every instruction has a weight, about its time in units of a quarter of a
// nanosecond. A mutable i64 global, the fuel, is charged with the weight of
//
//   - a function, at its entry, if it calls or is not short;
//   - a loop's body, without the loops inside, at its header in each iteration;
//   - a bulk operation, by how much it moves, cut into pieces so that none runs
//     long.
//
// When the fuel is below zero the check calls the host's tick: a function
// () -> i64 that returns the fuel for the next while, or panics to end the call.
// Between two checks there is only straight-line code of bounded weight.
//
// A loop that calls nothing counts in a local instead, which is filled from the
// fuel in chunks: the local stays in a register, where a global is loaded and
// stored in each iteration.
//
// # How it is added
//
// No index shifts: types, tables, globals and functions are appended to their
// index spaces, out of reach of the module, whose indices inspect has checked.
// An imported tick would shift the functions; it is instead entry 0 of a table
// of its own, exported as [TickTable], which [Linker] fills. The start section
// becomes the export [Start], so that the start function, too, runs after the
// tick is there, under the host's deadline.
//
// A loop becomes
//
//	block $exit
//	  loop $again
//	    block $empty
//	      loop                      ;; the module's own
//	        (charge) (br_if $empty (below zero))
//	        …
//	      end                       ;; of the loop
//	      br $exit
//	    end                         ;; of $empty
//	    (refill)
//	    br $again
//	  end                           ;; of $again
//	end                             ;; of $exit
//
// rather than getting an if at its header, because the compiler lays blocks out
// in this order: with an if, each iteration would jump over the refill. A loop of
// a few instructions is unrolled besides, four iterations to one check, which
// then costs less than the jumps that unrolling saves.
package rewrite
