// Command part is what the containers of the tests run, pod sandboxes among them.
//
//	part                waits until it is told to end
//	part fail MESSAGE   says MESSAGE and ends with 3
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "fail" {
		fmt.Fprintln(os.Stderr, os.Args[2])
		os.Exit(3)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	<-ended
}
