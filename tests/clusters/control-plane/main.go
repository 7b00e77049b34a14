// Command control-plane holds etcd, kube-apiserver, kube-controller-manager and kube-scheduler in one program,
// so that tests meet a real control plane without containers and with one link step.
//
//	control-plane [--ends-with-stdin] etcd|kube-apiserver|kube-controller-manager|kube-scheduler FLAGS...
//	control-plane [--ends-with-stdin] run PROGRAM ARGUMENTS...
//
// With --ends-with-stdin the process ends when its standard input does. A test that holds the other end of that
// pipe takes its control plane with it however it dies, by SIGKILL too.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// endsWithStdin is the flag that ties the life of this process to its standard input.
const endsWithStdin = "--ends-with-stdin"

func main() {
	arguments := os.Args[1:]
	background := context.Background()
	if len(arguments) > 0 && arguments[0] == endsWithStdin {
		arguments = arguments[1:]
		ended, end := context.WithCancel(background)
		background = ended
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			end()
		}()
	}
	if len(arguments) == 0 {
		fail("name a part: etcd, kube-apiserver, kube-controller-manager, kube-scheduler or run")
	}
	if arguments[0] == "run" {
		os.Exit(run(background, arguments[1:]))
	}
	go func() {
		if background.Done() != nil {
			<-background.Done()
			os.Exit(0)
		}
	}()
	os.Args = arguments
	switch arguments[0] {
	case "etcd":
		etcdmain.Main(arguments)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(manager.NewControllerManagerCommand()))
	case "kube-scheduler":
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
	default:
		fail("no part is called " + arguments[0])
	}
}

// run starts a program that knows nothing of --ends-with-stdin and kills it when the context ends. The child is
// killed by the kernel when this process dies first.
func run(ctx context.Context, arguments []string) int {
	if len(arguments) == 0 {
		fail("run needs a program")
	}
	child := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := child.Run(); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "control-plane:", err)
		return 1
	}
	return 0
}

func init() {
	// Pdeathsig is tied to the thread that starts the child: the main thread lives as long as the process.
	runtime.LockOSThread()
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, "control-plane:", why)
	os.Exit(2)
}
