#!/usr/bin/env bash
# Adds up the results of all test binaries in a log of `cargo test`. The last line is the sum.
set -euo pipefail
awk '/^test result:/ { for (i = 1; i < NF; i++) {
       if ($(i + 1) ~ /^passed/) passed += $i
       if ($(i + 1) ~ /^failed/) failed += $i
       if ($(i + 1) ~ /^ignored/) ignored += $i } }
     END {
       if (ignored) printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored
       else printf "%d passed, %d failed\n", passed, failed
       exit passed + failed == 0 }' "$1"
