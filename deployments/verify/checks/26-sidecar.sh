# The sidecar manifests, played: both containers by runc in one network namespace, with a cable to one outside.
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"

name="sidecar manifests"
if quick; then skip "$name" run "not in the quick run"; exit 0; fi
if [ "$(id -u)" != 0 ]; then skip "$name" run "needs root, for namespaces"; exit 0; fi
for pair in runc:runc ip:iproute2 readelf:binutils redis-server:redis-server; do
  need_deb "${pair%%:*}" "${pair##*:}" || { skip "$name" run "${pair%%:*} is missing"; exit 0; }
done
need_pip yamllint yamllint==1.38.0 || { skip "$name" run "yamllint's YAML reader is missing"; exit 0; }
python="$(sed -n '1s/^#! *//p' "$(command -v yamllint)")"
if ! tests/parts/setup.sh >"$VERIFY_LOGS/parts.log" 2>&1; then skip "$name" run "tests/parts/setup.sh failed"; exit 0; fi

work="$(mktemp -d)"
chmod 0755 "$work"
pod="mcp-pod-$$" outside="mcp-out-$$"
clean() {
  ip netns delete "$pod" 2>/dev/null || true
  ip netns delete "$outside" 2>/dev/null || true
  rm -rf "$work"
}
trap clean EXIT

# The image's tree is 25-image.sh's business; here it is laid out from the same files, around any binary.
lay_out() {
  local program
  program="${PROXY_STATIC_BINARY:-$(binary)}"
  mkdir -p "$work/image/rootfs"
  cp -R deployments/docker/rootfs/. "$work/image/rootfs/"
  mkdir -p "$work/image/rootfs/"{usr/local/bin,run/mcp-proxy,proc,dev,lib,lib64}
  install -m 0755 "$program" "$work/image/rootfs/usr/local/bin/mcp-oidc-proxy"
  : >"$work/image/rootfs/etc/hosts"
  if readelf -l "$program" | grep INTERP >/dev/null; then
    # Not static: with the libraries of this machine.
    ldd "$program" | grep -oE '/lib[^ ]+' | while read -r library; do
      install -D -m 0755 "$(readlink -f "$library")" "$work/image/rootfs$library"
    done
  fi
  echo '{"config": {"User": "65532:65532", "Entrypoint": ["/usr/local/bin/mcp-oidc-proxy"], "Env": ["PATH=/usr/local/bin"]}}' >"$work/image/image.json"
}
lay_out

play() {
  ip netns delete "$pod" 2>/dev/null || true
  ip netns delete "$outside" 2>/dev/null || true
  ip netns add "$pod"
  ip netns add "$outside"
  ip link add eth0 netns "$outside" type veth peer name eth0 netns "$pod"
  nsenter --net="/run/netns/$outside" sh -c 'ip link set lo up; ip address add 192.0.2.1/24 dev eth0; ip link set eth0 up'
  nsenter --net="/run/netns/$pod" sh -c 'ip link set lo up; ip address add 192.0.2.2/24 dev eth0; ip link set eth0 up'
  nsenter --net="/run/netns/$outside" timeout 400 "$python" -B deployments/verify/container/sidecar.py "$1" "$work/image" "$pod"
}
for manifest in native classic; do
  proof "deployments/sidecar/$manifest.yaml" "played: probes, sign-in, tool call, end" play "deployments/sidecar/$manifest.yaml"
done
