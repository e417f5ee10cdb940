#!/usr/bin/env bash
# What trevor's image holds, in target/image/files: one static binary, the public certificate
# authorities, the licence, what it is made of (SBOM), and a name for its user. The Dockerfile
# copies these files, and build.sh packs them. BINARY=FILE takes another build, with the shared
# libraries that it asks for, if any; else an optimised, static one is made.
set -euo pipefail
cd "$(dirname "$0")/../.."

out=target/image
files=$out/files
rm -rf $files
mkdir -p $files

if [ -z "${BINARY:-}" ]; then
    # With a target named, flags are for the program alone and not for build scripts. Paths of
    # this machine are taken out, so that another folder builds the same bytes.
    host=$(rustc -vV | sed -n 's/^host: //p')
    target=$out/build
    RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$PWD=/trevor --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
        cargo build --locked --release --bin trevor --target "$host" --target-dir $target
    BINARY=$target/$host/release/trevor
fi
install -m 755 "$BINARY" $files/trevor

# The machine's authorities, the list that Debian and others keep; CA_BUNDLE=FILE for another.
bundle=${CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}
[ -s "$bundle" ] || { echo "no certificate authorities in $bundle: install ca-certificates, or name a PEM file in CA_BUNDLE"; exit 1; }
install -D -m 644 "$bundle" $files/etc/ssl/certs/ca-certificates.crt
install -m 644 LICENSE $files/LICENSE
printf 'root:x:0:0::/:/none\nnonroot:x:65532:65532::/:/none\n' > $files/etc/passwd
printf 'root:x:0:\nnonroot:x:65532:\n' > $files/etc/group

# A build that is not static finds its loader and its libraries where it looks for them. (What
# glibc needs for names of hosts is in libc itself since 2.34.)
if readelf --program-headers "$BINARY" | grep -q INTERP; then
    for library in $(ldd "$BINARY" | grep -o '/[^ ]*' | sort); do
        install -D -m 755 "$(realpath "$library")" "$files$library"
    done
fi

# The tool for the SBOM is installed with a build of our own; another's goes without it.
export PATH=$PWD/$out/tools/bin:$PATH
if [ -n "${target:-}" ] && ! cargo cyclonedx --version > /dev/null 2>&1; then
    cargo install --locked --quiet --root $out/tools --target-dir $out/tools/build cargo-cyclonedx@0.5.9
    rm -rf $out/tools/build
fi
if cargo cyclonedx --version > /dev/null 2>&1; then
    SOURCE_DATE_EPOCH=0 cargo cyclonedx --quiet --format json --override-filename trevor.cdx
    sed "s|$PWD|/trevor|g" trevor.cdx.json > $files/trevor.cdx.json
    rm trevor.cdx.json
else
    echo "no SBOM: cargo-cyclonedx is not installed (cargo install cargo-cyclonedx)"
fi
