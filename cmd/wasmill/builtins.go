package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/plugins/builtin"
)

// builtinsTopic is the help topic about the ready-made plugins, with one for
// each of them below it: "help builtins", "help builtins filter".
func (a *app) builtinsTopic() *cobra.Command {
	var text strings.Builder
	text.WriteString("Ready-made plugins need no compiler: name one in the TOML file and configure it.\n\n" +
		"    [plugins.strong]\n" +
		"    builtin = \"filter\"\n" +
		"    [plugins.strong.config]\n" +
		"    where = 'payload.magnitude >= 4.5'\n")
	topic := &cobra.Command{Use: "builtins", Short: "About the ready-made plugins: filter, map, route …"}
	for _, name := range builtin.Names() {
		summary := builtin.Summary(name)
		text.WriteString("\n" + name + "\n    " + wrap(summary+".", 76, "    ") + "\n")
		doc, err := builtin.Doc(name)
		if err != nil {
			doc = err.Error()
		}
		one := &cobra.Command{Use: name, Short: summary, Long: strings.TrimSpace(doc)}
		one.SetHelpFunc(func(*cobra.Command, []string) { a.printf("%s", plainText(doc)) })
		topic.AddCommand(one)
	}
	text.WriteString("\n\"wasmill help builtins NAME\" has the configuration, the outcomes and examples.")
	topic.Long = text.String()
	topic.SetHelpFunc(func(c *cobra.Command, _ []string) { a.printf("%s\n", c.Long) })
	return topic
}

// wrap breaks text into lines of at most width characters.
func wrap(text string, width int, indent string) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		if i > 0 && column+1+len(word) > width {
			b.WriteString("\n" + indent)
			column = 0
		} else if i > 0 {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
