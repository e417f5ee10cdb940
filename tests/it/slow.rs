//! Many slow connections of one user leave room, speed and memory to others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use trevor_api::Phase;

use crate::harness::{Env, Gateway, PATIENCE, Person, Request, noise, ready};

/// The two tests measure, so that they take turns.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
const MIB: usize = 1 << 20;
/// What another user uploads.
const FILE: usize = 32 * MIB;
/// What slow clients say that they send: half of them so little that the gateway
/// takes them all in, half so much that most wait for their user's share.
const SLOW_FILES: [usize; 2] = [64 << 10, 4 * MIB];
/// What they send at a time: slower than the least rate, and just above it.
const PIECES: [usize; 2] = [100, 2048];
/// How long they stay away after an answer; the gateway asks for 5 s and more.
const AWAY: Duration = Duration::from_secs(1);

/// How many slow clients are connected and sending, and how many were answered.
#[derive(Default)]
struct Counts {
    sending: AtomicUsize,
    answered: AtomicUsize,
}

/// Sends a little again and again, and starts anew whenever the gateway has had
/// enough.
async fn is_slow(host: String, head: String, piece: usize, counts: Arc<Counts>) {
    let piece = vec![b'x'; piece];
    loop {
        if let Ok(mut stream) = TcpStream::connect(&host).await {
            counts.sending.fetch_add(1, Relaxed);
            let mut answer = [0; 1024];
            let mut ok = stream.write_all(head.as_bytes()).await.is_ok();
            while ok {
                ok = stream.write_all(&piece).await.is_ok();
                let pause = Duration::from_millis(100);
                if tokio::time::timeout(pause, stream.read(&mut answer))
                    .await
                    .is_ok()
                {
                    counts.answered.fetch_add(1, Relaxed);
                    break;
                }
            }
            counts.sending.fetch_sub(1, Relaxed);
        }
        tokio::time::sleep(AWAY).await;
    }
}

async fn draft(person: &Person) -> Request {
    let spec = json!({"direction": "Egress", "title": "Slow"});
    let request = person.creates("slow", spec).await;
    request.reaches(Phase::Draft).await;
    request
}

/// Seconds of an upload; the middle one of three.
async fn upload_time(person: &Person, request: &Request, stem: &str) -> f64 {
    let mut times = Vec::new();
    for n in 0..3 {
        let bytes = noise(FILE, n + 1);
        let began = Instant::now();
        let path = format!("{stem}-{n}.bin");
        person.uploads(request, &path, bytes).await;
        times.push(began.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[1]
}

/// Another user's uploads come through beside slow connections, and the gateway's
/// memory stays within its budget and what a process needs besides. Gives how many
/// times as long they took as alone.
async fn leave_room(connections: usize) -> f64 {
    let _turn = TURN.lock().await;
    let env = Env::shared();
    let gateway = Gateway {
        env: &env,
        name: &format!("slow-{connections}"),
        controller: &env.address("controller"),
    };
    let gateway = gateway.start().await;
    let (alice, dave) = tokio::join!(
        env.person_at("alice", &gateway.url),
        env.person_at("dave", &gateway.url)
    );
    let (slow, other) = tokio::join!(draft(&alice), draft(&dave));
    let alone = upload_time(&dave, &other, "alone").await;

    let counts = Arc::<Counts>::default();
    let host = gateway.url.strip_prefix("http://").unwrap().to_owned();
    let mut clients = JoinSet::new();
    for n in 0..connections {
        let url = alice.file_url(&slow.name, "files", &format!("{n}.txt"));
        let path = url.strip_prefix(&gateway.url).unwrap();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
            alice.token.as_ref().unwrap(),
            SLOW_FILES[n % 2]
        );
        clients.spawn(is_slow(
            host.clone(),
            head,
            PIECES[n % 2],
            Arc::clone(&counts),
        ));
    }
    let half = connections / 2;
    ready("the slow ones are there", PATIENCE, || async {
        (counts.sending.load(Relaxed) >= half).then_some(())
    })
    .await;
    let beside = upload_time(&dave, &other, "beside").await;
    let sending = counts.sending.load(Relaxed);
    clients.shutdown().await;
    let peak = gateway.peak_memory() / MIB as u64;
    println!(
        "{connections} slow connections ({sending} sending, {} answered): {} MiB took {alone:.2} s alone, {beside:.2} s beside them ({:.2} x); the gateway's peak is {peak} MiB",
        counts.answered.load(Relaxed),
        FILE / MIB,
        beside / alone,
    );
    assert!(peak <= 192, "{peak} MiB");
    beside / alone
}

#[tokio::test]
async fn slow_connections_of_one_user_leave_room_for_another() {
    // Other tests run beside this one, so that times say nothing.
    leave_room(100).await;
}

#[tokio::test]
#[ignore = "500 connections, and a ratio that other tests would disturb; make test-long"]
async fn five_hundred_slow_connections_leave_another_half_the_speed() {
    let slower = leave_room(500).await;
    assert!(slower <= 2.0, "{slower:.2} times as long");
}
