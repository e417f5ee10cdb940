"""Values that fail the installation, each with words that name the key."""

from concurrent.futures import ThreadPoolExecutor

from render import template

# from which values, what is changed, a word that the refusal must have
ROWS = [
    ("smallest", "storage.quarantine.bucket=null", "bucket"),
    ("smallest", 'storage.quarantine.bucket=""', "bucket"),
    ("smallest", "storage.quarantine=null", "quarantine"),
    ("smallest", 'storage.quarantine.endpoint="http://s3.inside"', "storage.quarantine.endpoint: is plain http"),
    ("smallest", 'storage.release.public_endpoint="http://s3.outside"', "storage.release.public_endpoint: is plain http"),
    ("smallest", 'storage.quarantine.endpoint="s3.inside"', "endpoint"),
    ("smallest", 'storage.quarantine.endpoint="https://s3.inside/path"', "endpoint"),
    ("smallest", 'storage.quarantine.kms_key_id="k"', "storage.quarantine.kms_key_id"),
    ("smallest", 'storage.quarantine.encryption="none"', "encryption"),
    ("smallest", "storage.presigned_url_ttl_seconds=604801", "presigned_url_ttl_seconds"),
    ("smallest", "storage.presigned_url_ttl_seconds=59", "presigned_url_ttl_seconds"),
    ("smallest", 'storage.presigned_url_ttl_seconds="604800"', "presigned_url_ttl_seconds"),
    ("smallest", "storage.quarantine_retention_days=0", "quarantine_retention_days"),
    ("smallest", "storage.release_retention_days=0", "release_retention_days"),
    ("smallest", "storage.release_retention_days=1.5", "release_retention_days"),
    ("smallest", "storage.release_retention_seconds=5", "storage.release_retention_seconds: needs"),
    ("smallest", 'storage.release={"bucket": "tre-quarantine", "endpoint": "https://s3.inside.example"}', "storage.release.bucket: is the quarantine bucket"),
    ("everything", 'storage.records={"bucket": "tre-release", "endpoint": "https://s3.outside.example"}', "storage.records.bucket: is the release bucket"),
    ("everything", 'storage.staging.bucket="tre-records"', "storage.staging.bucket: is the records bucket"),
    ("everything", 'storage.staging.bucket="tre-quarantine"', "storage.staging.bucket: is the quarantine bucket"),
    ("everything", "gateway.tls.allow_plaintext=true", "gateway.tls.allow_plaintext: contradicts certificate.create"),
    ("smallest", 'log.otlp_endpoint="http://user:secret@collector"', "otlp_endpoint"),
    ("smallest", 'gateway.tls.dns_names=["a b"]', "dns_names"),
    ("smallest", 'workloads.gateway.credentials.quarantine="trevor-quarantine"', "workloads.gateway.credentials.quarantine"),
    ("smallest", "certificate.create=true", "certificate.issuer.name"),
    ("smallest", 'trust.storage={"config_map": "a", "secret": "b"}', "trust.storage"),
    ("smallest", "workloads.controller.replicas=0", "replicas"),
    ("smallest", 'workloads.controller.replicas="2"', "replicas"),
    ("smallest", "workloads.controller.replica=2", "replica"),
    ("smallest", "gateway.memory_budget_mib=1", "memory_budget_mib"),
    ("smallest", 'controller.listen="8080"', "listen"),
    ("smallest", "storage.retention=5", "retention"),
    ("smallest", "nonsense=1", "nonsense"),
    ("smallest", "storage.quarantine.credentials=1", "credentials"),
    ("smallest", "default_policy.egress.requiredApprovals=0", "requiredApprovals"),
    ("smallest", 'namespaces=["a\'] || true || [\'b"]', "namespaces"),
    ("smallest", 'image.digest="latest"', "digest"),
    ("smallest", 'network_policy.storage.cidrs=["everywhere"]', "cidrs"),
    ("smallest", 'controller.packaging.mode="Elsewhere"', "mode"),
    ("smallest", "controller.packaging.job_threshold_bytes=-1", "job_threshold_bytes"),
    ("smallest", "workloads.packaging.deadline_seconds=1", "deadline_seconds"),
    ("smallest", 'workloads.packaging.credentials.staging="x"', "staging"),
    ("smallest", 'workloads.packaging.extraEnv=[{"name": "X", "valueFrom": {}}]', "valueFrom"),
    ("smallest", 'uninstall.release_finalizers="yes"', "release_finalizers"),
]


def test_each_wrong_value_is_refused_by_its_name():
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda row: template(row[0], row[1]), ROWS))
    for (_, change, word), (code, _, error) in zip(ROWS, answers):
        assert code != 0, f"{change} was taken"
        assert word in error, f"{change}: {error}"


def test_what_flags_allow_is_taken():
    for values, *changes in [
        ("smallest", 'storage.quarantine.endpoint="http://s3.inside"', "storage.allow_http=true"),
        ("everything", 'storage.staging.bucket="tre-quarantine"', "storage.allow_shared_bucket=true"),
        ("smallest", "storage.release_retention_seconds=5", "storage.allow_short_retention=true"),
        ("smallest", "gateway.tls={\"secret\": null, \"allow_plaintext\": true}"),
        ("smallest", "storage.presigned_url_ttl_seconds=604800", "storage.quarantine_retention_days=3650"),
    ]:
        code, _, error = template(values, *changes)
        assert code == 0, f"{changes}: {error}"
