#!/usr/bin/env bash
# Three requests through the airlock, step by step, as their people would make them: one
# is released, one is returned, changed and rejected, one brings files in. Every command is shown before it
# runs. Needs the tools and a build of trevor: `make demo` makes both.
set -euo pipefail
cd "$(dirname "$0")/../.."
umask 077

# TREVOR_DEMO_ENV names an environment that is up, and stays up; without it the demo has one of its own.
env_dir=${TREVOR_DEMO_ENV:-$PWD/target/demo-env}
work=${TREVOR_DEMO_WORK:-$PWD/target/demo}
driver() { [ -n "${TREVOR_DEMO_ENV:-}" ] || python3 "$root/tests/env/env.py" "$@" --dir "$env_dir"; }
root=$PWD
refusals=0

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' plain=$'\e[0m'
else
    bold='' green='' red='' dim='' plain=''
fi

chapter() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
say() { printf '\n%s\n' "$*"; }
show() { printf '%s$ %s%s\n' "$green" "${1//$'\n'/$'\n  '}" "$plain"; }

# Shows the command that stands on standard input, and runs it here.
run() {
    local command
    command=$(cat)
    show "$command"
    eval "$command" < /dev/null
}

# The same for a command that must be refused, with words that the answer must hold.
refused() {
    local command answer
    command=$(cat)
    show "$command"
    if answer=$(eval "$command" < /dev/null 2>&1); then
        printf '%s\n%sThis should have been refused.%s\n' "$answer" "$red" "$plain"
        return 1
    fi
    printf '%s\n' "$answer"
    if ! grep -q -- "$1" <<< "$answer"; then
        printf '%sRefused, but not with "%s".%s\n' "$red" "$1" "$plain"
        return 1
    fi
    refusals=$((refusals + 1))
    printf '%s(refused, as it must be)%s\n' "$dim" "$plain"
}

finish() {
    local code=$? name
    trap - EXIT INT TERM
    rm -f "$work"/*.header "$work/release.json" "$work/plan.json" "$work/inside.json" # tokens and a URL
    if [ "$code" -ne 0 ]; then
        printf '\n%sThe demo failed (exit %s).%s\n' "$red" "$code" "$plain"
        for name in controller gateway; do
            [ -s "$env_dir/log/$name.log" ] || continue
            printf '\nLast lines of trevor %s:\n' "$name"
            tail -n 15 "$env_dir/log/$name.log"
        done
    fi
    driver down || code=1
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

chapter "The environment: a Kubernetes control plane, two S3 servers, trevor"
driver down 2> /dev/null # what a killed run may have left
rm -rf "$work"
mkdir -p "$work"
driver up
began=$SECONDS
# shellcheck disable=SC1091
. "$env_dir/env.sh"
python3 tests/demo/make_files.py "$work"
ln -s "$root/examples" "$work/examples"
cd "$work"
say "alice is a researcher of project-a; bob and carol are output checkers; mallory has no role.
Each has a context of kubectl. The gateway takes and shows files."
run <<< 'url=$TREVOR_GATEWAY_URL/v1alpha1/namespaces/project-a/airlockrequests'

chapter "1. Alice logs in and makes a request"
say "The token goes into a file for curl; nobody needs to see it."
run <<'X'
echo "Authorization: Bearer $(trevor login --context alice --print-token)" > alice.header
X
run <<'X'
kubectl --context alice apply -f examples/first-egress-request.yaml
kubectl --context alice wait alr/frailty-by-age --for=jsonpath='{.status.phase}'=Draft --timeout=30s
X

chapter "2. She uploads three files; one has 64 MiB"
for path in tables/frailty-by-age.csv figures/frailty-by-age.png model/weights.bin; do
    run <<X
curl -fsS -H @alice.header -T frailty-by-age/$path \$url/frailty-by-age/files/$path; echo
X
done
say "What is not declared is not taken:"
refused Undeclared <<'X'
curl -sS --fail-with-body -H @alice.header -T frailty-by-age/tables/frailty-by-age.csv $url/frailty-by-age/files/notes.txt
X
say "The list:"
run <<'X'
curl -fsS -H @alice.header $url/frailty-by-age/files | python3 -m json.tool
X

chapter "3. She submits"
run <<'X'
kubectl --context alice patch alr frailty-by-age --type merge -p '{"spec": {"submission": 1}}'
kubectl --context alice wait alr/frailty-by-age --for=jsonpath='{.status.phase}'=InReview --timeout=60s
kubectl --context alice get alr frailty-by-age
X
say "From here the content is closed, and the way out is the review alone:"
refused Sealed <<'X'
curl -sS --fail-with-body -H @alice.header -T frailty-by-age/tables/frailty-by-age.csv $url/frailty-by-age/files/tables/frailty-by-age.csv
X
refused Forbidden <<'X'
curl -sS --fail-with-body -H @alice.header $url/frailty-by-age/content/tables/frailty-by-age.csv
X
run <<'X'
digest=$(kubectl --context alice get alr frailty-by-age -o jsonpath='{.status.manifest.digest}')
X
refused "cannot create resource" <<'X'
kubectl patch --local -f examples/review-approve.yaml --type merge -o yaml \
  -p '{"spec": {"manifestDigest": "'$digest'"}}' | kubectl --context alice create -f -
X
refused forbidden <<'X'
kubectl --context mallory get alr
X
refused forbidden <<'X'
trevor login --context mallory --print-token
X

chapter "4. Bob and Carol review"
run <<'X'
echo "Authorization: Bearer $(trevor login --context bob --print-token)" > bob.header
curl -fsS -H @bob.header $url/frailty-by-age/content/tables/frailty-by-age.csv
X
say "A review names the manifest by its digest: every byte and every word that would leave."
run <<'X'
curl -fsS -H @bob.header $url/frailty-by-age/manifest | sha256sum
echo "$digest  status.manifest.digest"
X
say "Bob writes carol's name into an approval. The API server knows who he is:"
refused "set spec.reviewer to 'bob'" <<'X'
kubectl patch --local -f examples/review-approve.yaml --type merge -o yaml \
  -p '{"spec": {"manifestDigest": "'$digest'", "reviewer": "carol"}}' | kubectl --context bob create -f -
X
say "An administrator makes alice a checker besides. Her word on her own request counts for nothing:"
run <<'X'
kubectl --context admin create rolebinding alice-reviews -n project-a --clusterrole trevor-checker --user alice
until kubectl --context alice auth can-i create airlockreviews -q; do :; done
own=$(kubectl patch --local -f examples/review-approve.yaml --type merge -o yaml \
  -p '{"spec": {"manifestDigest": "'$digest'"}}' | kubectl --context alice create -f - -o name)
kubectl --context alice wait $own --for=jsonpath='{.status.state}'=NotCounted --timeout=30s
kubectl --context alice get $own -o jsonpath='{.status.reason}: {.status.message}{"\n"}'
kubectl --context admin delete rolebinding alice-reviews -n project-a
X
run <<'X'
kubectl patch --local -f examples/review-approve.yaml --type merge -o yaml \
  -p '{"spec": {"manifestDigest": "'$digest'"}}' | kubectl --context bob create -f -
kubectl --context bob wait alr/frailty-by-age --for=jsonpath='{.status.approvals.summary}'=1/2 --timeout=30s
X
run <<'X'
kubectl patch --local -f examples/review-approve.yaml --type merge -o yaml \
  -p '{"spec": {"manifestDigest": "'$digest'"}}' | kubectl --context carol create -f -
kubectl --context alice wait alr/frailty-by-age --for=condition=Released --timeout=120s
kubectl --context alice get alr,alrr
X

chapter "5. The package"
say "The URL is a secret: the gateway gives it to alice, and a Secret of the project holds it.
Here it goes into a file, and from there to curl."
run <<'X'
curl -fsS -H @alice.header $url/frailty-by-age/release -o release.json
python3 -c 'import json; print({k: v for k, v in json.load(open("release.json")).items() if k != "url"})'
X
run <<'X'
secret=$(kubectl --context alice get alr frailty-by-age -o jsonpath='{.status.release.secretName}')
kubectl --context admin get secret $secret -o go-template='{{.type}}:{{range $key, $_ := .data}} {{$key}}{{end}}{{"\n"}}'
[ "$(kubectl --context admin get secret $secret -o jsonpath='{.data.url}' | base64 -d)" = \
  "$(python3 -c 'import json; print(json.load(open("release.json"))["url"])')" ] && echo "both are the same URL"
X
say "Whoever has the URL needs nothing else. The digest is that of the ReleaseRecord:"
run <<'X'
python3 -c 'import json; print("url =", json.dumps(json.load(open("release.json"))["url"]))' | curl -fsS -K - -o package.zip
record=$(kubectl --context alice get alr frailty-by-age -o jsonpath='{.status.release.recordName}')
echo "$(kubectl --context alice get alrr $record -o jsonpath='{.spec.package.sha256}')  package.zip" | sha256sum -c
X
run <<'X'
python3 -m zipfile -e package.zip package
find package -type f | sort
diff -r frailty-by-age package/data && echo "the files are those that alice uploaded"
X
say "The public RO-Crate validator on it (nothing required or recommended is missing):"
run <<'X'
$TREVOR_CRATE_PYTHON "$root/tests/env/validate_crate.py" package > validation.json && echo "valid"
X

chapter "6. A second request: returned, changed, rejected"
run <<'X'
kubectl --context alice apply -f examples/folder-request.yaml
curl -fsS -H @alice.header -T admissions-by-site/tables/by-site.csv $url/admissions-by-site/files/tables/by-site.csv; echo
curl -fsS -H @alice.header -T admissions-by-site/tables/by-month.csv $url/admissions-by-site/files/tables/by-month.csv; echo
kubectl --context alice patch alr admissions-by-site --type merge -p '{"spec": {"submission": 1}}'
kubectl --context alice wait alr/admissions-by-site --for=jsonpath='{.status.phase}'=InReview --timeout=60s
X
say "Bob sees a count of 6, and asks for changes:"
run <<'X'
curl -fsS -H @bob.header $url/admissions-by-site/content/tables/by-month.csv
digest=$(kubectl --context bob get alr admissions-by-site -o jsonpath='{.status.manifest.digest}')
kubectl patch --local -f examples/review-request-changes.yaml --type merge -o yaml \
  -p '{"spec": {"manifestDigest": "'$digest'"}}' | kubectl --context bob create -f -
kubectl --context alice wait alr/admissions-by-site --for=jsonpath='{.status.phase}'=ChangesRequested --timeout=30s
X
say "Alice reads why, suppresses the count, and submits the second round:"
run <<'X'
kubectl --context alice get alrev -o custom-columns=REVIEWER:.spec.reviewer,DECISION:.spec.decision,COMMENT:.spec.comment \
  --field-selector spec.requestName=admissions-by-site
curl -fsS -H @alice.header -T admissions-by-site-round-2/tables/by-month.csv $url/admissions-by-site/files/tables/by-month.csv; echo
kubectl --context alice patch alr admissions-by-site --type merge -p '{"spec": {"submission": 2}}'
kubectl --context alice wait alr/admissions-by-site --for=jsonpath='{.status.phase}'=InReview --timeout=60s
X
say "The checkers see what changed. A review of the first round's digest counts no more:"
run <<'X'
curl -fsS -H @bob.header "$url/admissions-by-site/manifest?since=1" | python3 -m json.tool
stale=$(kubectl patch --local -f examples/review-approve.yaml --type merge -o yaml \
  -p '{"metadata": {"generateName": "admissions-by-site-"}, "spec": {"requestName": "admissions-by-site", "manifestDigest": "'$digest'"}}' |
  kubectl --context bob create -f - -o name)
kubectl --context bob wait $stale --for=jsonpath='{.status.state}'=NotCounted --timeout=30s
kubectl --context bob get $stale -o jsonpath='{.status.reason}: {.status.message}{"\n"}'
X
say "Carol rejects: the row's total still gives the suppressed count away."
run <<'X'
digest=$(kubectl --context carol get alr admissions-by-site -o jsonpath='{.status.manifest.digest}')
kubectl patch --local -f examples/review-reject.yaml --type merge -o yaml \
  -p '{"spec": {"manifestDigest": "'$digest'"}}' | kubectl --context carol create -f -
kubectl --context alice wait alr/admissions-by-site --for=jsonpath='{.status.phase}'=Rejected --timeout=30s
X
refused NotReleased <<'X'
curl -sS --fail-with-body -H @alice.header $url/admissions-by-site/release
X

chapter "7. The other way: files come in, by curl alone"
say "Alice declares what a colleague outside will send. The gateway signs a URL to each file:
good for one PUT of exactly these bytes. The plan is a secret, and goes to the colleague."
run <<'X'
kubectl --context alice apply -f examples/first-ingress-request.yaml
curl -fsS -H @alice.header $url/reference-rates/plan -o plan.json
python3 -c 'import json; print(json.dumps([{**f, "parts": [{**p, "url": "…"} for p in f["parts"]]} for f in json.load(open("plan.json"))["files"]], indent=1, ensure_ascii=False))'
X
say "The colleague needs curl, and nothing of ours (\`trevor send plan.json --dir reference-rates\` does the same,
in parts, with progress, and goes on where it was broken off). A URL takes no other file:"
run <<'X'
one() { # one FILE: the plan's line for it, as curl takes it
  python3 -c '
import json, sys
part, = next(f for f in json.load(open("plan.json"))["files"] if f["path"] == sys.argv[1])["parts"]
print("url =", json.dumps(part["url"]), *(f"\nheader = {json.dumps(name + chr(58) + value)}" for name, value in part["headers"].items()))' $1
}
X
refused "error: 4" <<'X'
one rates.csv | curl -fsS -K - -T reference-rates/notes.txt
X
run <<'X'
for file in rates.csv notes.txt; do one $file | curl -fsS -K - -T reference-rates/$file; done
kubectl --context alice wait alr/reference-rates --for=jsonpath='{.status.phase}'=InReview --timeout=60s
X
say "All has arrived, so trevor copied it into quarantine and hashed it there. Whatever the
colleague sends from here on is seen by nobody:"
run <<'X'
one rates.csv | curl -fsS -K - -T reference-rates/rates.csv
curl -fsS -H @bob.header $url/reference-rates/content/rates.csv
X
say "One approval suffices on the way in. No package is made: the gateway signs links to the
reviewed files, for the endpoint inside, after they were hashed once more."
run <<'X'
digest=$(kubectl --context bob get alr reference-rates -o jsonpath='{.status.manifest.digest}')
kubectl patch --local -f examples/review-approve.yaml --type merge -o yaml \
  -p '{"metadata": {"generateName": "reference-rates-"}, "spec": {"requestName": "reference-rates", "manifestDigest": "'$digest'"}}' |
  kubectl --context bob create -f -
kubectl --context alice wait alr/reference-rates --for=condition=Released --timeout=60s
curl -fsS -H @alice.header $url/reference-rates/release -o inside.json
python3 -c '
import json
for file in json.load(open("inside.json"))["files"]:
    print("url =", json.dumps(file["url"]), "\noutput =", json.dumps("inside/" + file["path"]))' |
  curl -fsS --create-dirs -K -
diff -r reference-rates inside && echo "the files are those that were sent"
X

say "Sessions end by themselves; these two end now."
run <<'X'
for who in alice bob; do sed 's/.*Bearer //' $who.header | trevor logout --context $who; done
X

chapter "How it ended"
run <<'X'
kubectl --context alice get alr,alrr,alrev
X
printf '\n%s' "$bold"
printf '%-44s %s\n' \
    "request frailty-by-age" "Released; package of 3 files, equal to the originals" \
    "request admissions-by-site" "Rejected in round 2, nothing left" \
    "request reference-rates" "Released; 2 files came in, equal to what was sent" \
    "attempts that had to be refused" "$refusals, all refused" \
    "from the running environment to here" "$((SECONDS - began)) s"
printf '%s\nThe package lies in %s.\n' "$plain" "${work#"$root"/}/package"
