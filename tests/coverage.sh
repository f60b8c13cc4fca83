#!/usr/bin/env bash
# Measures which lines the tests run. The report goes to target/coverage: html/index.html, lcov.info, cobertura.xml and
# summary.txt, whose last line has the totals.
#
#   coverage.sh [--features …]
#
#   TEST_THREADS   tests at once (default: number of processors)
#   COVERAGE_MIN   fail below this share of lines, in percent (default 0: report only)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo="${CARGO:-cargo}"
"$cargo" llvm-cov --version >/dev/null 2>&1 || "$cargo" install cargo-llvm-cov --version '~0.9' --locked

# The compiler's own LLVM tools, or the system's of the same version.
if ! find "$(rustc --print sysroot)" -name llvm-profdata -type f 2>/dev/null | grep . >/dev/null && ! rustup component add llvm-tools; then
  major="$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')"
  export LLVM_COV="${LLVM_COV:-$(command -v "llvm-cov-$major" || true)}" LLVM_PROFDATA="${LLVM_PROFDATA:-$(command -v "llvm-profdata-$major" || true)}"
  [ -n "$LLVM_COV" ] && [ -n "$LLVM_PROFDATA" ] || {
    echo "coverage: neither the component llvm-tools nor llvm-$major of the system is there; rustup component add llvm-tools, or apt-get install llvm-$major" >&2
    exit 1
  }
fi

mkdir -p target/coverage
"$cargo" llvm-cov --locked --no-report "$@" -- --test-threads="${TEST_THREADS:-$(nproc)}"
"$cargo" llvm-cov report --html --output-dir target/coverage
"$cargo" llvm-cov report --lcov --output-path target/coverage/lcov.info
"$cargo" llvm-cov report --cobertura --output-path target/coverage/cobertura.xml
"$cargo" llvm-cov report --summary-only --fail-under-lines "${COVERAGE_MIN:-0}" | tee target/coverage/summary.txt
