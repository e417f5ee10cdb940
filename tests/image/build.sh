#!/usr/bin/env bash
# `make image`: target/image/trevor.tar, an OCI archive with one static binary and the public
# certificate authorities. BINARY=FILE packs another build, with the shared libraries that it
# asks for, if any; else an optimised, static one is made.
#   skopeo copy oci-archive:target/image/trevor.tar docker://<registry>/trevor:<version>
#   ctr -n k8s.io images import target/image/trevor.tar
set -euo pipefail
cd "$(dirname "$0")/../.."

out=target/image
name=localhost/trevor:$(sed -n 's/^appVersion: "\(.*\)"/\1/p' charts/trevor/Chart.yaml)
host=$(rustc -vV | sed -n 's/^host: //p')
mkdir -p $out

if [ -z "${BINARY:-}" ]; then
    # With a target named, flags are for the program alone and not for build scripts. Paths of
    # this machine are taken out, so that another one builds the same bytes.
    target=$out/build
    RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$PWD=/trevor --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
        cargo build --locked --release --bin trevor --target "$host" --target-dir $target
    BINARY=$target/$host/release/trevor
    if readelf --program-headers "$BINARY" | grep -q INTERP; then
        echo "$BINARY is not static"
        exit 1
    fi
fi

# The machine's authorities, the list that Debian and others keep; CA_BUNDLE=FILE for another.
bundle=${CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}
[ -s "$bundle" ] || { echo "no certificate authorities in $bundle: install ca-certificates, or name a PEM file in CA_BUNDLE"; exit 1; }
files=("$BINARY=/trevor" "$bundle=/etc/ssl/certs/ca-certificates.crt" "LICENSE=/LICENSE")

# A build that is not static finds its loader and its libraries where it looks for them. (What
# glibc needs for names of hosts is in libc itself since 2.34.)
if readelf --program-headers "$BINARY" | grep -q INTERP; then
    libraries=$(ldd "$BINARY" | grep -o '/[^ ]*' | sort)
    for library in $libraries; do
        files+=("$(realpath "$library")=$library")
    done
fi

# What it is made of (SBOM). The tool is installed with a build of our own; another's goes without it.
export PATH=$PWD/$out/tools/bin:$PATH
if [ -n "${target:-}" ] && ! cargo cyclonedx --version > /dev/null 2>&1; then
    cargo install --locked --quiet --root $out/tools --target-dir $out/tools/build cargo-cyclonedx@0.5.9
    rm -rf $out/tools/build
fi
if cargo cyclonedx --version > /dev/null 2>&1; then
    SOURCE_DATE_EPOCH=0 cargo cyclonedx --quiet --format json --override-filename trevor.cdx
    sed "s|$PWD|/trevor|g" trevor.cdx.json > $out/trevor.cdx.json
    rm trevor.cdx.json
    files+=("$out/trevor.cdx.json=/trevor.cdx.json")
else
    echo "no SBOM: cargo-cyclonedx is not installed (cargo install cargo-cyclonedx)"
fi
python3 tests/image/mkimage.py $out/trevor.tar "$name" "${files[@]}"
