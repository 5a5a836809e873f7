#!/usr/bin/env bash
# Could this checkout be released? Version and changelog agree, wheel and sdist can be built and hold all that the demo
# needs, and a package index can render the long description. CONTRIBUTING.md lists what else a release takes.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

fail() {
    echo "release-check: $1" >&2
    exit 1
}

version=$("$python" -c 'import eap_plugin; print(eap_plugin.__version__)')
heading=$(grep -m1 '^## ' CHANGELOG.md)
case $heading in
    "## [$version] - "20[0-9][0-9]-[0-9][0-9]-[0-9][0-9]) ;;
    "## [Unreleased]")
        grep -qxF "To be $version." CHANGELOG.md ||
            fail "CHANGELOG.md does not say under [Unreleased] that it is to be $version, the version in eap_plugin"
        ;;
    *) fail "CHANGELOG.md begins with '$heading'; expected '## [$version] - DATE' or '## [Unreleased]'" ;;
esac
grep -qx "version: $version" CITATION.cff || fail "CITATION.cff does not give version $version"
echo "eap-plugin $version, in the changelog under '${heading#\#\# }'"

rm -rf dist
"$python" -m hatchling build --directory dist
"$python" -m twine --no-color check --strict dist/*

for file in dist/*; do
    # A fresh environment, which borrows the dependencies of .venv; what is installed in both is its own.
    venv=$folder/${file##*.}
    "$python" -m venv --without-pip "$venv"
    "$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$(echo "$venv"/lib/python3*/site-packages)/lent.pth"
    "$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation --ignore-installed "$file"
    (
        cd "$venv"
        bin/python -c "import eap_plugin, sys; sys.exit(not eap_plugin.__file__.startswith('$venv'))" ||
            fail "$file was installed, but another eap_plugin is imported"
        bin/eap plugins --all
        bin/eap demo --json >/dev/null
    )
    echo "the demo runs from $file"
done
