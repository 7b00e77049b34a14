package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/vishvananda/netlink"
)

// runNode is the outer process. It stays in the machine's namespaces, where it holds the node's link, forwards the
// address of the service "kubernetes" to the API server, and clears the cgroups away at the end.
func runNode(ctx context.Context, arguments []string) error {
	s, err := parse(arguments)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// A node that has its cgroups and not yet its address looks like one that was killed.
	begun, err := lock()
	if err != nil {
		return err
	}
	defer begun.Close()
	sweep()
	if err := makeCgroups(s.cgroup()); err != nil {
		return fmt.Errorf("make cgroups: %w", err)
	}
	defer removeCgroups(s.cgroup())
	begin, told, err := os.Pipe()
	if err != nil {
		return err
	}
	inside := exec.CommandContext(ctx, "/proc/self/exe", append([]string{"inside"}, arguments...)...)
	inside.Stdout, inside.Stderr = os.Stdout, os.Stderr
	inside.ExtraFiles = []*os.File{begin}
	inside.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := inside.Start(); err != nil {
		return fmt.Errorf("start a process in new namespaces: %w", err)
	}
	begin.Close()
	err = connect(s, inside.Process.Pid)
	if err == nil {
		_, err = told.Write([]byte{1})
	}
	if err != nil {
		_ = inside.Process.Kill()
		_ = inside.Wait()
		return fmt.Errorf("connect the node: %w", err)
	}
	begun.Close()
	if err := inside.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("the node ended: %w", err)
	}
	return nil
}

// connect makes a pair of interfaces, one end here and one in the node, and the way to its pods. They vanish with it.
func connect(s settings, pid int) error {
	name := fmt.Sprintf("tfn%d", os.Getpid())
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsPid(pid),
	}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("make a pair of interfaces: %w", err)
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, own := range []*net.IPNet{address(s.host(), s.link()), address(s.kubernetes(), 32)} {
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: own}); err != nil {
			return fmt.Errorf("add the address %s: %w", own, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	_, pods, err := net.ParseCIDR(s.pods())
	if err != nil {
		return err
	}
	way := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: pods, Gw: net.ParseIP(s.node())}
	if err := netlink.RouteAdd(way); err != nil {
		return fmt.Errorf("add the way to the pods: %w", err)
	}
	listener, err := net.Listen("tcp4", net.JoinHostPort(s.kubernetes(), "443"))
	if err != nil {
		return err
	}
	go forward(listener, s.api)
	return nil
}

// forward stands in for kube-proxy: what is sent to the service "kubernetes" goes to the API server.
func forward(listener net.Listener, to string) {
	for {
		from, err := listener.Accept()
		if err != nil {
			fail(fmt.Errorf("accept a connection to the API server: %w", err))
		}
		go func() {
			defer from.Close()
			server, err := net.Dial("tcp4", to)
			if err != nil {
				return // the API server is away; the client sees its connection end
			}
			defer server.Close()
			go func() {
				_, _ = io.Copy(server, from)
				_ = server.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(from, server)
		}()
	}
}
