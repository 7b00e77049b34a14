# Whether a real node (kubelet, containerd) can run here: source it. `why_no_node` prints what is missing, in a few words,
# and nothing where all is there.
# shellcheck shell=bash

why_no_node() {
  if [ "$(id -u)" != 0 ]; then
    echo "root"
  elif ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "containerd, runc and the CNI plugins of Debian, by apt-get"
  elif ! command -v kubectl >/dev/null; then
    echo "kubectl, which comes with npm and Python 3"
  elif ! grep -qw overlay /proc/filesystems && ! modprobe overlay 2>/dev/null; then
    echo "overlayfs in the kernel"
  elif ! unshare --mount --pid --net --ipc --fork true 2>/dev/null; then
    echo "the right to make namespaces"
  elif ! [ -w /sys/fs/cgroup ]; then
    echo "cgroups that can be written"
  fi
}
