package main

import (
	"flag"
	"net"
	"path/filepath"
)

// settings is what a node is started with.
type settings struct {
	// folder holds the node's files; it has kubeconfig, and gets run, lib and log.
	folder string
	// name of the node.
	name string
	// block is the beginning of a /24 of addresses: .1 this machine, .2 the node, .64/26 its pods, .128/25 services.
	block string
	// api is where the API server listens on this machine.
	api string
	// system is the root below which containerd, runc and the CNI plugins were unpacked.
	system string
	// pause is the image of pod sandboxes.
	pause string
}

func parse(arguments []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("node", flag.ContinueOnError)
	flags.StringVar(&s.folder, "folder", "", "folder of the node's files")
	flags.StringVar(&s.name, "name", "", "name of the node")
	flags.StringVar(&s.block, "block", "", "first three numbers of its addresses")
	flags.StringVar(&s.api, "api", "", "address of the API server")
	flags.StringVar(&s.system, "system", "", "root of containerd, runc and the CNI plugins")
	flags.StringVar(&s.pause, "pause", "", "image of pod sandboxes")
	return s, flags.Parse(arguments)
}

func (s settings) path(name string) string { return filepath.Join(s.folder, name) }

func (s settings) host() string       { return s.block + ".1" }
func (s settings) node() string       { return s.block + ".2" }
func (s settings) link() int          { return 26 }
func (s settings) pods() string       { return s.block + ".64/26" }
func (s settings) kubernetes() string { return s.block + ".129" }
func (s settings) dns() string        { return s.block + ".130" }

// cgroup is the parent of everything that the node's containers use, in every hierarchy; unique as its addresses are.
func (s settings) cgroup() string { return cgroupPrefix + s.block }

func address(ip string, bits int) *net.IPNet {
	return &net.IPNet{IP: net.ParseIP(ip).To4(), Mask: net.CIDRMask(bits, 32)}
}
