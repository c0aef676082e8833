//go:build tools

// Package tools names the DNS server of the test clusters, so that go.mod and go.sum cover what it is built from.
package tools

import _ "github.com/coredns/coredns"
