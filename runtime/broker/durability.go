package broker

// Modes of Config.Durability.
const (
	DurabilityOS    = "os"    // write(2) before the acknowledgement, fsync every syncInterval
	DurabilityFsync = "fsync" // fsync before the acknowledgement
	DurabilityAsync = "async" // the acknowledgement does not wait for write(2)
)

// lossWindow says for each durability of the embedded server what may be lost
// of what was confirmed. It is what the start, status and the API say.
var lossWindow = map[string]string{
	DurabilityOS: "a crash or kill of the process loses nothing that was confirmed; " +
		"a power loss or kernel crash may lose the last 2 minutes",
	DurabilityFsync: "nothing that was confirmed is lost, neither by a crash of the process nor by a power loss, " +
		"as far as the disk honours fsync",
	DurabilityAsync: "a crash or kill of the process may lose what was confirmed in the last few milliseconds; " +
		"a power loss or kernel crash may lose the last 2 minutes",
}

const lossExternal = "as the external NATS server and the replicas of each topic are set up"
