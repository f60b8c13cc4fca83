# promtool, amtool and prometheus; sourced after lib.sh. The packages are unpacked, not installed, so that no service comes along.
# shellcheck shell=bash
monitoring_tools() {
  have promtool amtool prometheus || locked _monitoring_tools
  have promtool amtool prometheus
}
_monitoring_tools() {
  : "${cache:?}"
  local into="$cache/prometheus" tool
  have apt-get dpkg-deb || return 1
  mkdir -p "$into"
  (
    cd "$into"
    apt-get update -qq && apt-get download -qq prometheus prometheus-alertmanager
    for package in ./*.deb; do dpkg-deb -x "$package" .; done
    rm -f ./*.deb
  ) >>"$cache/apt.log" 2>&1 || return 1
  for tool in promtool amtool prometheus; do ln -sfn "$into/usr/bin/$tool" "$cache/bin/$tool"; done
}

# yaml_python: a Python that has PyYAML: the system's, else the one that came with yamllint.
yaml_python() {
  local each
  need_pip yamllint yamllint==1.38.0 || true
  for each in "$cache/venv-yamllint/bin/python" python3; do
    if "$each" -c 'import yaml' 2>/dev/null; then
      printf '%s\n' "$each"
      return
    fi
  done
  return 1
}
