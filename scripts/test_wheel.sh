#!/usr/bin/env bash
# Build the wheel, and run the demo from it to check that it contains everything the package needs.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

rm -rf dist
"$python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
"$python" -m pip install --quiet --no-deps --target "$folder" dist/eap_plugin-*.whl
cd "$folder"
export PYTHONPATH=$folder
"$python" -c "import eap_plugin, sys; sys.exit(not eap_plugin.__file__.startswith('$folder'))"
"$python" -m eap_plugin plugins --all
"$python" -m eap_plugin demo --json >/dev/null
echo "the demo runs from the wheel"
