//! Tasks that live as long as the process does. None of them ends while all is well, so
//! that one which does, by a panic or by itself, ends the process: a controller whose watch
//! has died would go on, and be ready, and never see a review again.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};

/// The tasks of this process, by name. They end when this is dropped.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// A task that was to live as long as the process does ended.
#[derive(Debug, thiserror::Error)]
#[error("the task \"{name}\" ended{}: the process is to be started again", .panic.as_ref().map(|p| format!(" ({p})")).unwrap_or_default())]
pub struct Ended {
    name: &'static str,
    panic: Option<String>,
}

impl Tasks {
    /// Starts a task; `name` is for the error message if it ends.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.set.spawn(task);
        self.names.insert(handle.id(), name);
    }

    /// Waits until a task ends. It waits for ever where there is none.
    pub async fn ended(&mut self) -> Ended {
        let (id, panic) = match self.set.join_next_with_id().await {
            None => std::future::pending().await,
            Some(Ok((id, ()))) => (id, None),
            Some(Err(error)) => (error.id(), Some(error.to_string())),
        };
        Ended {
            name: self.names.remove(&id).unwrap_or("unknown"),
            panic,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_or_panics_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("watch of reviews", std::future::pending());
        let (end, ends) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn("watch of actions", async move { drop(ends.await) });
        end.send(()).unwrap();
        let ended = tasks.ended().await.to_string();
        assert_eq!(
            ended,
            "the task \"watch of actions\" ended: the process is to be started again"
        );
        tasks.spawn("health", async { panic!("out of range") });
        let ended = tasks.ended().await.to_string();
        assert!(
            ended.starts_with("the task \"health\" ended (") && ended.contains("panicked"),
            "{ended}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_ends_where_nothing_runs() {
        let mut tasks = Tasks::default();
        let ended = tokio::time::timeout(std::time::Duration::from_secs(3600), tasks.ended());
        assert!(ended.await.is_err());
    }
}
