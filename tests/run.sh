#!/usr/bin/env bash
# What `make test` and its kin do, step by step, each with its time.
set -euo pipefail
cd "$(dirname "$0")/.."

driver="python3 tests/env/env.py"
test_env=target/test-env # and $test_env-2 and -3, which tests start that kill and starve processes of their own
waiting=--test-threads=8 # integration tests wait for other processes, more than they compute

step() {
    local began=$SECONDS
    printf '\n==> %s\n' "$*"
    "$@" || { printf '==> FAILED after %s s: %s\n' $((SECONDS - began)) "$*"; return 1; }
    printf '==> %s s: %s\n' $((SECONDS - began)) "$*"
}

results=target/test-results.txt # the lines from which the last one is summed up

# The test runner's own closing lines, summed up into one.
cargo_test() { cargo test --locked "$@" | tee -a $results; }
sum_up() { awk '/^test result:/ { passed += $4; failed += $6 } END { printf "%d passed, %d failed\n", passed, failed }' $results; }

# Logs, Events, resources and stored facts hold no signature, token or key.
no_secrets() { "$TREVOR_BOTO3_PYTHON" tests/it/no_secrets.py $test_env; }
# Each right of the operator's accounts is needed by a test. It ends the operator: the last thing that is done.
rules_used() { python3 tests/it/rules_used.py $test_env "$TREVOR_KUBE_AUDIT"; }
tested() {
    step python3 tests/chart/server.py
    step python3 tests/chart/conform.py
    step cargo_test --test it -- $waiting "$@"
    step no_secrets
    step rules_used
}

tools() { $driver tools > /dev/null; }

# The committed CRDs are those of the Rust types.
crds_are_current() {
    local before after
    before=$(generated)
    make --no-print-directory generate || return 1
    after=$(generated)
    if [ "$before" != "$after" ]; then
        git --no-pager diff --stat -- crds charts || true
        echo "crds/ or the chart differ from the Rust types: make generate, and commit it"
        return 1
    fi
}
generated() { find crds charts -type f -print0 | sort -z | xargs -0 sha256sum; }

test_envs_down() { for number in "" -2 -3; do $driver down --dir $test_env$number; done; }

# A fresh environment of its own, ended also when a test fails.
with_environment() {
    test_envs_down
    export TREVOR_KUBE_AUDIT=$PWD/target/kube-audit # of the others too, each time that one is started
    rm -rf "$TREVOR_KUBE_AUDIT"
    trap 'test_envs_down; sum_up' EXIT
    step $driver up --dir $test_env
    # shellcheck disable=SC1091
    . $test_env/env.sh
    "$@"
}

forge_env=target/forge-env # one of its own: people have every right there, and the operator starts late

with_forge_env() {
    $driver down --dir $forge_env
    trap '$driver down --dir $forge_env' EXIT
    step $driver up --no-operator --dir $forge_env "$@"
}

# Every attempt to get round the review, through every door; its rows count in the sum.
forge() {
    TREVOR_CHART_VALUES=tests/forge/values-forge.yaml with_forge_env --static-admission
    step "$(boto3_python)" tests/forge/run.py --env $forge_env --results $results
    $driver down --dir $forge_env
}
boto3_python() { $driver tools | sed -n 's/^boto3_python=//p'; }

# Other storage servers: whole stories where they will do, the right words where not.
dialects() { step python3 tests/dialects/run.py --results $results "$@"; }

# The laboratory, in an environment of its own: its own test, and the plans of tests/crash/chosen.txt.
crash_chosen() { step python3 tests/crash/run.py --chosen --results $results; }
# Its schedules, and storage that misbehaves at every call of the two main stories: hours.
crash_long() {
    step python3 tests/crash/run.py --watches --out target/crash-watches --results $results
    step python3 tests/crash/run.py --clocks --out target/crash-clocks --results $results
    step python3 tests/crash/run.py --restored --out target/crash-restored --results $results
    step python3 tests/crash/run.py --storage --stories small,ingress-by-copy --out target/crash-storage \
        --results $results
}

node="python3 tests/node/node.py"
node_env=target/e2e-env

# trevor's image with the build that is tested elsewhere too, without what only debuggers read. A
# static one as `make image` makes (PROFILE=static) is a second build of every dependency.
e2e_image() {
    local profile=${PROFILE:-dev} built
    mkdir -p target/e2e
    if [ "$profile" = static ]; then
        env -u BINARY tests/image/build.sh
        cp target/image/files/trevor target/e2e/trevor
        return
    fi
    cargo build --locked --profile "$profile" --bin trevor
    built=${CARGO_TARGET_DIR:-target}/$([ "$profile" = dev ] && echo debug || echo "$profile")/trevor
    strip -o target/e2e/trevor "$built"
    BINARY=target/e2e/trevor tests/image/build.sh
}

# The chart on a node of its own, ended also when a step fails; `on-node` reaches its addresses.
e2e() {
    export TREVOR_BIN=$PWD/target/e2e/trevor
    $node down --dir $node_env
    trap '$node down --dir $node_env' EXIT
    step $node up --dir $node_env
    step $node image --dir $node_env target/image/trevor.tar
    step $node in --dir $node_env -- python3 "$PWD/tests/node/e2e.py" $node_env
}

# The image from two folders, which has to have the same bytes: another path, another time, other habits.
image_twice() {
    unset BINARY # of its own build
    step tests/image/build.sh
    elsewhere=$(mktemp -d)
    trap 'rm -rf "$elsewhere"' EXIT
    mkdir -p "$elsewhere/another-folder/target/image"
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$elsewhere/another-folder"
    [ ! -d target/image/tools ] || cp -r target/image/tools "$elsewhere/another-folder/target/image/"
    (
        umask 077
        export TZ=Asia/Tokyo LC_ALL=C
        step "$elsewhere/another-folder/tests/image/build.sh"
    )
    step python3 tests/image/check.py target/image/trevor.tar "$elsewhere/another-folder/target/image/trevor.tar"
}

what=${1:-test}
case $what in
test | test-long)
    mkdir -p target && : > $results
    step tools
    step cargo fmt --all --check
    step python3 tests/walls.py
    step cargo clippy --locked --workspace --all-targets -- -D warnings
    if [ "$what" = test-long ]; then
        step cargo_test --workspace --lib --bins -- --include-ignored
    else
        step cargo_test --workspace --lib --bins
    fi
    step cargo_test --workspace --doc
    step crds_are_current
    step python3 tests/chart/run.py
    step cargo build --locked
    export TREVOR_BIN=${CARGO_TARGET_DIR:-$PWD/target}/debug/trevor
    forge
    crash_chosen
    if [ "$what" = test-long ]; then
        dialects
        crash_long
        with_environment tested --include-ignored
    else
        with_environment tested
    fi
    ;;
chart)
    step tools
    step python3 tests/chart/run.py
    ;;
forge)
    mkdir -p target && : > $results
    step tools
    step cargo build --locked
    export TREVOR_BIN=${CARGO_TARGET_DIR:-$PWD/target}/debug/trevor
    forge
    ;;
crash)
    # Arguments go to tests/crash/run.py, which says what it does, and so do SEED and PLAN.
    step tools
    if [ -z "${TREVOR_BIN:-}" ] || [ "$TREVOR_BIN" = "${CARGO_TARGET_DIR:-$PWD/target}/debug/trevor" ]; then
        step cargo build --locked
        export TREVOR_BIN=${CARGO_TARGET_DIR:-$PWD/target}/debug/trevor
    fi
    step python3 tests/crash/run.py ${PLANS:+--plans "$PLANS"} ${LANES:+--lanes "$LANES"} "${@:2}"
    ;;
dialects)
    # Arguments go to tests/dialects/run.py, which says what it does.
    mkdir -p target && : > $results
    step tools
    if [ -z "${TREVOR_BIN:-}" ] || [ "$TREVOR_BIN" = "${CARGO_TARGET_DIR:-$PWD/target}/debug/trevor" ]; then
        step cargo build --locked
        export TREVOR_BIN=${CARGO_TARGET_DIR:-$PWD/target}/debug/trevor
    fi
    dialects "${@:2}"
    ;;
forge-oldest)
    # The policies alone, on the oldest Kubernetes that is supported: it fills no names in.
    step $driver tools --oldest
    TREVOR_CHART_VALUES=tests/forge/values-oldest.yaml with_forge_env --oldest
    step python3 tests/forge/run.py --env $forge_env --doors admission --no-fill
    ;;
e2e)
    step $node check --dir $node_env
    step make --no-print-directory node-tools
    step e2e_image
    e2e
    ;;
dashboards)
    # Arguments go to tests/dashboards/run.py, which says what it does.
    step tools
    target=${CARGO_TARGET_DIR:-$PWD/target}
    if [ "${TREVOR_BIN:-$target/debug/trevor}" = "$target/debug/trevor" ]; then
        step cargo build --locked
    fi
    step python3 tests/dashboards/run.py "${@:2}"
    ;;
image-twice)
    image_twice
    ;;
demo)
    step tools
    step cargo build --locked
    step tests/demo/demo.sh
    ;;
bench)
    # Arguments go to benches/bench.py, which says what there is.
    step tools
    # Builds trevor too: a second build, of other features, would take as long again.
    step cargo bench --locked --no-run --bench ceiling
    target=${CARGO_TARGET_DIR:-$PWD/target}
    if [ "${TREVOR_BIN:-$target/debug/trevor}" = "$target/debug/trevor" ]; then
        export TREVOR_BIN=$target/release/trevor
    fi
    step python3 benches/bench.py "${@:2}"
    ;;
bench-scale)
    # Arguments go to benches/scale.py, which says what it does.
    step tools
    target=${CARGO_TARGET_DIR:-$PWD/target}
    if [ "${TREVOR_BIN:-$target/debug/trevor}" = "$target/debug/trevor" ]; then
        step cargo build --locked --release
        export TREVOR_BIN=$target/release/trevor
    fi
    step python3 benches/scale.py "${@:2}"
    ;;
*)
    echo "usage: tests/run.sh test|test-long|crash|dialects|forge|forge-oldest|chart|e2e|image-twice|dashboards|demo|bench|bench-scale [argument…]"
    exit 2
    ;;
esac
