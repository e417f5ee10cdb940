"""The policies about what people make: requests, reviews, actions, sessions, volumes."""

from cast import alice, bob, carol, collector, dave, fake_controller, flux, mallory, masters, node, obrien, ogit, olga, robot, scanner, star
from kubernetes import user, user_subject
from objects import ACTIONS, DIGEST, GROUP, PROJECT, REQUESTS, REVIEWS, SESSIONS, act, owner, path, req, rev, sess

OTHER_PROJECT = "forge-b"


def sources(*claims):
    return [{"persistentVolumeClaim": {"claimName": claim, "path": "out"}} for claim in claims]


def delivery(claim):
    return {"type": "PersistentVolumeClaim", "persistentVolumeClaim": {"claimName": claim, "path": "in"}}


def requests_created(t, f):
    """Who may make a request, in whose name."""
    t.passes("a researcher names herself", alice, "POST", path(REQUESTS), req(f.name("c1"), submitter="alice"))
    t.passes("a name with an apostrophe", obrien, "POST", path(REQUESTS), req(f.name("c2"), submitter="o'brien"))
    t.passes("by server-side apply", alice, "APPLY", path(REQUESTS, f.name("c3")), req(f.name("c3"), submitter="alice"))
    t.passes("a delegate submits for a person", flux, "POST", path(REQUESTS), req(f.name("c4"), submitter="alice", createdBy="flux-bot"))
    t.passes(
        "a delegate of every namespace, in another",
        ogit,
        "POST",
        path(REQUESTS, ns=OTHER_PROJECT),
        req(f.name("c5"), ns=OTHER_PROJECT, submitter="alice", createdBy="o'gitops"),
    )
    if t.fills:
        r = t.passes("submitter is filled in", alice, "POST", path(REQUESTS), req(f.name("f1")))
        t.check("... with the user's name", r.get("spec", {}).get("submitter") == "alice", r)
        t.passes("submitter is filled in by apply", alice, "APPLY", path(REQUESTS, f.name("f2")), req(f.name("f2")))
        r = t.passes("... and stays when applied again without it", alice, "APPLY", path(REQUESTS, f.name("f2")), req(f.name("f2"), title="u"))
        t.check("... with the user's name", r.get("spec", {}).get("submitter") == "alice", r)
        r = t.passes("createdBy is filled in for a delegate", flux, "POST", path(REQUESTS), req(f.name("f3"), submitter="alice"))
        t.check("... with the delegate's name", r.get("spec", {}).get("createdBy") == "flux-bot", r)
        t.passes("createdBy is filled in by apply", flux, "APPLY", path(REQUESTS, f.name("f4")), req(f.name("f4"), submitter="alice"))
        r = t.passes("... by apply, twice", flux, "APPLY", path(REQUESTS, f.name("f4")), req(f.name("f4"), submitter="alice", title="u"))
        t.check("... and stays", r.get("spec", {}).get("createdBy") == "flux-bot", r)
    else:
        t.deny("no submitter", "airlockrequests", alice, "POST", path(REQUESTS), req(f.name("x0")), says="set spec.submitter to 'alice'")
    for who, label in ((alice, "a researcher"), (mallory, "a stranger"), (star, "a holder of *"), (masters, "system:masters")):
        t.deny(f"{label} submits in another's name", "airlockrequests", who, "POST", path(REQUESTS), req(f.name("x1"), submitter="dave"), says="set spec.submitter to")
        t.deny(f"{label} applies in another's name", "airlockrequests", who, "APPLY", path(REQUESTS, f.name("x1")), req(f.name("x1"), submitter="dave"))
        t.deny(f"{label} plays the delegate", "airlockrequests", who, "POST", path(REQUESTS), req(f.name("x2"), submitter="dave", createdBy=who["user"]))
    t.deny("createdBy besides one's own name", "airlockrequests", alice, "POST", path(REQUESTS), req(f.name("x3"), submitter="alice", createdBy="alice"))
    t.deny("createdBy of a delegate, by a person", "airlockrequests", alice, "POST", path(REQUESTS), req(f.name("x3"), submitter="alice", createdBy="flux-bot"))
    t.deny("another spelling of one's name", "airlockrequests", alice, "POST", path(REQUESTS), req(f.name("x4"), submitter="Alice"))
    t.deny("one's name with a space", "airlockrequests", alice, "POST", path(REQUESTS), req(f.name("x4"), submitter="alice "))
    t.deny("a service account as a person", "airlockrequests", robot, "POST", path(REQUESTS), req(f.name("x5"), submitter=robot["user"]), says="not a person")
    if t.fills:
        t.deny("a service account without a name", "airlockrequests", robot, "POST", path(REQUESTS), req(f.name("x5")))
    t.deny("the controller submits", "airlockrequests|operator-fence", t.controller, "POST", path(REQUESTS), req(f.name("x5"), submitter=fake_controller["user"]))
    t.deny("a delegate without a person", "airlockrequests", flux, "POST", path(REQUESTS), req(f.name("x6"), createdBy="flux-bot"), says="as a delegate")
    t.deny("a delegate for itself", "airlockrequests", flux, "POST", path(REQUESTS), req(f.name("x6"), submitter="flux-bot", createdBy="flux-bot"))
    t.deny("a delegate as a person", "airlockrequests", flux, "POST", path(REQUESTS), req(f.name("x6"), submitter="flux-bot"))
    t.deny("a delegate for a service account", "airlockrequests", flux, "POST", path(REQUESTS), req(f.name("x6"), submitter=robot["user"], createdBy="flux-bot"))
    t.deny("a delegate names another creator", "airlockrequests", flux, "POST", path(REQUESTS), req(f.name("x6"), submitter="alice", createdBy="o'gitops"))
    t.deny(
        "a delegate in another namespace",
        "airlockrequests",
        flux,
        "POST",
        path(REQUESTS, ns=OTHER_PROJECT),
        req(f.name("x6"), ns=OTHER_PROJECT, submitter="alice", createdBy="flux-bot"),
    )
    t.deny(
        "created with a finalizer",
        "airlockrequests",
        alice,
        "POST",
        path(REQUESTS),
        req(f.name("x7"), submitter="alice", _meta={"finalizers": [f"{GROUP}/x"]}),
        says="without finalizers",
    )
    t.deny(
        "created with an owner",
        "airlockrequests",
        alice,
        "POST",
        path(REQUESTS),
        req(f.name("x7"), submitter="alice", _meta={"ownerReferences": [owner()]}),
        says="without finalizers",
    )
    t.deny("the probe's name", "airlockrequests", alice, "POST", path(REQUESTS), req("trevor-probe", submitter="alice"), says="trevor-probe")
    t.deny("the probe's name, by apply", "airlockrequests", alice, "APPLY", path(REQUESTS, "trevor-probe"), req("trevor-probe", submitter="alice"), says="trevor-probe")
    t.deny(
        "the delegate takes the probe's name",
        "airlockrequests",
        flux,
        "POST",
        path(REQUESTS),
        req("trevor-probe", submitter="alice", createdBy="flux-bot"),
        says="trevor-probe",
    )


def requests_updated(t, f):
    """Who may change one, and what of it."""
    t.passes("the submitter edits", alice, "PATCH", path(REQUESTS, f.request), {"spec": {"title": "better"}})
    t.passes("the submitter edits what a delegate made", alice, "PATCH", path(REQUESTS, f.by_git), {"spec": {"description": "x"}})
    t.passes("the delegate edits what it made", flux, "PATCH", path(REQUESTS, f.by_git), {"spec": {"title": "y"}})
    t.passes("the submitter labels", alice, "PATCH", path(REQUESTS, f.request), {"metadata": {"labels": {"a": "b"}}})
    for who, label in (
        (dave, "a colleague"),
        (bob, "a checker"),
        (olga, "an officer"),
        (star, "a holder of *"),
        (masters, "system:masters"),
        (flux, "a delegate"),
        (robot, "a service account"),
        (t.gateway, "the gateway"),
        (t.unbound, "a controller's token without pod"),
        (fake_controller, "kubectl --as the controller"),
    ):
        pol = "airlockrequests|operator-fence"
        t.deny(f"{label} edits the spec", pol, who, "PATCH", path(REQUESTS, f.request), {"spec": {"title": "mine"}})
        t.deny(f"{label} withdraws", pol, who, "PATCH", path(REQUESTS, f.request), {"spec": {"withdrawn": True}})
        t.deny(f"{label} submits", pol, who, "JSON", path(REQUESTS, f.request), [{"op": "add", "path": "/spec/submission", "value": 1}])
        t.deny(f"{label} labels", pol, who, "PATCH", path(REQUESTS, f.request), {"metadata": {"labels": {"x": "y"}}})
        t.deny(f"{label} annotates", pol, who, "PATCH", path(REQUESTS, f.request), {"metadata": {"annotations": {"x": "y"}}})
        t.deny(f"{label} takes finalizers", pol, who, "PATCH", path(REQUESTS, f.request), {"metadata": {"finalizers": [f"{GROUP}/z"]}})
        t.deny(f"{label} applies over it", pol, who, "APPLY", path(REQUESTS, f.request), req(f.request, title="mine"), fieldManager="thief")
    t.deny(
        "a stranger's no-op apply",
        "airlockrequests",
        mallory,
        "APPLY",
        path(REQUESTS, f.request),
        req(f.request, title="better", submitter="alice"),
        fieldManager="thief2",
    )
    o = t.get(path(REQUESTS, f.request))
    t.passes("a byte-equal PUT by anyone", mallory, "PUT", path(REQUESTS, f.request), o)
    t.check("... changes nothing", t.get(path(REQUESTS, f.request))["metadata"]["resourceVersion"] == o["metadata"]["resourceVersion"])
    t.passes("an empty patch by anyone", mallory, "PATCH", path(REQUESTS, f.request), {})
    t.deny(
        "the submitter adds a finalizer", "airlockrequests", alice, "PATCH", path(REQUESTS, f.request), {"metadata": {"finalizers": [f"{GROUP}/z"]}}, says="finalizers"
    )
    t.deny("the submitter adds an owner", "airlockrequests", alice, "PATCH", path(REQUESTS, f.request), {"metadata": {"ownerReferences": [owner()]}})
    t.code("the submitter gives the request away", 422, alice, "PATCH", path(REQUESTS, f.request), {"spec": {"submitter": "dave"}})
    t.code("... or drops the name", 422, alice, "JSON", path(REQUESTS, f.request), [{"op": "remove", "path": "/spec/submitter"}])
    t.code("the delegate changes whom it is for", 422, flux, "PATCH", path(REQUESTS, f.by_git), {"spec": {"submitter": "dave"}})
    t.passes("the controller adds its finalizer", t.controller, "PATCH", path(REQUESTS, f.request), {"metadata": {"finalizers": [f"{GROUP}/retention"]}})
    t.passes(
        "... by json patch on another", t.controller, "JSON", path(REQUESTS, f.by_git), [{"op": "add", "path": "/metadata/finalizers", "value": [f"{GROUP}/retention"]}]
    )
    t.passes(
        "... and by apply",
        t.controller,
        "APPLY",
        path(REQUESTS, f.daves),
        {"apiVersion": f"{GROUP}/v1alpha1", "kind": "AirlockRequest", "metadata": {"name": f.daves, "finalizers": [f"{GROUP}/retention"]}},
        fieldManager="trevor",
    )
    t.deny("the controller adds an owner", "airlockrequests", t.controller, "PATCH", path(REQUESTS, f.request), {"metadata": {"ownerReferences": [owner()]}})
    t.deny(
        "the controller edits the spec",
        "airlockrequests",
        t.controller,
        "PATCH",
        path(REQUESTS, f.request),
        {"spec": {"title": "mine"}},
        says="finalizers of a request only",
    )
    t.deny("the controller labels", "airlockrequests", t.controller, "PATCH", path(REQUESTS, f.request), {"metadata": {"labels": {"x": "y"}}})
    t.deny("the submitter removes the finalizer", "airlockrequests", alice, "PATCH", path(REQUESTS, f.request), {"metadata": {"finalizers": None}})
    t.deny("an admin removes the finalizer", "airlockrequests", masters, "PATCH", path(REQUESTS, f.request), {"metadata": {"finalizers": None}})
    t.passes("the submitter edits besides the finalizer", alice, "PATCH", path(REQUESTS, f.request), {"spec": {"title": "best"}})
    t.passes("the collector changes owners", collector, "PATCH", path(REQUESTS, f.daves), {"metadata": {"ownerReferences": [owner()]}}, dryRun="All")
    t.deny("the collector edits the spec", "airlockrequests", collector, "PATCH", path(REQUESTS, f.request), {"spec": {"title": "x"}})


def requests_deleted(t, f):
    """Who may delete one."""
    for who, label in ((dave, "a colleague"), (bob, "a checker"), (olga, "an officer"), (mallory, "a stranger"), (robot, "a service account"), (flux, "a delegate")):
        t.deny(f"{label} deletes", "airlockrequests", who, "DELETE", path(REQUESTS, f.request), says="deleted (and so withdrawn) by its submitter 'alice' only")
        t.deny(f"{label} deletes all", "airlockrequests", who, "DELETE", path(REQUESTS), labelSelector="a=b")
    t.deny("the operator deletes one that is open", "airlockrequests", t.controller, "DELETE", path(REQUESTS, f.request))
    t.passes("the submitter deletes", alice, "DELETE", path(REQUESTS, f.name("c1")))
    t.passes("the delegate deletes what it made", flux, "DELETE", path(REQUESTS, f.name("c4")))
    t.passes("a holder of * deletes", star, "DELETE", path(REQUESTS, f.name("c2")))


def reviews(t, f):
    """Reviews: by their author, with the permission by name, for ever."""
    t.passes("a checker reviews", bob, "POST", path(REVIEWS), rev(f.name("v") + "-", reviewer="bob"))
    t.passes("a named service account reviews", scanner, "POST", path(REVIEWS), rev(f.name("v") + "-", reviewer=scanner["user"]))
    if t.fills:
        r = t.passes("reviewer is filled in", carol, "POST", path(REVIEWS), rev(f.name("v") + "-"))
        t.check("... with the user's name", r.get("spec", {}).get("reviewer") == "carol", r)
    for who, label in ((alice, "a researcher"), (bob, "a checker"), (star, "a holder of *"), (scanner, "a named service account")):
        t.deny(f"{label} reviews as another", "airlockreviews", who, "POST", path(REVIEWS), rev(f.name("xv"), reviewer="carol"), says="set spec.reviewer to")
        t.deny(f"{label} applies a review as another", "airlockreviews", who, "APPLY", path(REVIEWS, f.name("xv")), rev(f.name("xv"), reviewer="carol"))
    t.deny(
        "a researcher reviews", "airlockreviews", alice, "POST", path(REVIEWS), rev(f.name("xv"), reviewer="alice"), says="permission to create airlockrequests/review"
    )
    t.deny("a stranger reviews", "airlockreviews", mallory, "POST", path(REVIEWS), rev(f.name("xv"), reviewer="mallory"))
    t.deny("an officer reviews", "airlockreviews", olga, "POST", path(REVIEWS), rev(f.name("xv"), reviewer="olga"))
    t.deny("a checker of another namespace reviews", "airlockreviews", bob, "POST", path(REVIEWS, ns=OTHER_PROJECT), rev(f.name("xv"), ns=OTHER_PROJECT, reviewer="bob"))
    t.deny("a holder of * reviews", "airlockreviews", star, "POST", path(REVIEWS), rev(f.name("xv"), reviewer="star"), says="by name and not by a wildcard")
    t.deny("system:masters reviews", "airlockreviews", masters, "POST", path(REVIEWS), rev(f.name("xv"), reviewer="root"), says="by name and not by a wildcard")
    t.deny("a service account reviews", "airlockreviews", robot, "POST", path(REVIEWS), rev(f.name("xv"), reviewer=robot["user"]), says="system accounts do not review")
    t.deny("the controller reviews", "airlockreviews|operator-fence", t.controller, "POST", path(REVIEWS), rev(f.name("xv"), reviewer=fake_controller["user"]))
    t.deny("the probe's name", "airlockreviews", bob, "POST", path(REVIEWS), rev("trevor-probe", reviewer="bob"), says="trevor-probe")
    t.deny("the probe's name, by apply", "airlockreviews", bob, "APPLY", path(REVIEWS, "trevor-probe"), rev("trevor-probe", reviewer="bob"), says="trevor-probe")
    t.deny("a review with a finalizer", "airlockreviews", bob, "POST", path(REVIEWS), rev(f.name("xv"), reviewer="bob", _meta={"finalizers": [f"{GROUP}/x"]}))
    t.deny("a review with an owner", "airlockreviews", bob, "POST", path(REVIEWS), rev(f.name("xv"), reviewer="bob", _meta={"ownerReferences": [owner()]}))
    t.code("a review is rewritten", 422, bob, "PATCH", path(REVIEWS, f.review), {"spec": {"decision": "Reject"}})
    for who, label in ((bob, "its author"), (carol, "another checker"), (star, "a holder of *"), (masters, "system:masters"), (t.controller, "the controller")):
        t.deny(f"{label} labels a review", "airlockreviews|operator-fence", who, "PATCH", path(REVIEWS, f.review), {"metadata": {"labels": {"a": "b"}}})
        t.deny(
            f"{label} puts a finalizer on a review", "airlockreviews|operator-fence", who, "PATCH", path(REVIEWS, f.review), {"metadata": {"finalizers": [f"{GROUP}/x"]}}
        )
        t.deny(f"{label} deletes a review", "airlockreviews|operator-fence", who, "DELETE", path(REVIEWS, f.review))
        t.deny(f"{label} deletes all reviews", "airlockreviews|operator-fence", who, "DELETE", path(REVIEWS))
    # One of a request that is not there goes, by the operator alone, once it has said so.
    nothing = f.name("vn")
    t.passes("a review of nothing", bob, "POST", path(REVIEWS), rev(nothing, reviewer="bob", requestName="no-such-request"))
    t.deny("the controller deletes it before it has said so", "airlockreviews", t.controller, "DELETE", path(REVIEWS, nothing))
    t.passes("the controller says so", t.controller, "PATCH", path(REVIEWS, nothing) + "/status", {"status": {"state": "NotCounted", "reason": "UnknownRequest"}})
    for who, label in ((bob, "its author"), (carol, "another checker"), (star, "a holder of *"), (masters, "system:masters")):
        t.deny(f"{label} deletes a review of nothing", "airlockreviews|operator-fence", who, "DELETE", path(REVIEWS, nothing))
    t.passes("the controller deletes a review of nothing", t.controller, "DELETE", path(REVIEWS, nothing))
    o = t.get(path(REVIEWS, f.review))
    t.passes("a byte-equal PUT of a review", mallory, "PUT", path(REVIEWS, f.review), o)
    t.deny(
        "a stranger's no-op apply on a review",
        "airlockreviews",
        mallory,
        "APPLY",
        path(REVIEWS, f.review),
        {
            "apiVersion": o["apiVersion"],
            "kind": o["kind"],
            "metadata": {"name": f.review},
            "spec": {"decision": "Approve", "requestName": "r-alice", "manifestDigest": DIGEST},
        },
        fieldManager="thief",
    )


def actions(t, f):
    """Actions: the same."""
    t.passes("a researcher recalls", alice, "POST", path(ACTIONS), act(f.name("t") + "-", "Submitter", "Recall", actor="alice"))
    t.passes("a researcher revokes a record", alice, "POST", path(ACTIONS), act(f.name("t") + "-", "Submitter", "Revoke", "ReleaseRecord", actor="alice"))
    t.passes("a checker revokes", bob, "POST", path(ACTIONS), act(f.name("t") + "-", "Checker", "Revoke", "ReleaseRecord", actor="bob"))
    t.passes("an officer lifts a hold", olga, "POST", path(ACTIONS), act(f.name("t") + "-", "HoldOfficer", "LiftHold", "ReleaseRecord", actor="olga"))
    if t.fills:
        r = t.passes("actor is filled in", bob, "POST", path(ACTIONS), act(f.name("t") + "-", "Checker", "Renew"))
        t.check("... with the user's name", r.get("spec", {}).get("actor") == "bob", r)
    t.deny("an act in another's name", "airlockactions", alice, "POST", path(ACTIONS), act(f.name("xt"), "Submitter", "Recall", actor="dave"), says="set spec.actor to")
    t.deny("an officer's act in another's name", "airlockactions", olga, "POST", path(ACTIONS), act(f.name("xt"), "HoldOfficer", "LiftHold", actor="alice"))
    t.deny(
        "a researcher lifts a hold",
        "airlockactions",
        alice,
        "POST",
        path(ACTIONS),
        act(f.name("xt"), "HoldOfficer", "LiftHold", actor="alice"),
        says="may not LiftHold as HoldOfficer",
    )
    t.deny("a checker lifts a hold", "airlockactions", bob, "POST", path(ACTIONS), act(f.name("xt"), "HoldOfficer", "LiftHold", actor="bob"))
    t.deny("a researcher revokes as a checker", "airlockactions", alice, "POST", path(ACTIONS), act(f.name("xt"), "Checker", "Revoke", actor="alice"))
    t.deny("an officer revokes as a checker", "airlockactions", olga, "POST", path(ACTIONS), act(f.name("xt"), "Checker", "Revoke", actor="olga"))
    t.deny("a checker recalls as the submitter", "airlockactions", bob, "POST", path(ACTIONS), act(f.name("xt"), "Submitter", "Recall", actor="bob"))
    t.deny("a stranger renews", "airlockactions", mallory, "POST", path(ACTIONS), act(f.name("xt"), "Submitter", "Renew", actor="mallory"))
    for as_, action in (("Submitter", "Revoke"), ("Checker", "Revoke"), ("HoldOfficer", "LiftHold")):
        for who in (star, masters):
            t.deny(
                f"{who['user']} (*) acts as {as_}",
                "airlockactions",
                who,
                "POST",
                path(ACTIONS),
                act(f.name("xt"), as_, action, actor=who["user"]),
                says="by name and not by a wildcard",
            )
    t.deny("a service account acts as a checker", "airlockactions", robot, "POST", path(ACTIONS), act(f.name("xt"), "Checker", "Revoke", actor=robot["user"]))
    t.deny(
        "the controller acts",
        "airlockactions|operator-fence",
        t.controller,
        "POST",
        path(ACTIONS),
        act(f.name("xt"), "Submitter", "Renew", actor=fake_controller["user"]),
    )
    t.deny("the probe's name for an act", "airlockactions", alice, "POST", path(ACTIONS), act("trevor-probe", "Submitter", "Recall", actor="alice"), says="trevor-probe")
    t.deny(
        "an act with a finalizer",
        "airlockactions",
        olga,
        "POST",
        path(ACTIONS),
        act(f.name("xt"), "HoldOfficer", "Hold", actor="olga", _meta={"finalizers": [f"{GROUP}/x"]}),
    )
    t.code("an illegal pair", 422, olga, "POST", path(ACTIONS), act(f.name("xt"), "HoldOfficer", "Revoke", actor="olga"))
    for who, label in ((olga, "its author"), (alice, "a researcher"), (masters, "system:masters"), (t.controller, "the controller")):
        t.deny(f"{label} deletes an action", "airlockactions|operator-fence", who, "DELETE", path(ACTIONS, f.action))
        t.deny(f"{label} annotates an action", "airlockactions|operator-fence", who, "PATCH", path(ACTIONS, f.action), {"metadata": {"annotations": {"a": "b"}}})
    o = t.get(path(ACTIONS, f.action))
    t.passes("a byte-equal PUT of an action", mallory, "PUT", path(ACTIONS, f.action), o)


def sessions(t, f):
    """Sessions: of whoever makes them, with their groups as they are."""
    api = t.api
    many = user("many", *[f"g{i}" for i in range(500)])
    t.passes("a person logs in", bob, "POST", path(SESSIONS), sess(user="bob", groups=bob["all"]))
    t.passes("groups in another order", bob, "POST", path(SESSIONS), sess(user="bob", groups=bob["all"][::-1]))
    t.passes("500 groups", many, "POST", path(SESSIONS), sess(user="many", groups=many["all"]))
    t.passes("500 groups in reverse", many, "POST", path(SESSIONS), sess(user="many", groups=many["all"][::-1]))
    if t.fills:
        r = t.passes("user and groups are filled in", carol, "POST", path(SESSIONS), sess())
        t.check("... as the API server sees them", r.get("spec", {}).get("user") == "carol" and r["spec"].get("groups") == carol["all"], r)
        r = t.passes("groups alone are filled in", carol, "POST", path(SESSIONS), sess(user="carol"))
        t.check("... as the API server sees them", r.get("spec", {}).get("groups") == carol["all"], r)
    for who in (alice, mallory, star, masters):
        t.deny(f"{who['user']} logs in as bob", "airlocksessions", who, "POST", path(SESSIONS), sess(user="bob", groups=bob["all"]), says="set spec.user to")
        t.deny(
            f"{who['user']} adds a group",
            "airlocksessions",
            who,
            "POST",
            path(SESSIONS),
            sess(user=who["user"], groups=who["all"] + ["checkers"]),
            says="spec.groups must be",
        )
        t.deny(f"{who['user']} takes other groups", "airlocksessions", who, "POST", path(SESSIONS), sess(user=who["user"], groups=["checkers"]))
        if who is not masters:
            t.deny(f"{who['user']} leaves a group out", "airlocksessions", who, "POST", path(SESSIONS), sess(user=who["user"], groups=["system:authenticated"]))
        t.deny(f"{who['user']} has empty groups", "airlocksessions", who, "POST", path(SESSIONS), sess(user=who["user"], groups=[]))
    t.deny("a service account logs in", "airlocksessions", robot, "POST", path(SESSIONS), sess(user=robot["user"], groups=robot["all"]), says="sessions are for people")
    t.deny("a named service account logs in", "airlocksessions", scanner, "POST", path(SESSIONS), sess(user=scanner["user"], groups=scanner["all"]))
    t.deny("a node logs in", "airlocksessions", node, "POST", path(SESSIONS), sess(user=node["user"], groups=node["all"]))
    t.deny(
        "a bootstrap token logs in",
        "airlocksessions",
        (w := user("system:bootstrap:x", "system:bootstrappers")),
        "POST",
        path(SESSIONS),
        sess(user=w["user"], groups=w["all"]),
    )
    t.deny(
        "a scoped token logs in",
        "airlocksessions",
        (w := user("alice", "researchers", **{"scopes.authorization.openshift.io": "user:info"})),
        "POST",
        path(SESSIONS),
        sess(user="alice", groups=w["all"]),
        says="scopes",
    )
    t.deny("a session with a finalizer", "airlocksessions", alice, "POST", path(SESSIONS), sess(user="alice", groups=alice["all"], _meta={"finalizers": [f"{GROUP}/x"]}))
    t.code("a session of another name", 422, alice, "POST", path(SESSIONS), sess(user="alice", groups=alice["all"], _name="trevor-probe"))
    t.deny("its owner labels a session", "airlocksessions", alice, "PATCH", path(SESSIONS, f.session), {"metadata": {"labels": {"a": "b"}}})
    t.code("a session is rewritten", 422, alice, "PATCH", path(SESSIONS, f.session), {"spec": {"ttlSeconds": 600}})
    for who, label in ((bob, "a checker"), (mallory, "a stranger"), (flux, "a delegate"), (t.gateway, "the gateway")):
        t.deny(f"{label} logs alice out", "airlocksessions|operator-fence", who, "DELETE", path(SESSIONS, f.session))
    t.deny("a controller's token without pod sweeps sessions", "operator-fence", t.unbound, "DELETE", path(SESSIONS, f.session), says="from its pod only")
    for who, label in ((bob, "a checker"), (mallory, "a stranger"), (flux, "a delegate"), (t.gateway, "the gateway")):
        t.deny(f"{label} logs everybody out", "airlocksessions|operator-fence", who, "DELETE", path(SESSIONS))
    o = t.get(path(SESSIONS, f.session))
    t.passes("a byte-equal PUT of a session", mallory, "PUT", path(SESSIONS, f.session), o)
    t.passes("logging out", alice, "DELETE", path(SESSIONS, f.session))
    x = api.call(bob, "POST", path(SESSIONS), sess(user="bob", groups=bob["all"]))[1]["metadata"]["name"]
    t.passes("the controller sweeps", t.controller, "DELETE", path(SESSIONS, x))
    x = api.call(bob, "POST", path(SESSIONS), sess(user="bob", groups=bob["all"]))[1]["metadata"]["name"]
    t.passes("a holder of * revokes a session", star, "DELETE", path(SESSIONS, x))


def volumes(t, f):
    """Volumes that a request names: by its author's own rights."""
    api = t.api
    t.passes("a source of one's own", alice, "POST", path(REQUESTS), req(f.name("p1"), submitter="alice", sources=sources("alice-work")))
    t.passes("eight sources of one's own", alice, "POST", path(REQUESTS), req(f.name("p2"), submitter="alice", sources=sources(*["alice-work"] * 8)))
    ingress = dict(direction="Ingress", files=[{"path": "a.csv", "size": 1}])
    t.passes("a delivery of one's own", alice, "POST", path(REQUESTS), req(f.name("p3"), submitter="alice", delivery=delivery("alice-work"), **ingress))
    for i in range(8):
        t.deny(
            f"source {i} is another's",
            "volumes",
            alice,
            "POST",
            path(REQUESTS),
            req(f.name("xp"), submitter="alice", sources=sources(*["alice-work"] * i, "other", *["alice-work"] * (7 - i))),
            says=f"spec.sources[{i}]",
        )
    t.deny(
        "one's own as a delegate's",
        "volumes",
        flux,
        "POST",
        path(REQUESTS),
        req(f.name("xp"), submitter="alice", createdBy="flux-bot", sources=sources("alice-work")),
        says="held by 'flux-bot'",
    )
    t.deny("another's source later", "volumes", alice, "PATCH", path(REQUESTS, f.name("p1")), {"spec": {"sources": sources("other")}})
    t.deny(
        "a delivery to another's",
        "volumes",
        alice,
        "POST",
        path(REQUESTS),
        req(f.name("xp"), submitter="alice", delivery=delivery("other"), **ingress),
        says="airlock-write",
    )
    t.deny("delivery turned to another's", "volumes", alice, "PATCH", path(REQUESTS, f.name("p3")), {"spec": {"delivery": delivery("other")}})
    t.deny(
        "a holder of * collects", "volumes", star, "POST", path(REQUESTS), req(f.name("xp"), submitter="star", sources=sources("alice-work")), says="not by a wildcard"
    )
    t.deny("a holder of * delivers", "volumes", star, "POST", path(REQUESTS), req(f.name("xp"), submitter="star", delivery=delivery("alice-work"), **ingress))
    t.passes("an edit besides, right kept", alice, "PATCH", path(REQUESTS, f.name("p1")), {"spec": {"title": "z"}})
    if not t.without:
        api.bind("volumes", "forge-own-volume", [user_subject("nobody")], PROJECT)
        asked = {"verb": "airlock-read", "resource": "persistentvolumeclaims", "namespace": PROJECT, "name": "alice-work"}
        t.wait("the right to the volume is lost", lambda: not api.allowed("alice", **asked))
        t.passes("an edit besides, right lost", alice, "PATCH", path(REQUESTS, f.name("p1")), {"spec": {"title": "zz"}})
        t.deny("submitting, right lost", "volumes", alice, "PATCH", path(REQUESTS, f.name("p1")), {"spec": {"submission": 1}})
        t.passes("the controller's finalizer, right lost", t.controller, "PATCH", path(REQUESTS, f.name("p1")), {"metadata": {"finalizers": [f"{GROUP}/retention"]}})
        t.passes("... and removed", t.controller, "PATCH", path(REQUESTS, f.name("p1")), {"metadata": {"finalizers": None}})
        t.passes("deleting, right lost", alice, "DELETE", path(REQUESTS, f.name("p1")))
        api.bind("volumes", "forge-own-volume", [user_subject("alice")], PROJECT)
