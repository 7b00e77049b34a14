package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

// containerdMax is how long containerd may take until it answers.
const containerdMax = time.Minute

// runInside is the first process of the node's namespaces: it prepares them, starts containerd and the kubelet, and
// collects whatever loses its parent. It ends, and everything with it, when one of the two does.
func runInside(arguments []string) error {
	s, err := parse(arguments)
	if err != nil {
		return err
	}
	if _, err := os.NewFile(3, "begin").Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("wait for the link: %w", err)
	}
	if err := prepareMounts(s); err != nil {
		return err
	}
	if err := prepareNetwork(s); err != nil {
		return err
	}
	if err := writeConfiguration(s); err != nil {
		return err
	}
	programs := filepath.Join(s.system, "usr/bin")
	path := "PATH=" + programs + ":" + filepath.Join(s.system, "usr/sbin") + ":/usr/sbin:/usr/bin:/sbin:/bin"
	environment := []string{path, "HOME=/"}
	containerd, err := start(s, "containerd", environment, filepath.Join(programs, "containerd"), "--config", s.path("containerd.toml"))
	if err != nil {
		return err
	}
	if err := waitFor(containerdSocket); err != nil {
		return err
	}
	kubelet, err := start(s, "kubelet", environment, "/proc/self/exe", "kubelet",
		"--kubeconfig="+s.path("kubeconfig"), "--config="+s.path("kubelet.yaml"),
		"--hostname-override="+s.name, "--node-ip="+s.node())
	if err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("wait for processes: %w", err)
		case pid == containerd:
			return fmt.Errorf("containerd ended with %d", status.ExitStatus())
		case pid == kubelet:
			return fmt.Errorf("the kubelet ended with %d", status.ExitStatus())
		}
	}
}

// prepareMounts puts folders of our own where containerd and kubelet expect theirs. Nothing of it is seen outside.
func prepareMounts(s settings) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts apart: %w", err)
	}
	for name, place := range map[string]string{"run": "/run", "lib": "/var/lib", "log": "/var/log"} {
		if err := os.MkdirAll(s.path(name), 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(s.path(name), place, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", place, err)
		}
	}
	// Volumes of pods spread between the kubelet's view and the containers'.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

func prepareNetwork(s settings) error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: address(s.node(), s.link())}); err != nil {
		return err
	}
	for _, each := range []netlink.Link{loopback, link} {
		if err := netlink.LinkSetUp(each); err != nil {
			return err
		}
	}
	way := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(s.host())}
	if err := netlink.RouteAdd(way); err != nil {
		return fmt.Errorf("add the way out: %w", err)
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}

// start begins a process without os/exec: as the first process of its namespace this one collects every child itself.
func start(s settings, name string, environment []string, arguments ...string) (int, error) {
	log, err := os.OpenFile(s.path(name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	pid, err := syscall.ForkExec(arguments[0], arguments, &syscall.ProcAttr{
		Dir: s.folder, Env: environment, Files: []uintptr{0, log.Fd(), log.Fd()},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", name, err)
	}
	return pid, nil
}

func waitFor(socket string) error {
	deadline := time.Now().Add(containerdMax)
	for {
		connection, err := net.Dial("unix", socket)
		if err == nil {
			return connection.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("containerd does not answer: %w", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
