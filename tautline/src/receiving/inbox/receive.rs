//! The future of `receive_async`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::state::{LinePlace, Lookup, ReceiverWaker};
use super::{AskResult, Inbox, ReceiveError};
use crate::message::Message;
use crate::sync::{Arc, lock};

/// The future of `receive_async`: resolves to the next message.
///
/// It gets its place in the line with the first poll. Dropping it gives up the place, and loses nothing.
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
pub struct Receive {
    inbox: Arc<Inbox>,
    progress: ReceiveProgress,
}

#[derive(Debug)]
enum ReceiveProgress {
    New,
    Waiting(LinePlace),
    Done,
}

impl Receive {
    pub(super) const fn new(inbox: Arc<Inbox>) -> Self {
        Self { inbox, progress: ReceiveProgress::New }
    }

    fn poll_new(&mut self, waker: &Waker) -> Poll<Result<Message, ReceiveError>> {
        let waker = waker.clone();
        match self.inbox.ask(move || ReceiverWaker::Task(waker)) {
            AskResult::Answer(answer) => Poll::Ready(answer),
            AskResult::Wait(place) => {
                self.progress = ReceiveProgress::Waiting(place);
                Poll::Pending
            }
        }
    }

    fn poll_waiting(&mut self, place: LinePlace, waker: &Waker) -> Poll<Result<Message, ReceiveError>> {
        let mut wake = ReceiverWaker::Task(waker.clone());
        let mut state = lock(&self.inbox.state);
        match state.collect(place) {
            Lookup::Answer(answer) => return Poll::Ready(answer),
            Lookup::Spent(_) => {
                drop(state);
                return self.poll_new(waker);
            }
            Lookup::Nothing => {}
        }
        let index = state.index_of(place).expect("neither handed a message nor closed, so in the line");
        // The task may have another waker now. The old one is dropped after the lock is released.
        std::mem::swap(&mut state.line[index].wake, &mut wake);
        drop(state);
        Poll::Pending
    }
}

impl Future for Receive {
    type Output = Result<Message, ReceiveError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let poll = match self.progress {
            ReceiveProgress::New => self.poll_new(context.waker()),
            ReceiveProgress::Waiting(place) => self.poll_waiting(place, context.waker()),
            ReceiveProgress::Done => panic!("polled after it was ready"),
        };
        if poll.is_ready() {
            self.progress = ReceiveProgress::Done;
        }
        poll
    }
}

impl Drop for Receive {
    fn drop(&mut self) {
        if let ReceiveProgress::Waiting(place) = self.progress {
            self.inbox.cancel(place);
        }
    }
}
