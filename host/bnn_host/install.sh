#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs the build that lies beside this file on a PYNQ board, for all its users and without the internet. As root:
#
#   bash install.sh               again, to bring it up to date
#   bash install.sh --uninstall   takes it away, and the Python packages with the last build
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

fail() {
    echo "error: $*" >&2
    exit 1
}

# What PYNQ's login shells have: its Python environment, the board's name, the folder of the notebooks.
set +eu
# shellcheck disable=SC1090 # files of the board
for profile in /etc/profile.d/pynq_venv.sh /etc/profile.d/xrt_setup.sh /etc/profile.d/boardname.sh; do
    [ -r "$profile" ] && source "$profile"
done
set -eu
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
notebooks=${PYNQ_JUPYTER_NOTEBOOKS:-/home/xilinx/jupyter_notebooks}
manifest=$(echo "$here"/*/manifest.json)
[ -f "$manifest" ] || fail "$here must hold one build; copy the whole of the folder deploy again"
name=$(basename "$(dirname "$manifest")")
cd / # so that Python finds what is installed, and nothing that lies here

builds() { # prints the folder in which builds are installed
    python3 -c 'import bnn_host.builds; print(bnn_host.builds.__path__[0])'
}

install() {
    (cd "$here" && sha256sum --check --strict --quiet SHA256SUMS) || fail "a file is altered or missing; copy the folder deploy again"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "Python must be 3.10 or newer, as of PYNQ 3.0, not $(python3 -V)"
    python3 -c 'import numpy' 2>/dev/null || fail "numpy must be there for $(command -v python3), as on PYNQ's images"
    python3 -m pip install --quiet --no-deps --no-index --force-reinstall "$here"/bnn_hw-*.whl
    local installed
    installed=$(builds)
    rm -rf "${installed:?}/$name"
    cp -r "$here/$name" "$installed/$name"
    mkdir -p "$notebooks/bnn_hw"
    # What was changed there stays as $name.ipynb.~1~.
    cmp --silent "$here/$name.ipynb" "$notebooks/bnn_hw/$name.ipynb" ||
        cp --backup=numbered "$here/$name.ipynb" "$notebooks/bnn_hw/"
    chown -R --reference="$notebooks" "$notebooks/bnn_hw"
    python3 -c 'import pynq' 2>/dev/null || echo "note: $(command -v python3) has no pynq, which drives the board"
    echo "installed $name in $installed, its notebook in $notebooks/bnn_hw"
}

uninstall() {
    local installed
    installed=$(builds) || fail "nothing of bnn_hw is installed for $(command -v python3)"
    rm -rf "${installed:?}/$name" "$notebooks/bnn_hw/$name.ipynb"
    if [ -z "$(find "$installed" -mindepth 2 -maxdepth 2 -name manifest.json)" ]; then
        python3 -m pip uninstall --quiet --yes bnn_hw
        rmdir --ignore-fail-on-non-empty "$notebooks/bnn_hw"
    fi
    echo "uninstalled $name"
}

case "${1:-}" in
"") install ;;
--uninstall) uninstall ;;
*) fail "the one option is --uninstall, not $1" ;;
esac
