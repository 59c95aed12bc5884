//! The texts of `/predict`: a queue that is bounded in requests and texts, and forward passes
//! that take a text of each request in turn, so that many short requests are answered together and
//! one of many long texts holds nobody up for longer than a pass.

use std::collections::VecDeque;
use std::sync::Arc;

use classifier::{Classes, TooLong, Truncation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::batch::estimate_tokens;
use crate::bisect::answer;
use crate::model::{Model, Scores};

/// Requests that wait for the model or are with it.
pub(crate) const MAX_REQUESTS: usize = 512;
/// Texts of all of them: sixteen requests of the greatest size.
const MAX_TEXTS: usize = 1_024;
/// Bytes of a text that takes one text's place; a longer one takes several.
const PLACE_BYTES: usize = 4 << 10;
/// Bytes of a text that cost as much as a token, although most of them are not read.
const SKIPPED_BYTES: usize = 256;

/// Texts to label for somebody who waits for the answer.
pub(crate) struct PredictJob {
    pub texts: Vec<String>,
    pub truncation: Truncation,
    /// Whether the answer is what the probabilities are the softmax of.
    pub raw: bool,
    pub reply: oneshot::Sender<Result<Answer, NoAnswer>>,
    /// Free for others when this job is gone.
    pub _place: Place,
}

/// The class names, and a score of each class for each text.
pub(crate) struct Answer {
    pub classes: Classes,
    pub scores: Vec<Vec<f32>>,
}

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// A text is longer than the model reads, which is so many tokens.
    TooLong(TooLong, usize),
    /// The model fails.
    Failed(anyhow::Error),
}

/// Where requests wait for the model.
#[derive(Clone)]
pub(crate) struct Queue {
    jobs: mpsc::Sender<PredictJob>,
    requests: Arc<Semaphore>,
    texts: Arc<Semaphore>,
}

/// A place in the queue.
#[derive(Default)]
pub(crate) struct Place {
    _permits: Option<[OwnedSemaphorePermit; 2]>,
}

impl Queue {
    /// A queue, and where its jobs come out.
    pub fn new() -> (Self, mpsc::Receiver<PredictJob>) {
        let (jobs, receiver) = mpsc::channel(MAX_REQUESTS);
        let [requests, texts] = [MAX_REQUESTS, MAX_TEXTS].map(|places| Arc::new(Semaphore::new(places)));
        (Self { jobs, requests, texts }, receiver)
    }

    /// A place for a request of these texts, if there is room.
    pub fn place(&self, texts: &[String]) -> Option<Place> {
        let places: usize = texts.iter().map(|text| 1 + text.len() / PLACE_BYTES).sum();
        let requests = self.requests.clone().try_acquire_owned().ok()?;
        let texts = self.texts.clone().try_acquire_many_owned(u32::try_from(places).ok()?).ok()?;
        Some(Place { _permits: Some([requests, texts]) })
    }

    /// Gives a job to the model; false if nobody takes it any more.
    pub fn send(&self, job: PredictJob) -> bool {
        // It has a place, so there is room.
        self.jobs.try_send(job).is_ok()
    }
}

/// The requests that wait.
#[derive(Default)]
pub(crate) struct Waiting(VecDeque<Request>);

struct Request {
    job: PredictJob,
    /// Of the first texts.
    scores: Vec<Vec<f32>>,
    failed: Option<NoAnswer>,
}

/// A text in a pass: of which request, and which of its texts.
#[derive(Clone, Copy)]
struct Asked {
    request: usize,
    text: usize,
}

impl Waiting {
    pub fn push(&mut self, job: PredictJob) {
        self.0.push_back(Request { job, scores: Vec::new(), failed: None });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives all of them up, and so tells them.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets what is answered in part: another model does all of it.
    pub fn start_over(&mut self) {
        self.0.iter_mut().for_each(|request| request.scores.clear());
    }

    /// A pass over about so many tokens, or one text; tells how many it was, and answers the
    /// requests that it completes. Those whose client has hung up are dropped before.
    pub fn pass(&mut self, model: &mut dyn Model, tokens: usize) -> usize {
        self.0.retain(|request| !request.job.reply.is_closed());
        let (asked, tokens) = self.choose(tokens, model.max_length());
        for raw in [false, true] {
            let of_kind = |asked: &Asked| self.0[asked.request].job.raw == raw;
            let asked: Vec<Asked> = asked.iter().copied().filter(of_kind).collect();
            // Where the model fails, it may be at one of the texts: the others are not to blame.
            if self.ask(model, &asked, raw).is_err() {
                for request in 0..self.0.len() {
                    let own: Vec<Asked> = asked.iter().copied().filter(|asked| asked.request == request).collect();
                    if let Err(error) = self.ask(model, &own, raw) {
                        self.0[request].failed = Some(NoAnswer::Failed(error));
                    }
                }
            }
        }
        // Who had a turn goes behind those who had none.
        let served = asked.iter().map(|asked| asked.request + 1).max().unwrap_or(0);
        let others = self.0.split_off(served);
        for request in std::mem::replace(&mut self.0, others) {
            self.0.extend(request.answered(model.classes()));
        }
        tokens
    }

    /// A text of each request in turn, until there are enough tokens, as they are estimated.
    fn choose(&self, enough: usize, max_length: usize) -> (Vec<Asked>, usize) {
        let (mut asked, mut tokens) = (Vec::new(), 0);
        for turn in 0.. {
            let before = asked.len();
            for (index, request) in self.0.iter().enumerate() {
                let text = request.scores.len() + turn;
                let Some(content) = request.job.texts.get(text) else { continue };
                asked.push(Asked { request: index, text });
                tokens += estimate_tokens(content, max_length) + content.len() / SKIPPED_BYTES;
                if tokens >= enough {
                    return (asked, tokens);
                }
            }
            if asked.len() == before {
                break;
            }
        }
        (asked, tokens)
    }

    fn ask(&mut self, model: &mut dyn Model, asked: &[Asked], raw: bool) -> anyhow::Result<()> {
        if asked.is_empty() {
            return Ok(());
        }
        let text = |asked: &Asked| {
            let job = &self.0[asked.request].job;
            (job.texts[asked.text].as_str(), job.truncation)
        };
        let answers = answer(model, &asked.iter().map(text).collect::<Vec<_>>(), raw)?;
        for (asked, scores) in asked.iter().zip(answers) {
            self.0[asked.request].note(scores, model.max_length());
        }
        Ok(())
    }
}

impl Request {
    fn note(&mut self, scores: Scores, max_length: usize) {
        match scores {
            Ok(scores) => self.scores.push(scores),
            Err(too_long) => _ = self.failed.get_or_insert(NoAnswer::TooLong(too_long, max_length)),
        }
    }

    /// Answers it if it has an answer; else it goes on.
    fn answered(self, classes: &Classes) -> Option<Self> {
        let Self { job, scores, failed } = self;
        let answer = match failed {
            Some(failed) => Err(failed),
            None if scores.len() == job.texts.len() => Ok(Answer { classes: classes.clone(), scores }),
            None => return Some(Self { job, scores, failed: None }),
        };
        // Nobody may be waiting any more.
        let _ = job.reply.send(answer);
        None
    }
}

#[cfg(test)]
mod tests;
