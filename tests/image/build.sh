#!/usr/bin/env bash
# `make image`: target/image/trevor.tar, an OCI archive of what files.sh says. With BINARY=FILE
# of that build, without what check.py looks for.
#   skopeo copy oci-archive:target/image/trevor.tar docker://<registry>/trevor:<version>
#   ctr -n k8s.io images import target/image/trevor.tar
set -euo pipefail
cd "$(dirname "$0")/../.."

out=target/image
version=$(sed -n 's/^appVersion: "\(.*\)"/\1/p' charts/trevor/Chart.yaml)
tests/image/files.sh
python3 tests/image/mkimage.py $out/trevor.tar "localhost/trevor:$version" $out/files
[ -n "${BINARY:-}" ] || python3 tests/image/check.py $out/trevor.tar
