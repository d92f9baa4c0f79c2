package config

// DeadLetters is the topic that every configuration has, and DeadLetterSubject
// what it stores.
const (
	DeadLetters       = "dead-letters"
	DeadLetterSubject = "wasmill.dead.>"
)
