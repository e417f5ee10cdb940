//! Objects of the Kubernetes API, a page at a time.

use std::fmt::Debug;

use futures::{Stream, TryStreamExt as _, stream};
use kube::api::{ListParams, ObjectList, PartialObjectMeta};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// Objects of a page: so few that a page of the largest is some tens of megabytes.
const PAGE: u32 = 25;

/// All objects of a kind, page by page; none where its definition was deleted.
///
/// What is done between two pages may take its time: where the API server does not
/// remember the list any more, it goes on from the same name on. An object that is there
/// all the while is given once (Kubernetes docs, API concepts, "Retrieving large results
/// sets in chunks").
pub fn objects<K>(api: &Api<K>) -> impl Stream<Item = Result<Vec<K>, kube::Error>>
where
    K: Clone + Debug + DeserializeOwned,
{
    let pages = pages(async |params| api.list(&params).await);
    pages.or_else(|error| {
        let gone = matches!(&error, kube::Error::Api(answer) if answer.code == 404);
        std::future::ready(if gone { Ok(Vec::new()) } else { Err(error) })
    })
}

/// The metadata of all objects of a kind, page by page; an error where its definition was
/// deleted.
pub fn metadata<K>(
    api: &Api<K>,
) -> impl Stream<Item = Result<Vec<PartialObjectMeta<K>>, kube::Error>>
where
    K: Clone + Debug + DeserializeOwned + Resource,
{
    pages(async |params| api.list_metadata(&params).await)
}

/// Shows the objects that a list has, a page in memory at a time. A list that the API server
/// forgets meanwhile is an error: what was shown is of one moment, or is not used.
///
/// # Errors
/// As the API server says.
pub async fn visit<K>(
    api: &Api<K>,
    params: ListParams,
    mut each: impl FnMut(Vec<K>) + Send,
) -> kube::Result<()>
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut params = params.limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        each(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// Where to go on.
enum At {
    Start,
    Token(String),
    End,
}

fn pages<K: Clone>(
    list: impl AsyncFn(ListParams) -> kube::Result<ObjectList<K>>,
) -> impl Stream<Item = Result<Vec<K>, kube::Error>> {
    stream::try_unfold((list, At::Start), async |(list, mut at)| {
        loop {
            let params = ListParams::default().limit(PAGE);
            let params = match &at {
                At::Start => params,
                At::Token(token) => params.continue_token(token),
                At::End => return Ok(None),
            };
            match list(params).await {
                Ok(page) => {
                    at = after(page.metadata.continue_).unwrap_or(At::End);
                    return Ok(Some((page.items, (list, at))));
                }
                // A token that is refused is not tried again: what comes with it goes on.
                Err(kube::Error::Api(answer)) if answer.code == 410 => {
                    let again = answer.metadata.as_ref().and_then(|m| m.continue_.clone());
                    match after(again) {
                        Some(next) => at = next,
                        None => return Err(kube::Error::Api(answer)),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    })
}

fn after(token: Option<String>) -> Option<At> {
    token.filter(|token| !token.is_empty()).map(At::Token)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::{Value, json};

    use super::*;

    /// What a list gives that is answered like this, and the tokens that it was asked with.
    async fn given(answers: Vec<Result<Value, Value>>) -> (Result<Vec<String>, u16>, Vec<String>) {
        let answers = Mutex::new(answers.into_iter());
        let asked = Mutex::new(Vec::new());
        let pages = pages(async |params: ListParams| {
            assert_eq!(params.limit, Some(PAGE));
            asked
                .lock()
                .unwrap()
                .push(params.continue_token.unwrap_or_default());
            let answer = answers.lock().unwrap().next().unwrap();
            answer
                .map(|list| serde_json::from_value::<ObjectList<ConfigMap>>(list).unwrap())
                .map_err(|status| kube::Error::Api(serde_json::from_value(status).unwrap()))
        });
        let all: Result<Vec<Vec<ConfigMap>>, kube::Error> = pages.try_collect().await;
        let names = all
            .map(|pages| {
                pages
                    .into_iter()
                    .flatten()
                    .map(|o| o.metadata.name.unwrap())
                    .collect()
            })
            .map_err(|error| match error {
                kube::Error::Api(answer) => answer.code,
                other => panic!("{other}"),
            });
        (names, asked.into_inner().unwrap())
    }

    fn page(names: &[&str], token: &str) -> Result<Value, Value> {
        let items: Vec<Value> = names
            .iter()
            .map(|n| json!({"metadata": {"name": n}}))
            .collect();
        Ok(
            json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"continue": token}, "items": items}),
        )
    }

    fn refusal(code: u16, token: &str) -> Result<Value, Value> {
        Err(
            json!({"status": "Failure", "code": code, "reason": "Expired", "message": "m", "metadata": {"continue": token}}),
        )
    }

    #[tokio::test]
    async fn every_page_is_given_once_also_after_the_list_was_forgotten() {
        for (answers, names, tokens) in [
            (vec![page(&[], "")], Ok(vec![]), vec![""]),
            (
                vec![page(&["a"], "1"), page(&["b"], "")],
                Ok(vec!["a", "b"]),
                vec!["", "1"],
            ),
            (
                vec![
                    page(&["a"], "1"),
                    refusal(410, "2"),
                    page(&["b"], "3"),
                    page(&["c"], ""),
                ],
                Ok(vec!["a", "b", "c"]),
                vec!["", "1", "2", "3"],
            ),
            (
                vec![page(&["a"], "1"), refusal(410, "")],
                Err(410),
                vec!["", "1"],
            ),
            (
                vec![page(&["a"], "1"), refusal(500, "2")],
                Err(500),
                vec!["", "1"],
            ),
        ] {
            let names = names.map(|names: Vec<&str>| names.into_iter().map(String::from).collect());
            let tokens = tokens.into_iter().map(String::from).collect();
            assert_eq!(given(answers).await, (names, tokens));
        }
    }
}
