//! Takes connections, of whatever kind, and serves a bounded number of them at once.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Semaphore;

/// How long accepting pauses after an error, of which most are a lack of descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// Gives `take` each connection that `poll_accept` has, for as long as it is polled.
pub(super) async fn each<S>(
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
    take: impl Fn(S),
) {
    loop {
        match poll_fn(&mut poll_accept).await {
            Ok(stream) => take(stream),
            Err(error) => {
                tracing::debug!(%error, "a connection cannot be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Places for connections that are served at once.
pub(super) struct Places(Arc<Semaphore>);

impl Places {
    pub(super) fn new(number: usize) -> Self {
        Self(Arc::new(Semaphore::new(number)))
    }

    /// Serves a connection in a task of its own, if there is a place for it; otherwise it is closed.
    pub(super) fn serve(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Ok(place) = Arc::clone(&self.0).try_acquire_owned() {
            tokio::spawn(async move {
                task.await;
                drop(place);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn what_finds_no_place_is_dropped_and_a_place_is_free_again_after_its_task() {
        let places = Places::new(1);
        let (end, ended) = oneshot::channel::<()>();
        places.serve(async { drop(ended.await) });
        let (held, closed) = oneshot::channel::<()>();
        places.serve(async { drop(held) });
        assert!(closed.await.is_err());
        assert_eq!(places.0.available_permits(), 0);
        end.send(()).unwrap();
        while places.0.available_permits() == 0 {
            yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_error_accepting_pauses_and_goes_on() {
        let mut answers = [false, false, false, true].into_iter();
        let poll_accept = |_: &mut Context<'_>| match answers.next() {
            Some(true) => Poll::Ready(Ok(())),
            Some(false) => Poll::Ready(Err(io::ErrorKind::Other.into())),
            None => Poll::Pending,
        };
        let (begun, taken) = (tokio::time::Instant::now(), Cell::new(None));
        let accepting = each(poll_accept, |()| taken.set(Some(begun.elapsed())));
        assert!(tokio::time::timeout(Duration::from_secs(5), accepting).await.is_err());
        assert!(taken.get().unwrap() >= 3 * PAUSE);
    }
}
