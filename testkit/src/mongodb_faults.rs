//! A proxy for MongoDB's protocol that makes commands fail.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use mongodb::bson::{Document, RawDocument, doc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::fault_proxy::split;

/// Whether the server executed the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultEffect {
    /// The server never gets it.
    None,
    /// The server executed it and answered.
    Done,
}

/// The fault of a command.
pub enum CommandFault {
    /// The connection is reset.
    Reset(FaultEffect),
    /// This is the answer.
    Answer(FaultEffect, Document),
    /// These fields are added to the server's answer.
    Also(Document),
    /// This runs between the server's answer and its arrival.
    Meanwhile(Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>),
}

impl CommandFault {
    /// The command fails with this code.
    pub fn error(effect: FaultEffect, code: i32) -> Self {
        Self::Answer(effect, doc! { "ok": 0.0, "code": code, "errmsg": "s3cret" })
    }

    /// A write that no majority acknowledged in time.
    pub fn not_durable(code: i32) -> Self {
        Self::Also(doc! { "writeConcernError": { "code": code, "errmsg": "s3cret" } })
    }

    /// Runs `work` while a command is executed.
    pub fn meanwhile(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self::Meanwhile(Box::new(|| Box::pin(work)))
    }
}

/// A proxy with its own address. It needs the runtime on which it was created.
pub struct FaultyWay {
    url: String,
    plan: Arc<Mutex<Plan>>,
}

/// The planned faults.
#[derive(Default)]
struct Plan {
    /// Faults by command names, the first of a name first.
    faults: Vec<(&'static str, CommandFault)>,
    /// Extra fields of every answer to a command.
    always: Vec<(&'static str, Document)>,
    /// `nModified` is `n` in all answers.
    all_modified: bool,
}

impl Plan {
    fn fault_of(&mut self, command: &str) -> Option<CommandFault> {
        if let Some(at) = self.faults.iter().position(|(name, _)| *name == command) {
            return Some(self.faults.remove(at).1);
        }
        let always = self.always.iter().find(|(name, _)| *name == command);
        always.map(|(_, fields)| CommandFault::Also(fields.clone()))
    }
}

impl FaultyWay {
    /// A proxy to the server at `url`.
    ///
    /// # Panics
    /// If no port is free, or the URL names no server.
    pub fn to(url: &str) -> Self {
        let (before, server, after) = split(url);
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let address = listener.local_addr().expect("its address");
        let plan = Arc::<Mutex<Plan>>::default();
        tokio::spawn(accept(listener, server.to_owned(), Arc::clone(&plan)));
        Self { url: format!("{before}{address}{after}"), plan }
    }

    /// The URL of this proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next command of this name, after those of earlier calls, gets a fault.
    pub fn next(&self, command: &'static str, fault: CommandFault) {
        locked(&self.plan).faults.push((command, fault));
    }

    /// From now on every answer to the command has these fields.
    pub fn always(&self, command: &'static str, fields: Document) {
        locked(&self.plan).always.push((command, fields));
    }

    /// From now on a document that an update leaves as it is counts as modified.
    pub fn count_all_as_modified(&self) {
        locked(&self.plan).all_modified = true;
    }

    /// Whether all faults were used.
    pub fn is_done(&self) -> bool {
        locked(&self.plan).faults.is_empty()
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: std::net::TcpListener, server: String, plan: Arc<Mutex<Plan>>) {
    let listener = TcpListener::from_std(listener).expect("a listener on this runtime");
    while let Ok((near, _)) = listener.accept().await {
        let (server, plan) = (server.clone(), Arc::clone(&plan));
        // Ends with either side, or with the runtime.
        tokio::spawn(async move { carry(near, &server, plan).await });
    }
}

/// The shared state of both directions of a connection.
struct Connection {
    plan: Arc<Mutex<Plan>>,
    /// Faults of answers, by the numbers of their requests.
    awaited: Mutex<HashMap<i32, CommandFault>>,
    to_near: tokio::sync::Mutex<OwnedWriteHalf>,
}

async fn carry(near: TcpStream, server: &str, plan: Arc<Mutex<Plan>>) -> io::Result<()> {
    let far = TcpStream::connect(server).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let (awaited, to_near) = (Mutex::default(), tokio::sync::Mutex::new(to_near));
    let connection = Connection { plan, awaited, to_near };
    tokio::try_join!(connection.requests(from_near, to_far), connection.answers(from_far))?;
    Ok(())
}

impl Connection {
    async fn requests(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
        loop {
            let message = Message::read(&mut from).await?;
            let fault = message.command().and_then(|command| locked(&self.plan).fault_of(command));
            match fault {
                Some(CommandFault::Reset(FaultEffect::None)) => {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                Some(CommandFault::Answer(FaultEffect::None, answer)) => {
                    let answer = Message::answer(message.number(), &answer);
                    self.to_near.lock().await.write_all(&answer.0).await?;
                    continue;
                }
                Some(fault) => drop(locked(&self.awaited).insert(message.number(), fault)),
                None => {}
            }
            to.write_all(&message.0).await?;
        }
    }

    async fn answers(&self, mut from: OwnedReadHalf) -> io::Result<()> {
        loop {
            let mut message = Message::read(&mut from).await?;
            let fault = locked(&self.awaited).remove(&message.answers());
            match fault {
                Some(CommandFault::Reset(_)) => return Err(io::ErrorKind::ConnectionReset.into()),
                Some(CommandFault::Answer(_, answer)) => {
                    message = Message::answer(message.answers(), &answer);
                }
                Some(CommandFault::Also(fields)) => message.change(|answer| answer.extend(fields)),
                Some(CommandFault::Meanwhile(work)) => work().await,
                None => {}
            }
            if locked(&self.plan).all_modified && message.has("nModified") {
                message.change(|answer| {
                    let n = answer.get("n").cloned().unwrap_or_default();
                    answer.insert("nModified", n);
                });
            }
            self.to_near.lock().await.write_all(&message.0).await?;
        }
    }
}

/// A message of the wire protocol: its length, its number, the number of the request that it answers and
/// its kind, 4 bytes each; then flags, and a section with a document.
struct Message(Vec<u8>);

const HEADER_BYTES: usize = 16;
/// Flags, and the kind of the first section.
const PREFIX_BYTES: usize = HEADER_BYTES + 5;
const OP_MSG: i32 = 2013;
/// The kind of a section that is one document.
const BODY: u8 = 0;

impl Message {
    async fn read(from: &mut OwnedReadHalf) -> io::Result<Self> {
        let length = from.read_i32_le().await?;
        let more = usize::try_from(length - 4).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.resize(4 + more, 0);
        from.read_exact(&mut bytes[4..]).await?;
        Ok(Self(bytes))
    }

    fn answer(to: i32, document: &Document) -> Self {
        let body = document.to_vec().expect("a document");
        let length = i32::try_from(PREFIX_BYTES + body.len()).expect("a short answer");
        let mut bytes: Vec<u8> = [length, 0, to, OP_MSG, 0].map(i32::to_le_bytes).concat();
        bytes.push(BODY);
        bytes.extend(body);
        Self(bytes)
    }

    fn int(&self, at: usize) -> i32 {
        self.0.get(at..at + 4).and_then(|int| int.try_into().ok()).map_or(0, i32::from_le_bytes)
    }

    fn number(&self) -> i32 {
        self.int(4)
    }

    fn answers(&self) -> i32 {
        self.int(8)
    }

    /// The document of a message that begins with one.
    fn body(&self) -> Option<&RawDocument> {
        let is_body = self.int(12) == OP_MSG && self.0.get(PREFIX_BYTES - 1) == Some(&BODY);
        let length = usize::try_from(self.int(PREFIX_BYTES)).ok()?;
        let bytes = self.0.get(PREFIX_BYTES..PREFIX_BYTES + length).filter(|_| is_body)?;
        RawDocument::from_bytes(bytes).ok()
    }

    fn command(&self) -> Option<&str> {
        Some(self.body()?.iter().next()?.ok()?.0.as_str())
    }

    fn has(&self, field: &str) -> bool {
        self.body().is_some_and(|body| matches!(body.get(field), Ok(Some(_))))
    }

    fn change(&mut self, change: impl FnOnce(&mut Document)) {
        let Some(Ok(mut answer)) = self.body().map(Document::try_from) else { return };
        change(&mut answer);
        let changed = Self::answer(self.answers(), &answer);
        let before = std::mem::replace(self, changed);
        // A stream of answers depends on their numbers and flags.
        for kept in [4..8, HEADER_BYTES..HEADER_BYTES + 4] {
            self.0[kept.clone()].copy_from_slice(&before.0[kept]);
        }
    }
}
