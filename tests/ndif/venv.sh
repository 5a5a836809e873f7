#!/usr/bin/env bash
# Make .venv-ndif: an NDIF server, and what its client needs; install redis-server where this may be done.
#
# This package itself goes into .venv-ndif/client, which only clients have on their path (after the checkout): a server
# knows nothing of it. PYTHON names the interpreter (python3 if unset).
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=.venv-ndif
export PIP_CONSTRAINT=$PWD/constraints/ndif.txt PIP_BUILD_CONSTRAINT=$PWD/constraints/ndif.txt
export PIP_DISABLE_PIP_VERSION_CHECK=1

if ! command -v redis-server >/dev/null; then
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        echo "redis-server was not found; as root: apt-get install redis-server" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq --no-install-recommends redis-server >/dev/null
fi

echo "Setting up $folder (some minutes the first time)"
"${PYTHON:-python3}" -m venv "$folder"
pip() { "$folder/bin/python" -m pip "$@"; }
# PyTorch on its own, first: pip then takes a build for the CPU where it is given one.
pip install --quiet torch
# The list is complete, so that nothing is to be resolved. ndif asks for Python 3.12, and works with 3.11.
pip install --quiet --no-deps --ignore-requires-python --requirement constraints/ndif.txt
pip install --quiet --no-deps --no-build-isolation --upgrade --target "$folder/client" --editable .
touch "$folder/.installed"
