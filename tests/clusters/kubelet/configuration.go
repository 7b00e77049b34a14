package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const containerdSocket = "/run/containerd/containerd.sock"

// restrict_oom_score_adj: without the right to lower it, runc would not start a container at all.
const containerdFile = `version = 2
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.opt",
]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "@PAUSE@"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "@SYSTEM@/usr/lib/cni"
    conf_dir = "@FOLDER@/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "@SYSTEM@/usr/sbin/runc"
`

const networkFile = `{
  "cniVersion": "0.4.0", "name": "pods", "plugins": [{
    "type": "bridge", "bridge": "pods0", "isDefaultGateway": true, "ipMasq": false,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "@PODS@"}]], "dataDir": "/run/pods"}
  }]
}
`

// Nothing is evicted or collected here: the disk is not the node's own.
const kubeletFile = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /@CGROUP@
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
serializeImagePulls: false
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 1Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0%}
containerRuntimeEndpoint: unix://@SOCKET@
clusterDNS: ["@DNS@"]
clusterDomain: cluster.local
resolvConf: @FOLDER@/resolv.conf
`

// writeConfiguration fills the files in.
func writeConfiguration(s settings) error {
	fill := strings.NewReplacer("@PAUSE@", s.pause, "@SYSTEM@", s.system, "@FOLDER@", s.folder, "@PODS@", s.pods(),
		"@CGROUP@", s.cgroup(), "@SOCKET@", containerdSocket, "@DNS@", s.dns())
	for name, text := range map[string]string{
		"containerd.toml": containerdFile, "cni/pods.conflist": networkFile, "kubelet.yaml": kubeletFile,
		"resolv.conf": "nameserver @DNS@\n",
	} {
		path := s.path(name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(fill.Replace(text)), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}
