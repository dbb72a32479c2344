//! The objects of one kind in one place: reading, writing and deleting them, each call bounded in time and named in its
//! error.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::{ObjectList, ObjectMeta, PartialObjectMeta};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout_at};

use super::error::{Call, Error};
use crate::names::{FIELD_MANAGER, label};

/// Objects of one page. Larger pages make fewer requests, smaller ones less to hold at once.
const PAGE: u32 = 500;

/// First and longest pause between tries of one call.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Which objects.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query {
    labels: Option<String>,
    fields: Option<String>,
    page: Option<u32>,
}

impl Query {
    /// All of them.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those with these labels, e.g. `a=b,c`.
    pub fn labels(labels: impl Into<String>) -> Self {
        Self {
            labels: Some(labels.into()),
            ..Self::default()
        }
    }

    /// Those with these fields, e.g. `metadata.name=x`.
    #[must_use]
    pub fn fields(mut self, fields: impl Into<String>) -> Self {
        self.fields = Some(fields.into());
        self
    }

    /// So many at a time instead of the usual 500, for kinds whose objects are large.
    #[must_use]
    pub fn page(mut self, page: u32) -> Self {
        self.page = Some(page);
        self
    }

    fn params(&self) -> ListParams {
        ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            limit: Some(self.page.unwrap_or(PAGE)),
            ..ListParams::default()
        }
    }

    pub(super) fn watch(&self) -> kube::runtime::watcher::Config {
        kube::runtime::watcher::Config {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            page_size: Some(self.page.unwrap_or(PAGE)),
            ..kube::runtime::watcher::Config::default()
        }
    }
}

/// The objects of one kind in one place.
#[derive(Clone)]
pub struct Objects<K> {
    api: Api<K>,
    kind: String,
    timeout: Duration,
}

impl<K> fmt::Debug for Objects<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl<K> Objects<K>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    pub(super) fn new(api: Api<K>, kind: String, timeout: Duration) -> Self {
        Self { api, kind, timeout }
    }

    /// kube's own handle, for streams into pods.
    pub fn api(&self) -> &Api<K> {
        &self.api
    }

    /// The limit of one call.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn named(&self, verb: &'static str, name: &str) -> Call {
        Call {
            name: Some(name.to_owned()),
            ..self.many(verb)
        }
    }

    pub(super) fn many(&self, verb: &'static str) -> Call {
        Call {
            verb,
            kind: self.kind.clone(),
            namespace: self.api.namespace().map(str::to_owned),
            name: None,
        }
    }

    /// One object; `None` if there is none of this name.
    pub async fn get_opt(&self, name: &str) -> Result<Option<K>, Error> {
        missing_is_none(self.get(name).await)
    }

    /// One object, which must be there.
    pub async fn get(&self, name: &str) -> Result<K, Error> {
        bounded(&self.named("get", name), self.timeout, Again::Always, || {
            self.api.get(name)
        })
        .await
    }

    /// Name, labels and the like of one object, without the rest; `None` if there is none of this name.
    pub async fn get_metadata_opt(&self, name: &str) -> Result<Option<PartialObjectMeta<K>>, Error> {
        let call = self.named("get", name);
        missing_is_none(bounded(&call, self.timeout, Again::Always, || self.api.get_metadata(name)).await)
    }

    /// All objects that match, page by page, without `managedFields`.
    pub async fn list(&self, query: &Query) -> Result<Vec<K>, Error> {
        self.list_with(query, |object| object).await
    }

    /// What `keep` makes of each object that matches; only one page is held at a time.
    pub async fn list_with<T>(&self, query: &Query, mut keep: impl FnMut(K) -> T) -> Result<Vec<T>, Error> {
        self.collect(query, &mut keep, |params| async move { self.api.list(&params).await })
            .await
    }

    /// What `keep` makes of the name, labels and the like of each object that matches; the rest is never sent.
    pub async fn list_metadata_with<T>(
        &self,
        query: &Query,
        mut keep: impl FnMut(PartialObjectMeta<K>) -> T,
    ) -> Result<Vec<T>, Error> {
        self.collect(query, &mut keep, |params| async move {
            self.api.list_metadata(&params).await
        })
        .await
    }

    async fn collect<O, T, F, Fut>(
        &self,
        query: &Query,
        keep: &mut impl FnMut(O) -> T,
        fetch: F,
    ) -> Result<Vec<T>, Error>
    where
        O: Resource + Clone,
        F: Fn(ListParams) -> Fut,
        Fut: Future<Output = kube::Result<ObjectList<O>>>,
    {
        let call = self.many("list");
        let mut params = query.params();
        let mut kept = Vec::new();
        let mut restarted = false;
        loop {
            match bounded(&call, self.timeout, Again::Always, || fetch(params.clone())).await {
                Ok(page) => {
                    kept.extend(page.items.into_iter().map(|mut object| {
                        object.meta_mut().managed_fields = None;
                        keep(object)
                    }));
                    params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
                    if params.continue_token.is_none() {
                        return Ok(kept);
                    }
                }
                // The rest of the list is gone from the server's memory: once from the start, then the list is too long for it.
                Err(error) if error.is_expired() && !restarted => {
                    restarted = true;
                    kept.clear();
                    params.continue_token = None;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The objects that match, one page after the other, for those who may stop early.
    pub fn pages(&self, query: &Query) -> Pages<'_, K> {
        Pages {
            objects: self,
            params: Some(query.params()),
        }
    }

    /// Makes an object. After an answer that never came it is not sent again, for it may have been made; but the client
    /// itself sends again what a proxy answered with 504, so a name that is taken may be taken by us.
    pub async fn create(&self, object: &K) -> Result<K, Error>
    where
        K: Serialize,
    {
        let call = self.named("create", &object.name_any());
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            dry_run: false,
        };
        bounded(&call, self.timeout, Again::Never, || self.api.create(&params, object)).await
    }

    /// Makes an object, or finds that this very run has made it: a request whose answer was lost is sent again, and then
    /// the name is taken, by us. What else has the name is [`Error::is_already_exists`].
    pub async fn create_or_same(&self, object: &K) -> Result<K, Error>
    where
        K: Serialize,
    {
        let name = object.name_any();
        let call = self.named("create", &name);
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            dry_run: false,
        };
        match bounded(&call, self.timeout, Again::Always, || self.api.create(&params, object)).await {
            Err(error) if error.is_already_exists() => match self.get_opt(&name).await? {
                Some(existing) if same_run(&existing, object) => Ok(existing),
                _ => Err(error),
            },
            other => other,
        }
    }

    /// Asks what would come of making this object, admission and all. Nothing is stored.
    pub async fn dry_run_create(&self, object: &K) -> Result<K, Error>
    where
        K: Serialize,
    {
        let call = self.named("create (dry run)", &object.name_any());
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            dry_run: true,
        };
        bounded(&call, self.timeout, Again::Always, || self.api.create(&params, object)).await
    }

    /// Writes an object over the one with its resource version; a conflict if that has changed.
    pub async fn replace(&self, object: &K) -> Result<K, Error>
    where
        K: Serialize,
    {
        let name = object.name_any();
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            dry_run: false,
        };
        bounded(&self.named("update", &name), self.timeout, Again::Never, || {
            self.api.replace(&name, &params, object)
        })
        .await
    }

    /// Merges a patch into an object.
    pub async fn merge(&self, name: &str, patch: &(impl Serialize + fmt::Debug)) -> Result<K, Error> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(patch);
        bounded(&self.named("patch", name), self.timeout, Again::Always, || {
            self.api.patch(name, &params, &patch)
        })
        .await
    }

    /// The same for a patch that names the version it is for: one that changed meanwhile is a conflict, and the caller's to look at.
    pub async fn merge_version(&self, name: &str, patch: &(impl Serialize + fmt::Debug)) -> Result<K, Error> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(patch);
        bounded(&self.named("patch", name), self.timeout, Again::UnlessConflict, || {
            self.api.patch(name, &params, &patch)
        })
        .await
    }

    /// Merges a patch into an object's status.
    pub async fn merge_status(&self, name: &str, patch: &(impl Serialize + fmt::Debug)) -> Result<K, Error> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(patch);
        let call = self.named("patch status of", name);
        bounded(&call, self.timeout, Again::Always, || {
            self.api.patch_status(name, &params, &patch)
        })
        .await
    }

    /// Deletes this very object and no other of its name. `false` if it is gone already, or replaced.
    pub async fn delete(&self, name: &str, uid: &str) -> Result<bool, Error> {
        let only = Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        };
        match self.delete_if(name, only).await {
            Err(error) if is_other_uid(&error) => Ok(false),
            other => other,
        }
    }

    /// Deletes this very object as it was seen. `false` if it is not that any more.
    pub async fn delete_version(&self, seen: &ObjectMeta) -> Result<bool, Error> {
        let only = Preconditions {
            uid: seen.uid.clone(),
            resource_version: seen.resource_version.clone(),
        };
        match self.delete_if(seen.name.as_deref().unwrap_or_default(), only).await {
            Err(error) if error.is_conflict() => Ok(false),
            other => other,
        }
    }

    async fn delete_if(&self, name: &str, only: Preconditions) -> Result<bool, Error> {
        let params = DeleteParams {
            preconditions: Some(only),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let call = self.named("delete", name);
        match bounded(&call, self.timeout, Again::UnlessConflict, || {
            self.api.delete(name, &params)
        })
        .await
        {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl<K> Objects<K>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    /// Deletes all objects of the namespace, each with this grace period in seconds.
    pub async fn delete_all(&self, grace: u32) -> Result<(), Error> {
        let params = DeleteParams {
            grace_period_seconds: Some(grace),
            ..DeleteParams::default()
        };
        let all = ListParams::default();
        bounded(&self.many("delete all"), self.timeout, Again::Always, || {
            self.api.delete_collection(&params, &all)
        })
        .await
        .map(drop)
    }
}

/// A list, page by page.
#[derive(Debug)]
pub struct Pages<'a, K> {
    objects: &'a Objects<K>,
    params: Option<ListParams>,
}

impl<K> Pages<'_, K>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    /// The next page, without `managedFields`; `None` after the last. [`Error::is_expired`] when the rest can no longer be
    /// had.
    pub async fn next(&mut self) -> Result<Option<Vec<K>>, Error> {
        let Some(params) = self.params.take() else {
            return Ok(None);
        };
        let objects = self.objects;
        let page = bounded(&objects.many("list"), objects.timeout, Again::Always, || {
            objects.api.list(&params)
        })
        .await?;
        if let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) {
            self.params = Some(ListParams {
                continue_token: Some(token),
                ..params
            });
        }
        let mut items = page.items;
        for item in &mut items {
            item.meta_mut().managed_fields = None;
        }
        Ok(Some(items))
    }
}

/// When a call that failed may be sent again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Again {
    /// Whenever it may help.
    Always,
    /// The same, but a conflict stands: the object is not the one that was meant.
    UnlessConflict,
    /// Not here: what the server did is not known, and doing it twice would be wrong. (kube's own client sends again after
    /// 429, 503 and 504.)
    Never,
}

/// Attempts of a call that may be sent again, if none of them is answered.
const ATTEMPTS: u32 = 3;

/// One call, tried again while that may help, within `limit` in all. An attempt that may be followed by another has its share of
/// that only: it may be on a connection whose other end is gone.
pub(super) async fn bounded<T, F, Fut>(call: &Call, limit: Duration, again: Again, mut attempt: F) -> Result<T, Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = kube::Result<T>>,
{
    let deadline = Instant::now() + limit;
    let share = limit / ATTEMPTS;
    let mut pause = FIRST_PAUSE;
    let mut last = None;
    loop {
        let end = match again {
            Again::Never => deadline,
            Again::Always | Again::UnlessConflict => deadline.min(Instant::now() + share),
        };
        let error = match timeout_at(end, attempt()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => call.failed(error),
            Err(_) if end < deadline => call.timed_out(share, None),
            Err(_) => return Err(call.timed_out(limit, last)),
        };
        // A conflict did nothing: two writers met, or two objects were counted against one quota.
        let met_another = again == Again::Always && error.is_conflict();
        // An expired place in a list cannot be cured by asking for it again.
        if again == Again::Never || !(error.is_transient() || met_another) || error.is_expired() {
            return Err(error);
        }
        if Instant::now() + pause >= deadline {
            return Err(call.timed_out(limit, Some(error)));
        }
        tracing::debug!(%error, "trying again");
        last = Some(error);
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn missing_is_none<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Both carry the same run's label.
fn same_run<K: Resource>(one: &K, other: &K) -> bool {
    let run = |object: &K| {
        object
            .meta()
            .labels
            .as_ref()
            .and_then(|labels| labels.get(label::RUN).cloned())
    };
    run(one).is_some() && run(one) == run(other)
}

/// The UID of the precondition is not that of the object.
fn is_other_uid(error: &Error) -> bool {
    error.is_conflict() && error.server_message().is_some_and(|text| text.contains("UID"))
}
