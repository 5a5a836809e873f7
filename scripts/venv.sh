#!/usr/bin/env bash
# Make a virtual environment with this package, and every version pinned.
#
#     scripts/venv.sh FOLDER CONSTRAINTS EXTRAS [PACKAGE...]
#
# PYTHON names the interpreter (python3 if unset). An existing folder is brought up to date.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1 constraints=$2 extras=$3
shift 3
python=${PYTHON:-python3}

"$python" - <<'PY' || exit 1
import sys
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.exit(f"Python 3.10 to 3.13 is needed, {sys.executable} is {sys.version.split()[0]}; set PYTHON to another")
PY

# Both variables are set so that the build backend is pinned with every version of pip.
export PIP_CONSTRAINT=$PWD/$constraints PIP_BUILD_CONSTRAINT=$PWD/$constraints
export PIP_DISABLE_PIP_VERSION_CHECK=1

echo "Setting up $folder (takes a few minutes the first time)"
"$python" -m venv "$folder"
# PyTorch first and on its own, so that pip takes a CPU build if it is offered one.
"$folder/bin/python" -m pip install --quiet torch
"$folder/bin/python" -m pip install --quiet --editable ".[$extras]" "$@"
touch "$folder/.installed"
