package main

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/sdk/abi"
)

// helpTexts are what "help TOPIC" prints: one file a topic, Markdown for those
// who read them in the repository.
//
//go:embed help/*.md
var helpTexts embed.FS

// helpTopics returns a command for each topic. They run nothing, so they are
// listed as topics and answer to "help" alone.
func (a *app) helpTopics() []*cobra.Command {
	texts := map[string]string{"abi": abi.Document}
	files, _ := fs.Glob(helpTexts, "help/*.md") // the pattern is well-formed
	for _, file := range files {
		text, err := helpTexts.ReadFile(file)
		if err != nil {
			continue // it is embedded
		}
		texts[strings.TrimSuffix(path.Base(file), ".md")] = string(text)
	}
	topics := make([]*cobra.Command, 0, len(texts))
	for _, name := range sortedKeys(texts) {
		title, _, _ := strings.Cut(strings.TrimPrefix(texts[name], "# "), "\n")
		text := texts[name]
		topic := &cobra.Command{Use: name, Short: title}
		topic.SetHelpFunc(func(*cobra.Command, []string) { a.printf("%s", plainText(text)) })
		topics = append(topics, topic)
	}
	return topics
}

// helpCmd shows the help of a verb or a topic; a name that is neither is an error.
func (a *app) helpCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "help [VERB|TOPIC]…",
		Short: "Help about a verb or a topic",
		Args:  cobra.ArbitraryArgs,
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			found, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return below(found), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			found, rest, err := c.Root().Find(args)
			if err != nil {
				return invalid("help: %w", err)
			}
			if len(rest) > 0 && found.HasSubCommands() {
				names := below(found)
				hint := "there are " + strings.Join(names, ", ")
				near := nearest(rest[0], names)
				if verbs := found.SuggestionsFor(rest[0]); near == "" && len(verbs) > 0 {
					near = verbs[0]
				}
				if deep := deeper(found, rest[0]); len(deep) > 0 {
					near = strings.Join(deep, `" or "`)
				}
				if near != "" {
					hint = `did you mean "` + near + `"?`
				}
				within := ""
				if found.HasParent() {
					within = " in " + verbOf(found)
				}
				return invalid("help: there is no verb and no topic %q%s: %s", rest[0], within, hint)
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

// below lists the verbs and topics of a command.
func below(c *cobra.Command) []string {
	var names []string
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	return names
}

// deeper lists the verbs called name in the groups of a command, as they are typed.
func deeper(c *cobra.Command, name string) []string {
	var found []string
	for _, group := range c.Commands() {
		for _, sub := range group.Commands() {
			if sub.Name() == name && !sub.Hidden {
				found = append(found, sub.CommandPath())
			}
		}
	}
	return found
}

// helpWidth is how wide paragraphs are.
const helpWidth = 98

// plainText makes Markdown fit for a terminal: paragraphs are filled, tables
// aligned, code indented, and the marks that only a renderer needs are gone.
func plainText(markdown string) string {
	var out, paragraph strings.Builder
	indent := ""
	flush := func() {
		if paragraph.Len() > 0 {
			out.WriteString(indent + wrap(paragraph.String(), helpWidth-len(indent), strings.Repeat(" ", len(indent))) + "\n")
			paragraph.Reset()
		}
		indent = ""
	}
	lines := strings.Split(strings.TrimRight(markdown, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case strings.HasPrefix(line, "```"):
			flush()
			for i++; i < len(lines) && !strings.HasPrefix(lines[i], "```"); i++ {
				out.WriteString("    " + lines[i] + "\n")
			}
		case strings.HasPrefix(line, "|"):
			flush()
			from := i
			for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "|") {
				i++
			}
			out.WriteString(plainTable(lines[from : i+1]))
		case strings.HasPrefix(line, "#"):
			flush()
			title := strings.TrimLeft(line, "# ")
			out.WriteString(title + "\n" + strings.Repeat("-", utf8.RuneCountInString(title)) + "\n")
		case line == "":
			flush()
			out.WriteByte('\n')
		default:
			if strings.HasPrefix(line, "- ") {
				flush()
				indent, line = "- ", line[2:]
			}
			paragraph.WriteString(plainLine(line) + " ")
		}
	}
	flush()
	return out.String()
}

var (
	// docLinks lead to the documentation of another ready-made plugin.
	docLinks = regexp.MustCompile(`\[([^]]+)\]\(\.\./([a-z]+)/README\.md[^)]*\)`)
	// ownLinks lead to a place of the same text, webLinks elsewhere.
	ownLinks = regexp.MustCompile(`\[([^]]+)\]\(#[^)]*\)`)
	webLinks = regexp.MustCompile(`\[([^]]+)\]\((https?://[^)]*)\)`)
)

// plainLine takes the marks out of a line.
func plainLine(line string) string {
	line = docLinks.ReplaceAllString(line, `$1 ("wasmill help builtins $2")`)
	line = ownLinks.ReplaceAllString(line, "$1")
	line = webLinks.ReplaceAllString(line, "$1 ($2)")
	parts := strings.Split(line, "`") // code is every second one
	for i := 0; i < len(parts); i += 2 {
		parts[i] = strings.ReplaceAll(parts[i], "**", "")
	}
	return strings.Join(parts, "`")
}

// plainTable aligns the rows of a table. Its second line only separates.
func plainTable(rows []string) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for i, row := range rows {
		if i == 1 {
			continue
		}
		row = strings.ReplaceAll(strings.Trim(plainLine(row), "| "), `\|`, "\x00")
		cells := strings.Split(row, "|")
		for k := range cells {
			cells[k] = strings.ReplaceAll(strings.TrimSpace(cells[k]), "\x00", "|")
		}
		fmt.Fprintln(w, "  "+strings.Join(cells, "\t"))
	}
	_ = w.Flush() // into memory
	return out.String()
}
