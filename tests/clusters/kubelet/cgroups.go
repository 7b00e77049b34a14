package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	cgroupFolder = "/sys/fs/cgroup"
	cgroupPrefix = "taffrail-node-"
	// A killed process leaves its cgroup a moment later.
	removalMax = 10 * time.Second
)

// hierarchies are the roots of cgroups: one where the machine has version 2; with version 1 one for each controller, and
// the one without controllers that systemd has beside them.
func hierarchies() []string {
	if _, err := os.Stat(filepath.Join(cgroupFolder, "cgroup.controllers")); err == nil {
		return []string{cgroupFolder}
	}
	found, _ := filepath.Glob(filepath.Join(cgroupFolder, "*", "cgroup.procs"))
	for index, file := range found {
		found[index] = filepath.Dir(file)
	}
	return found
}

func makeCgroups(name string) error {
	for _, root := range hierarchies() {
		folder := filepath.Join(root, name)
		if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		// A new group of this controller may use no processor until it is told which.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if value, err := os.ReadFile(filepath.Join(root, file)); err == nil {
				if err := os.WriteFile(filepath.Join(folder, file), value, 0o644); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// removeCgroups removes the innermost first; a folder can go once its processes have.
func removeCgroups(name string) {
	deadline := time.Now().Add(removalMax)
	for _, root := range hierarchies() {
		top := filepath.Join(root, name)
		for {
			var folders []string
			_ = filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
				if err == nil && entry.IsDir() {
					folders = append(folders, path)
				}
				return nil
			})
			for index := len(folders) - 1; index >= 0; index-- {
				_ = os.Remove(folders[index])
			}
			if _, err := os.Stat(top); errors.Is(err, fs.ErrNotExist) || time.Now().After(deadline) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// lock waits until no other node of this machine begins. Closing the file, or the end of the process, opens it again.
func lock() (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(os.TempDir(), cgroupPrefix+"lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of beginning nodes: %w", err)
	}
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, syscall.EINTR) {
			file.Close()
			return nil, fmt.Errorf("wait for other nodes to begin: %w", err)
		}
	}
}

// sweep removes the cgroups of nodes whose outer process was killed: those whose addresses are nobody's any more. The
// caller holds the lock.
func sweep() {
	for _, root := range hierarchies() {
		left, _ := filepath.Glob(filepath.Join(root, cgroupPrefix+"*"))
		for _, folder := range left {
			name := filepath.Base(folder)
			if !isHere(strings.TrimPrefix(name, cgroupPrefix) + ".1") {
				removeCgroups(name)
			}
		}
	}
}

func isHere(ip string) bool {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return true // not known: leave it
	}
	for _, address := range addresses {
		if known, ok := address.(*net.IPNet); ok && known.IP.String() == ip {
			return true
		}
	}
	return false
}
