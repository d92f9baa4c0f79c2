package sdk

import "github.com/wasmill/wasmill/sdk/abi"

// Level is the severity of a log line; the values are those of log/slog.
type Level int

// Levels of a log line.
const (
	LevelDebug Level = abi.LevelDebug
	LevelInfo  Level = abi.LevelInfo
	LevelWarn  Level = abi.LevelWarn
	LevelError Level = abi.LevelError
)

// Log writes a line to the runtime's log, which adds the plugin, the pipeline
// and the partition. fields are pairs of a name and a value, as in log/slog;
// they become " name=value" behind the message. The runtime limits how many
// lines a second it takes.
func Log(level Level, message string, fields ...any) {
	line := append(make([]byte, 0, 128), message...)
	for ; len(fields) >= 2; fields = fields[2:] {
		name, ok := fields[0].(string)
		if !ok {
			name = "!BADKEY"
		}
		line = appendField(line, name, fields[1])
	}
	if len(fields) == 1 {
		line = appendField(line, "!BADKEY", fields[0])
	}
	hostLog(level, line)
}

// Debug logs at LevelDebug.
func Debug(message string, fields ...any) { Log(LevelDebug, message, fields...) }

// Info logs at LevelInfo.
func Info(message string, fields ...any) { Log(LevelInfo, message, fields...) }

// Warn logs at LevelWarn.
func Warn(message string, fields ...any) { Log(LevelWarn, message, fields...) }

// Error logs at LevelError. It logs only: to fail an event, return an error.
func Error(message string, fields ...any) { Log(LevelError, message, fields...) }
