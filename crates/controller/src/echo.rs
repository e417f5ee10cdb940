//! The watches tell of our own writes, too. They are no news: each is made on the
//! condition that the object is as it was read, and so it holds nothing that nobody told
//! of before. To look again because of each would double the looks.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Mutex;

use kube::Resource;
use lru::LruCache;

use super::context::held;

/// Own writes that are remembered. One that is forgotten costs a look more.
const KNOWN: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// What was written, and what was heard while it was.
pub struct Echoes(Mutex<State>);

struct State {
    own: LruCache<Version, ()>,
    /// What the watches told while a request was looked at, by its uid: the answer to a
    /// write may come later than the watch.
    heard: HashMap<String, HashSet<Version>>,
}

/// uid and resourceVersion.
type Version = (String, String);

impl Default for Echoes {
    fn default() -> Self {
        Self(Mutex::new(State {
            own: LruCache::new(KNOWN),
            heard: HashMap::new(),
        }))
    }
}

impl Echoes {
    /// An object stands as this process wrote it, on the condition that it was as it had
    /// been read.
    pub fn wrote(&self, object: &impl Resource) {
        if let Some(version) = version(object) {
            held(&self.0).own.put(version, ());
        }
    }

    /// Whether what a watch tells of an object is a reason to look at a request now. While
    /// it is looked at, that is put off until the look ends.
    pub fn is_news(&self, request: &str, object: &impl Resource) -> bool {
        let Some(version) = version(object) else {
            return true;
        };
        let mut state = held(&self.0);
        match state.heard.get_mut(request) {
            Some(heard) => {
                heard.insert(version);
                false
            }
            None => !state.own.contains(&version),
        }
    }

    /// A look begins.
    pub fn begin(&self, request: &str) {
        held(&self.0).heard.entry(request.to_owned()).or_default();
    }

    /// A look ends; gives whether there is a reason for another one.
    pub fn end(&self, request: &str) -> bool {
        let mut state = held(&self.0);
        let heard = state.heard.remove(request).unwrap_or_default();
        heard.iter().any(|version| !state.own.contains(version))
    }
}

fn version(object: &impl Resource) -> Option<Version> {
    let meta = object.meta();
    Some((meta.uid.clone()?, meta.resource_version.clone()?))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;

    fn object(uid: &str, version: &str) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"uid": uid, "resourceVersion": version}}))
            .unwrap()
    }

    enum Step {
        Wrote(&'static str, &'static str),
        /// What is heard, and whether it is news at once.
        Hears(&'static str, &'static str, bool),
        Begins,
        /// Whether there is news.
        Ends(bool),
    }
    use Step::{Begins, Ends, Hears, Wrote};

    #[test]
    fn only_what_somebody_else_wrote_is_a_reason_to_look() {
        let stories: [(&str, &[Step]); 10] = [
            ("of somebody", &[Hears("r", "1", true)]),
            ("an echo", &[Wrote("r", "2"), Hears("r", "2", false)]),
            (
                "somebody after us",
                &[
                    Wrote("r", "2"),
                    Hears("r", "2", false),
                    Hears("r", "3", true),
                ],
            ),
            (
                "the same version of another object",
                &[Wrote("r", "2"), Hears("v", "2", true)],
            ),
            (
                "the watch is faster than the answer",
                &[Begins, Hears("r", "2", false), Wrote("r", "2"), Ends(false)],
            ),
            (
                "two writes of a look",
                &[
                    Begins,
                    Wrote("r", "2"),
                    Hears("r", "2", false),
                    Hears("r", "3", false),
                    Wrote("r", "3"),
                    Ends(false),
                ],
            ),
            (
                "somebody while we look",
                &[
                    Begins,
                    Wrote("r", "2"),
                    Hears("r", "2", false),
                    Hears("r", "3", false),
                    Ends(true),
                ],
            ),
            (
                "somebody before our write",
                &[
                    Begins,
                    Hears("r", "2", false),
                    Wrote("r", "3"),
                    Hears("r", "3", false),
                    Ends(true),
                ],
            ),
            (
                "somebody's review while we look",
                &[
                    Begins,
                    Hears("v", "2", false),
                    Hears("r", "3", false),
                    Wrote("r", "3"),
                    Ends(true),
                ],
            ),
            (
                "after a look",
                &[Begins, Ends(false), Hears("r", "3", true)],
            ),
        ];
        for (story, steps) in stories {
            let echoes = Echoes::default();
            for step in steps {
                match step {
                    Wrote(uid, version) => echoes.wrote(&object(uid, version)),
                    Hears(uid, version, news) => {
                        assert_eq!(echoes.is_news("r", &object(uid, version)), *news, "{story}");
                    }
                    Begins => echoes.begin("r"),
                    Ends(news) => assert_eq!(echoes.end("r"), *news, "{story}"),
                }
            }
        }
    }
}
