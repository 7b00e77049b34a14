// Command kubelet is a real node for the tests: the kubelet itself, and the namespaces in which it and its containerd live.
//
//	kubelet [--ends-with-stdin] node FLAGS...   a node in namespaces of its own; see node.go
//	kubelet inside FLAGS...                     its first process, started by the one above; see inside.go
//	kubelet kubelet FLAGS...                    the unchanged kubelet, started by that one
//
// Everything that a node makes belongs to those namespaces: its processes, mounts, bridge and pods end with the first
// process, and that one is killed by the kernel when the outer one dies. Only cgroups stay, and are removed by the outer
// process or, where it was killed, by the next node.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// endsWithStdin is the flag that ties the life of this process to its standard input.
const endsWithStdin = "--ends-with-stdin"

func main() {
	arguments := os.Args[1:]
	ctx, end := context.WithCancel(context.Background())
	defer end()
	if len(arguments) > 0 && arguments[0] == endsWithStdin {
		arguments = arguments[1:]
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			end()
		}()
	}
	if len(arguments) == 0 {
		fail(fmt.Errorf("name a part: node, inside or kubelet"))
	}
	switch os.Args = arguments; arguments[0] {
	case "node":
		check(runNode(ctx, arguments[1:]))
	case "inside":
		check(runInside(arguments[1:]))
	case "kubelet":
		os.Exit(cli.Run(kubelet.NewKubeletCommand(ctx)))
	default:
		fail(fmt.Errorf("no part is called %s", arguments[0]))
	}
}

func init() {
	// The signal at a parent's death is tied to the thread that started the child: the main thread lives as long as the
	// process.
	runtime.LockOSThread()
}

func check(err error) {
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "kubelet:", err)
	os.Exit(2)
}
