package main

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
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
			paragraph.WriteString(strings.ReplaceAll(line, "**", "") + " ")
		}
	}
	flush()
	return out.String()
}

// plainTable aligns the rows of a table. Its second line only separates.
func plainTable(rows []string) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for i, row := range rows {
		if i == 1 {
			continue
		}
		row = strings.ReplaceAll(strings.Trim(row, "| "), `\|`, "\x00")
		cells := strings.Split(row, "|")
		for k := range cells {
			cells[k] = strings.ReplaceAll(strings.TrimSpace(cells[k]), "\x00", "|")
		}
		fmt.Fprintln(w, "  "+strings.Join(cells, "\t"))
	}
	_ = w.Flush() // into memory
	return out.String()
}
