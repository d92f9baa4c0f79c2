//go:build !wasip1

package sdk

import "embed"

// Source is this package and those under it that a plugin's module needs, by
// their paths below sdk, without tests. The scaffold writes it beside a new
// plugin, so that the plugin builds offline.
//
//go:embed config.go event.go guest.go log.go metric.go native.go out.go outcome.go sdk.go source.go text.go wasm.go
//go:embed abi/ABI.md abi/abi.go abi/batch.go abi/document.go abi/header.go abi/le.go abi/le_wasm.go abi/response.go abi/writer.go
//go:embed jsonptr/jsonptr.go jsonptr/load.go jsonptr/load_wasm.go jsonptr/scan.go jsonptr/value.go
//go:embed sdktest/result.go sdktest/sdktest.go
var Source embed.FS
