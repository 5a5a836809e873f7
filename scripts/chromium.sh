#!/usr/bin/env bash
# Installs Debian's chromium, in which the viewer is tested, unless there is one.
set -euo pipefail

command -v chromium >/dev/null && exit
as_root=()
if [[ $(id -u) != 0 ]]; then
    command -v sudo >/dev/null || { echo "the viewer's tests need chromium on the PATH; install it" >&2; exit 1; }
    as_root=(sudo -n)
fi
if ! command -v apt-get >/dev/null || ! {
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends chromium
} >/dev/null; then
    echo "the viewer's tests need chromium on the PATH, which apt-get cannot install here; install it" >&2
    exit 1
fi
