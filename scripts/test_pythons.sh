#!/usr/bin/env bash
# On each supported Python found here: compile every file, and run the tests that need no PyTorch.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_CONSTRAINT=$PWD/constraints/main.txt PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONPYCACHEPREFIX=$folder/cache

for version in 3.10 3.11 3.12 3.13; do
    python=
    for candidate in "python$version" "$HOME/.pyenv/versions/$version".*/bin/python; do
        if "$candidate" -c '' 2>/dev/null; then python=$candidate && break; fi
    done
    if [[ -z $python ]]; then echo "Python $version: not found" && continue; fi
    echo "Python $version"
    "$python" -m compileall -q eap_plugin tests scripts benchmarks examples
    "$python" -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet click hypothesis pluggy pytest rich
    "$folder/$version/bin/python" -m pip install --quiet --no-deps .
    (cd "$folder" && "$version/bin/python" -m pytest --noconftest -p no:cacheprovider \
        --rootdir "$OLDPWD" "$OLDPWD"/tests/host)
    "$folder/$version/bin/eap" --help >/dev/null
done
