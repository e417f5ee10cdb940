//! What keeps files that are due from being deleted, as it is shown on requests. Found
//! again after a restart by the first sweep.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use trevor_core::retention::What;

/// Requests of which it is remembered; the numbers have all of them.
const MOST: usize = 10_000;

/// Why a deletion is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// One CamelCase word.
    pub reason: &'static str,
    /// In words.
    pub message: String,
}

/// All of it, by uid of the request.
#[derive(Debug, Default)]
pub struct Troubles(Mutex<HashMap<String, BTreeMap<What, Trouble>>>);

impl Troubles {
    fn all(&self) -> MutexGuard<'_, HashMap<String, BTreeMap<What, Trouble>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A deletion failed; gives whether that is news.
    pub fn set(&self, uid: &str, what: What, trouble: Trouble) -> bool {
        let mut all = self.all();
        if all.len() >= MOST && !all.contains_key(uid) {
            return false;
        }
        let of = all.entry(uid.to_owned()).or_default();
        of.insert(what, trouble.clone()).as_ref() != Some(&trouble)
    }

    /// It is done, or not to be done now; gives whether that is news.
    pub fn clear(&self, uid: &str, what: What) -> bool {
        let mut all = self.all();
        let Some(of) = all.get_mut(uid) else {
            return false;
        };
        let news = of.remove(&what).is_some();
        if of.is_empty() {
            all.remove(uid);
        }
        news
    }

    /// What there is of a request.
    #[must_use]
    pub fn of(&self, uid: &str) -> Option<Trouble> {
        self.all().get(uid)?.values().next().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_news_once_and_its_end_too() {
        let troubles = Troubles::default();
        let trouble = Trouble {
            reason: "DeletionRefused",
            message: "kept".to_owned(),
        };
        assert!(troubles.set("u", What::Release, trouble.clone()));
        assert!(!troubles.set("u", What::Release, trouble.clone()));
        assert_eq!(troubles.of("u"), Some(trouble));
        assert!(troubles.clear("u", What::Release));
        assert!(!troubles.clear("u", What::Release));
        assert_eq!(troubles.of("u"), None);
    }
}
