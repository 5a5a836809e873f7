#!/usr/bin/env bash
# Make a virtual environment with this package in it, every version pinned.
#
#     scripts/venv.sh FOLDER CONSTRAINTS EXTRAS [PACKAGE...]
#
# PYTHON names the interpreter (python3 if unset). A folder that is already there is brought up to date.
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

# In both variables, so that the build backend is pinned whatever pip's version.
export PIP_CONSTRAINT=$PWD/$constraints PIP_BUILD_CONSTRAINT=$PWD/$constraints
export PIP_DISABLE_PIP_VERSION_CHECK=1

echo "Setting up $folder (some minutes the first time)"
"$python" -m venv "$folder"
# PyTorch on its own, first: pip then takes a build for the CPU where it is given one.
"$folder/bin/python" -m pip install --quiet torch
"$folder/bin/python" -m pip install --quiet --editable ".[$extras]" "$@"
touch "$folder/.installed"
