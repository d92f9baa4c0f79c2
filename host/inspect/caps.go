package inspect

import "fmt"

// Caps bound what a module may have. Zero values stand for the defaults.
//
// Two things set the defaults. What wazero does with a module grows faster than
// the module in some places: with the square of the blocks of a function, of
// their nesting, and of the values that live across them; and it allocates
// eight to a few hundred bytes for what takes one or two in the module. And
// what real modules have: the largest of Go's standard library, of C and Rust
// stay below a third of each default.
//
// What passes them is compiled aside under limits of time and memory: the caps
// name an offender early and cheaply, they do not have to be exact.
type Caps struct {
	ModuleBytes int // 64 MiB: it is read whole

	Types      int // 10,000: each has a trampoline in every runtime
	TypeValues int // 255, parameters and results of a type: each block or call of the type costs wazero as many values
	TypesTotal int // 200,000 values in all types: wazero takes 8 bytes for each and a name

	Imports      int // 1,000: the host offers some dozens
	Functions    int // 120,000 with the imported ones: each costs an entry, a name and at least 16 bytes of machine code
	Tables       int // 8: a table may grow to a million entries
	TableEntries int // 1,000,000, sum of the tables' minima: 8 bytes each in every instance
	Globals      int // 20,000: each is an object of its own in every instance
	Exports      int // 20,000
	Segments     int // 110,000 element or data segments each: Go's linker makes up to 100,000
	ElementItems int // 200,000 in all segments: each is an expression that every instantiation evaluates
	DataBytes    int // 32 MiB in all segments: active ones are copied by every instantiation
	CustomCount  int // 256 custom sections
	CustomBytes  int // 32 MiB in all of them: they are hashed and passed over
	NameBytes    int // 4 KiB of the name of an import, export or section: they are printed and kept
	BodyBytes    int // 1 MiB of one function: compiling takes up to 600 times that
	CodeBytes    int // 48 MiB of all functions: machine code is up to 20 times as large
	Locals       int // 10,000 of one function, with the parameters
	LocalsTotal  int // 2,000,000 of all functions: wazero keeps 8 bytes for each, whatever the module takes to say so
	Depth        int // 4,096 nested blocks: compiling nests them again; Go nests one for each call in a function
	Blocks       int // 16,384 blocks and conditional branches of one function: compiling takes time with their square
	LiveLocals   int // 2,000,000 locals times blocks of one function: each block may carry every local
	Labels       int // 32,768 of one br_table
	LabelsTotal  int // 2,000,000 of all br_tables
	Values       int // 250,000 values that calls, blocks and branches of one function move: a call of three bytes may move hundreds
	ValuesTotal  int // 16,000,000 of all functions
	MemoryPages  int // 32,767 of 64 KiB, the minimum of a memory: the ABI ends below 2 GiB; the plugin's own limit is stricter
}

// DefaultCaps returns what stands for the zero values.
func DefaultCaps() Caps { return Caps{}.withDefaults() }

func (c Caps) withDefaults() Caps {
	for _, d := range []struct {
		v         *int
		otherwise int
	}{
		{&c.ModuleBytes, 64 << 20},
		{&c.Types, 10_000},
		{&c.TypeValues, 255},
		{&c.TypesTotal, 200_000},
		{&c.Imports, 1_000},
		{&c.Functions, 120_000},
		{&c.Tables, 8},
		{&c.TableEntries, 1_000_000},
		{&c.Globals, 20_000},
		{&c.Exports, 20_000},
		{&c.Segments, 110_000},
		{&c.ElementItems, 200_000},
		{&c.DataBytes, 32 << 20},
		{&c.CustomCount, 256},
		{&c.CustomBytes, 32 << 20},
		{&c.NameBytes, 4 << 10},
		{&c.BodyBytes, 1 << 20},
		{&c.CodeBytes, 48 << 20},
		{&c.Locals, 10_000},
		{&c.LocalsTotal, 2_000_000},
		{&c.Depth, 4_096},
		{&c.Blocks, 16_384},
		{&c.LiveLocals, 2_000_000},
		{&c.Labels, 32_768},
		{&c.LabelsTotal, 2_000_000},
		{&c.Values, 250_000},
		{&c.ValuesTotal, 16_000_000},
		{&c.MemoryPages, 32_767},
	} {
		if *d.v <= 0 {
			*d.v = d.otherwise
		}
	}
	return c
}

// capRule is one cap in words.
type capRule struct{ rule, unit, advice string }

const (
	smaller   = "make the plugin smaller, or split it"
	noDebug   = "build without debug information (Go -ldflags='-s -w', clang -s, Rust -C strip=symbols)"
	splitFunc = "split the function, or move what it holds into data that is read at start"
	fewer     = "compile it with optimization, or split the function"
)

var (
	capModule      = capRule{"size of the module", "bytes", noDebug}
	capTypes       = capRule{"function types", "types", smaller}
	capTypeValues  = capRule{"parameters and results of a type", "values", "pass a structure in memory"}
	capTypesTotal  = capRule{"parameters and results of all types", "values", smaller}
	capImports     = capRule{"imports", "imports", "a plugin needs only those of the host"}
	capFunctions   = capRule{"functions", "functions", smaller}
	capTables      = capRule{"tables", "tables", "merge them"}
	capEntries     = capRule{"entries of all tables at the start", "entries", "let the table grow when it must"}
	capGlobals     = capRule{"globals", "globals", "keep variables in memory"}
	capExports     = capRule{"exports", "exports", "export only what the host calls (no --export-all)"}
	capElements    = capRule{"element segments", "segments", smaller}
	capItems       = capRule{"entries of all element segments", "entries", smaller}
	capSegments    = capRule{"data segments", "segments", smaller}
	capData        = capRule{"data of all segments", "bytes", "let the plugin get large tables by its configuration or with events"}
	capCustoms     = capRule{"custom sections", "sections", noDebug}
	capCustomBytes = capRule{"custom sections together", "bytes", noDebug}
	capName        = capRule{"length of a name", "bytes", "shorten it"}
	capBody        = capRule{"size of a function", "bytes", splitFunc}
	capCode        = capRule{"code of all functions", "bytes", smaller}
	capLocals      = capRule{"locals of a function", "locals", fewer}
	capLocalsTotal = capRule{"locals of all functions", "locals", fewer}
	capDepth       = capRule{"nesting of blocks", "blocks", splitFunc + " (Go nests a block for each call in a function)"}
	capBlocks      = capRule{"blocks and branches of a function", "blocks", splitFunc}
	capLive        = capRule{"locals times blocks of a function", "pairs", splitFunc}
	capLabels      = capRule{"labels of a br_table", "labels", splitFunc}
	capLabelsTotal = capRule{"labels of all br_tables", "labels", smaller}
	capValues      = capRule{"values that calls and branches of a function move", "values", splitFunc}
	capValuesTotal = capRule{"values that calls and branches of all functions move", "values", smaller}
	capMemory      = capRule{"pages of memory at the start", "pages", "let the memory grow when it must"}
)

// over records an error if n is more than the cap allows.
func (r *reader) over(c capRule, at int, n uint64, most int) bool {
	if n <= uint64(most) || r.err != nil {
		return r.err != nil
	}
	r.set(c.error(at, n, most))
	return true
}

func (c capRule) error(at int, n uint64, most int) *Error {
	return &Error{Kind: TooLarge, Rule: c.rule, Index: -1, Offset: at, Message: fmt.Sprintf(
		"%s: %d %s, at most %d are allowed; %s", c.rule, n, c.unit, most, c.advice)}
}
