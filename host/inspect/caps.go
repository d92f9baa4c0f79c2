package inspect

// Caps bound what a module may have. Zero values stand for the defaults.
type Caps struct {
	ModuleBytes int
	NameBytes   int
}

func (c Caps) withDefaults() Caps {
	set := func(v *int, otherwise int) {
		if *v <= 0 {
			*v = otherwise
		}
	}
	set(&c.ModuleBytes, 64<<20)
	set(&c.NameBytes, 64<<10)
	return c
}
